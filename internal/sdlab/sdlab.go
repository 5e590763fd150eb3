// Package sdlab boots a real systemd, as process 1 of a container of its own, on a
// machine whose own process 1 may be something else, so that the unit file and the
// daemon can be tested with systemd's real notify, watchdog, restart and sandbox.
//
// The container's file system is an overlay on the host's own "/" with a tmpfs on
// top: nothing is written to the host, and what is installed there is installed
// here. It has a network namespace with one interface, eth0, whose other end is
// eth0 of a second namespace, the peer: the seat of an observer, of an etcd, of a
// client. systemd-nspawn does the rest; a boot takes about half a second.
//
// It owns mounts, cgroups, namespaces and processes of its own making, and knows
// nothing of leases or virtual IPs. It is for tests, and never linked into the
// daemon.
package sdlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bootLimit is how long a boot may take. Half a second is usual; a minute covers
// two busy cores and a systemd whose units time out.
const bootLimit = time.Minute

// Options says what to boot; the zero value is fine.
type Options struct {
	Addr    netip.Prefix // of eth0 in the lab; 10.20.8.50/24 when zero
	Peer    netip.Prefix // of eth0 in the peer namespace; 10.20.8.1/24 when zero
	Lower   string       // directory with a Debian root to boot; "/" when empty
	NoBPFFS bool         // nothing is mounted on /sys/fs/bpf
}

// Lab is a booted systemd. Close it.
type Lab struct {
	NS     string        // name of the lab's network namespace, as in ip-netns(8)
	Peer   string        // name of the namespace at the other end of eth0
	Booted time.Duration // from the start of nspawn to systemd's READY

	base    string // directory with all that is ours; its name is that of everything else
	leader  int    // pid of the lab's process 1, as the host sees it
	nspawn  *exec.Cmd
	exited  chan struct{} // closed when nspawn has been waited for
	root    *os.Root      // the lab's "/", with its own /run and /tmp
	netlink *netlink.Handle
}

// Boot starts a lab and returns once its systemd has started everything it was
// going to start. It needs what Missing asks for. On error nothing is left behind.
//
// Labs whose process died without Close are removed first.
func Boot(ctx context.Context, o Options) (_ *Lab, err error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	if err := sweep(); err != nil {
		return nil, err
	}
	if !o.Addr.IsValid() {
		o.Addr = netip.MustParsePrefix("10.20.8.50/24")
	}
	if !o.Peer.IsValid() {
		o.Peer = netip.MustParsePrefix("10.20.8.1/24")
	}
	if o.Lower == "" {
		o.Lower = "/"
	}
	base, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	name := filepath.Base(base)
	l := &Lab{NS: name, Peer: name + "-peer", base: base, exited: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("boot systemd in %s: %w", name, err), l.Close())
		}
	}()
	if err := l.mountRoot(o.Lower); err != nil {
		return nil, err
	}
	if err := l.makeNetwork(ctx, o); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if err := l.boot(ctx); err != nil {
		return nil, err
	}
	if l.root, err = os.OpenRoot(fmt.Sprintf("/proc/%d/root", l.leader)); err != nil {
		return nil, err
	}
	return l, l.mountBPF(ctx, o.NoBPFFS)
}

// mountBPF gives the lab the bpffs that systemd mounts for root at the boot of a
// real machine (mount_table in src/core/mount-setup.c), and not in a container.
func (l *Lab) mountBPF(ctx context.Context, without bool) error {
	if without {
		return nil
	}
	_, err := l.Run(ctx, "mount", "-t", "bpf", "-o", "nosuid,nodev,noexec,mode=700", "bpf", "/sys/fs/bpf")
	return err
}

