package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Needs are the programs that parts of the lab run.
//
//nolint:gochecknoglobals // constants, but for the type
var (
	NeedsNetwork    = []string{"nft"}
	NeedsEtcd       = []string{"etcd", "etcdctl"}
	NeedsMariaDB    = []string{"mariadbd"}
	NeedsKeepalived = []string{"keepalived"}
)

// Check reports why a lab cannot run here: this process may not make network
// namespaces, the kernel has no bridges, or one of the programs is missing. It says
// what to do about it.
func Check(programs ...string) error {
	ns, err := newNamespace(nextName() + "-check")
	if err != nil {
		return fmt.Errorf("the test network needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN); run it with sudo: %w", err)
	}
	errs := []error{checkLinks(ns), ns.close()}
	for _, name := range programs {
		if _, err := findProgram(name); err != nil {
			errs = append(errs, fmt.Errorf("%w; install the packages etcd-server, etcd-client, mariadb-server-core, keepalived, nftables", err))
		}
	}
	return errors.Join(errs...)
}

// checkLinks tries whether the kernel has what the switch is made of. Where these
// are modules it loads them.
func checkLinks(ns *namespace) error {
	h, err := ns.netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	for _, link := range []netlink.Link{
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}},
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}, PeerName: "veth1"},
	} {
		if err := h.LinkAdd(link); err != nil {
			return fmt.Errorf("the test network needs a kernel that can make a %s (modprobe %s): %w", link.Type(), link.Type(), err)
		}
	}
	return nil
}

// findProgram looks in PATH and in the sbin directories, which an ordinary
// user's PATH lacks.
func findProgram(name string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s is not installed", name)
}

// fastDir returns /dev/shm when it is a tmpfs with 1.5 GB free, else the
// directory for temporary files: etcd and MariaDB write through to the disk.
func fastDir() string {
	var fs unix.Statfs_t
	const shm, need = "/dev/shm", 1536 << 20
	if err := unix.Statfs(shm, &fs); err == nil && fs.Type == unix.TMPFS_MAGIC &&
		fs.Bavail*uint64(fs.Bsize) >= need {
		return shm
	}
	return os.TempDir()
}

// CleanLeftovers removes the namespaces and directories of labs whose process
// is gone, as after a kill -9 of a test run; Pdeathsig has ended their
// processes. It returns the names that it removed.
func CleanLeftovers() ([]string, error) {
	var removed []string
	var errs []error
	for _, dir := range slices.Compact([]string{netnsDir, "/dev/shm", os.TempDir()}) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("look for leftovers: %w", err))
		}
		for _, e := range entries {
			if !abandoned(e.Name()) {
				continue
			}
			path := filepath.Join(dir, e.Name())
			if dir == netnsDir {
				err = unname(path)
			} else {
				err = removeDir(path)
			}
			errs, removed = append(errs, err), append(removed, path)
		}
	}
	return removed, errors.Join(errs...)
}

// abandoned reports whether name is that of a lab whose process is gone.
func abandoned(name string) bool {
	rest, ok := strings.CutPrefix(name, "lh")
	if !ok {
		return false
	}
	number, _, ok := strings.Cut(rest, "-")
	if !ok {
		return false
	}
	pid, err := strconv.Atoi(number)
	return err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// Reclaim removes what a lab of that name has left behind whose process is gone:
// processes in its namespaces, their names, and its directory with what is mounted
// there. It is for the caller to know that no such lab is in use. It changes
// nothing where nothing was left.
func Reclaim(cfg Config) error {
	ours := map[string]bool{}
	var paths []string
	keys := []string{observer, switchKey}
	for _, h := range cfg.Hosts {
		keys = append(keys, h.Key)
	}
	for _, key := range keys {
		path := filepath.Join(netnsDir, cfg.Name+"-"+key)
		var stat unix.Stat_t
		switch err := unix.Stat(path, &stat); {
		case errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return fmt.Errorf("look for %s: %w", path, err)
		}
		ours[fmt.Sprintf("net:[%d]", stat.Ino)] = true // as nsfs names them, see namespaces(7)
		paths = append(paths, path)
	}
	errs := []error{endProcesses(ours, notOwn)}
	for _, path := range paths {
		errs = append(errs, unname(path))
	}
	return errors.Join(append(errs, removeDir(cfg.Dir))...)
}

// reap ends what processes of the lab left running, in sessions of their own, as
// etcd members are, and what people started in its namespaces.
func (l *Lab) reap() error {
	ours := map[string]bool{}
	for _, s := range append(slices.Clone(l.net.seats), &seat{ns: l.net.sw}) {
		ours[s.ns.id()] = true
	}
	return endProcesses(ours, notOwn)
}

// notOwn reports whether a process is neither this one nor one that it comes from.
func notOwn(pid int) bool {
	for own := os.Getpid(); own > 1; {
		if own == pid {
			return false
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", own))
		if err != nil {
			return true // it ended, and is nobody's parent any more
		}
		// The parent is the second field after the name, see proc_pid_stat(5).
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return true
		}
		if own, err = strconv.Atoi(fields[1]); err != nil {
			return true
		}
	}
	return true
}

// endProcesses kills the processes that are in one of the network namespaces ours
// and that which says yes to, and those that they start meanwhile, and returns
// when they are gone.
func endProcesses(ours map[string]bool, which func(pid int) bool) error {
	return Wait(context.Background(), 5*time.Second, "the processes of the test network to end", func() (bool, error) {
		killed, err := killIn(ours, which)
		return killed == 0, err
	})
}

// killIn kills those that are there now, and returns how many that were.
func killIn(ours map[string]bool, which func(pid int) bool) (killed int, err error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}
	for _, dir := range dirs {
		target, err := os.Readlink(dir + "/ns/net")
		if err != nil || !ours[target] {
			continue // gone meanwhile, or not ours
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if which(pid) {
			killed++
			_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: it ended meanwhile
		}
	}
	return killed, nil
}
