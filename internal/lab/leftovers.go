package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

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
// namespaces, or one of the programs is missing. It says what to do about it.
func Check(programs ...string) error {
	ns, err := newNamespace(nextName() + "-check")
	if err != nil {
		return fmt.Errorf("the test network needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN); run it with sudo: %w", err)
	}
	errs := []error{ns.close()}
	for _, name := range programs {
		if _, err := findProgram(name); err != nil {
			errs = append(errs, fmt.Errorf("%w; install the packages etcd-server, etcd-client, mariadb-server-core, keepalived, nftables", err))
		}
	}
	return errors.Join(errs...)
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

// reap ends what processes of the lab left running: processes that are in one
// of the lab's namespaces and in the process group of one that it started. By
// then each group's first process has ended, so its number says nothing alone.
func (n *network) reap(procs []*Process) error {
	ours := map[string]bool{}
	for _, s := range n.seats {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", s.ns.file.Fd())); err == nil {
			ours[target] = true
		}
	}
	groups := map[int]bool{}
	for _, p := range procs {
		groups[p.Pid()] = true
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
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
		if group, err := syscall.Getpgid(pid); err == nil && groups[group] {
			_ = syscall.Kill(pid, syscall.SIGKILL) // ESRCH: it ended meanwhile
		}
	}
	return nil
}