// boot runs nspawn in a cgroup of its own and waits for the READY of the systemd
// inside, which nspawn passes on.
func (l *Lab) boot(ctx context.Context) error {
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: l.path("notify"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer ready.Close()
	console, err := os.Create(l.path("console"))
	if err != nil {
		return err
	}
	defer console.Close()
	cg, err := openCgroup(l.base)
	if err != nil {
		return err
	}
	defer cg.Close()

	// Its life ends with Close, not with ctx: hence no CommandContext.
	l.nspawn = exec.Command("systemd-nspawn",
		"--directory="+l.path("ov", "root"), "--machine="+filepath.Base(l.base),
		"--register=no", "--keep-unit", // there is no systemd outside to tell
		"--link-journal=no", "--quiet", "--console=pipe", "--notify-ready=yes",
		"--network-namespace-path=/run/netns/"+l.NS,
		"--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_IPC_LOCK,CAP_BPF",
		// nspawn's own filter would refuse even reading the clock's rate, and with it
		// hide what a unit's filter does.
		"--system-call-filter=@clock bpf",
		"--boot", "systemd.unit=multi-user.target")
	// The host may mount cgroups the old way; the lab gets the unified hierarchy.
	l.nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "NOTIFY_SOCKET="+l.path("notify"))
	l.nspawn.Stdout, l.nspawn.Stderr = console, console
	// Started outside a child cgroup, the lab's systemd would manage the host's.
	l.nspawn.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cg.Fd())}
	start := time.Now()
	if err := l.nspawn.Start(); err != nil {
		return err
	}
	go func() {
		_ = l.nspawn.Wait() // how it ended is in the console file
		close(l.exited)
	}()
	if err := l.awaitReady(ctx, ready); err != nil {
		return fmt.Errorf("%w; console:\n%s", err, l.Console())
	}
	l.Booted = time.Since(start)
	return nil
}

// awaitReady reads nspawn's notifications until the lab's systemd is ready, and
// learns the leader's pid from them.
func (l *Lab) awaitReady(ctx context.Context, ready *net.UnixConn) error {
	buf := make([]byte, 4096)
	for {
		// A short deadline, so that the end of nspawn or of ctx is seen.
		if err := ready.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		n, err := ready.Read(buf)
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", ctx.Err())
		case <-l.exited:
			return errors.New("systemd-nspawn ended")
		default:
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		lines := strings.Split(string(buf[:n]), "\n")
		for _, s := range lines {
			if pid, ok := strings.CutPrefix(s, "X_NSPAWN_LEADER_PID="); ok {
				if l.leader, err = strconv.Atoi(pid); err != nil {
					return err
				}
			}
		}
		if slices.Contains(lines, "READY=1") && l.leader != 0 {
			return nil
		}
	}
}

// Console returns what nspawn and the booting systemd printed.
func (l *Lab) Console() string {
	b, err := os.ReadFile(l.path("console"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Close ends every process of the lab at once, as a power cut would, and removes
// its mounts, namespaces, cgroups and files. It may be called again after an error.
func (l *Lab) Close() error {
	if l.netlink != nil {
		l.netlink.Close()
		l.netlink = nil
	}
	if l.root != nil {
		_ = l.root.Close() // a directory handle: nothing to lose
		l.root = nil
	}
	if l.nspawn != nil && l.nspawn.Process != nil {
		if err := l.powerCut(); err != nil {
			return err
		}
	}
	return remove(l.base)
}

// powerCut kills the lab's process 1, with which the kernel kills all others, and
// lets nspawn clean up after it; what is still there then is killed through the
// cgroup.
func (l *Lab) powerCut() error {
	select {
	case <-l.exited: // the leader's pid may be somebody else's by now
	default:
		if l.leader != 0 {
			if err := unix.Kill(l.leader, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill the lab's process 1 (%d): %w", l.leader, err)
			}
			select {
			case <-l.exited:
			case <-time.After(2 * time.Second):
			}
		}
	}
	if err := killCgroup(l.base); err != nil {
		return err
	}
	<-l.exited
	return nil
}

// path is a path inside the lab's directory on the host.
func (l *Lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.base}, elem...)...)
}
