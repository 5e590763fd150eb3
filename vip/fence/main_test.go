package fence

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// inNamespace says to a test binary that it is the one inside the throw-away
// network and mount namespaces.
const inNamespace = "LEASEHOLD_FENCE_TEST_NETNS"

// TestMain runs the whole test binary again in fresh namespaces, which take every
// mount, device, program and filter with them, also after a kill.
func TestMain(m *testing.M) {
	if code, ok := child(); ok {
		os.Exit(code)
	}
	if os.Getenv(inNamespace) == "" && os.Geteuid() == 0 {
		if code, ok := reexec(); ok {
			os.Exit(code)
		}
	}
	if os.Getenv(inNamespace) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintf(os.Stderr, "make the mounts private: %v\n", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// reexec returns false when no namespace can be had.
func reexec() (code int, ok bool) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is the thread's
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	}
	fmt.Fprintf(os.Stderr, "no namespaces: %v\n", err)
	return 0, false
}

// need skips a test that something is missing for; in CI it fails instead.
func need(t testing.TB, ok bool, text string) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") == "true":
		t.Fatal(text)
	default:
		t.Skip(text)
	}
}

func needKernel(t testing.TB) {
	t.Helper()
	need(t, os.Getenv(inNamespace) != "", "needs namespaces and bpf(2): run as root")
}

// patience bounds what should take milliseconds: the machine is shared.
const patience = 10 * time.Second

// silence is how long no answer has to come. It is seen to be none only because
// the same question was answered before, or is after.
const silence = 50 * time.Millisecond

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > patience {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// A host is one in its own network namespace: a goroutine locked to a thread that
// is there, and dies with it. The nil *station is this process.
type station struct {
	work chan func()
	mac  [6]byte // of eth0
	ip4  netip.Addr
	ip6  netip.Addr
}

func newStation(t testing.TB) *station {
	t.Helper()
	s := &station{work: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for good: the thread must not be used again
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range s.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("network namespace: %v", err)
	}
	t.Cleanup(func() { close(s.work); <-ended })
	return s
}

// do runs f inside. Sockets that f opens are there for good.
func (s *station) do(f func()) {
	if s.work == nil {
		f()
		return
	}
	done := make(chan struct{})
	s.work <- func() { defer close(done); f() }
	<-done
}

// run runs a command inside, and fails the test with it.
func (s *station) run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.try(args...)
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *station) try(args ...string) (string, error) {
	var out []byte
	var err error
	s.do(func() { out, err = exec.Command(args[0], args[1:]...).CombinedOutput() })
	return string(out), err
}

const dev = "eth0"

var (
	vip4 = netip.MustParseAddr("10.20.8.188")
	vip6 = netip.MustParseAddr("fd00:20:8::188")
)

func prefix(a netip.Addr) string {
	if a.Is4() {
		return a.String() + "/24"
	}
	return a.String() + "/64"
}

// addVIP binds both VIPs.
func (s *station) addVIP(t testing.TB) {
	t.Helper()
	s.run(t, "ip", "addr", "add", prefix(vip4), "dev", dev)
	// Deprecated, or the host might use it as the source of its own requests.
	s.run(t, "ip", "-6", "addr", "add", prefix(vip6), "dev", dev, "nodad", "preferred_lft", "0")
	await(t, "local route of the vip", func() bool {
		return strings.Contains(s.run(t, "ip", "-6", "route", "show", "table", "local"), "local "+vip6.String()+" ")
	})
}

// lan makes n hosts on one wire: for two a pair of devices, for more a bridge.
// The first is this process.
func lan(t testing.TB, n int) []*station {
	t.Helper()
	needKernel(t)
	hosts := []*station{{}}
	for len(hosts) < n {
		hosts = append(hosts, newStation(t))
	}
	for _, h := range hosts {
		h.do(func() {
			for _, name := range []string{"accept_dad", "dad_transmits"} {
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+name, []byte("0"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
		h.run(t, "ip", "link", "set", "lo", "up")
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", dev).Run() })
	if n == 2 {
		hosts[0].run(t, "ip", "link", "add", dev, "type", "veth", "peer", "name", "far0")
		move(t, "far0", hosts[1])
	} else {
		sw := newStation(t)
		sw.run(t, "ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
		sw.run(t, "ip", "link", "set", "br0", "up")
		for i := range slices.Backward(hosts) {
			port := fmt.Sprintf("port%d", i)
			hosts[0].run(t, "ip", "link", "add", "far0", "type", "veth", "peer", "name", port)
			move(t, port, sw)
			sw.run(t, "ip", "link", "set", port, "master", "br0", "up")
			if i == 0 {
				hosts[0].run(t, "ip", "link", "set", "far0", "name", dev)
			} else {
				move(t, "far0", hosts[i])
			}
		}
	}
	for i, h := range hosts {
		if i > 0 {
			h.run(t, "ip", "link", "set", "far0", "name", dev)
		}
		h.run(t, "ip", "link", "set", dev, "up")
	}
	for i, h := range hosts {
		h.up(t, i)
	}
	return hosts
}

// up gives host i its own addresses.
func (s *station) up(t testing.TB, i int) {
	t.Helper()
	s.ip4 = netip.AddrFrom4([4]byte{10, 20, 8, byte(50 + i)})
	s.ip6 = netip.MustParseAddr(fmt.Sprintf("fd00:20:8::%d", 50+i))
	s.run(t, "ip", "addr", "add", prefix(s.ip4), "dev", dev)
	s.run(t, "ip", "-6", "addr", "add", prefix(s.ip6), "dev", dev, "nodad")
	s.do(func() {
		l, err := net.InterfaceByName(dev)
		if err != nil {
			t.Fatal(err)
		}
		copy(s.mac[:], l.HardwareAddr)
	})
	await(t, "local routes", func() bool {
		out := s.run(t, "ip", "-6", "route", "show", "table", "local")
		return strings.Contains(out, "local "+s.ip6.String()+" ") && strings.Contains(out, "local fe80::")
	})
}

func move(t testing.TB, name string, to *station) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	ns := -1
	to.do(func() { ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	if err := netlink.LinkSetNsFd(l, ns); err != nil {
		t.Fatal(err)
	}
}

// bpffs mounts one of the test's own, and returns a directory on it that is not
// made yet.
func bpffs(t testing.TB) string {
	t.Helper()
	needKernel(t)
	at := t.TempDir()
	// TestOrdinaryUser has to get there.
	ok(t, os.Chmod(filepath.Dir(at), 0o755))
	if err := unix.Mount("bpf", at, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a bpffs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the bpffs: %v", err)
		}
	})
	return at + "/leasehold"
}

func logger(t testing.TB) hclog.Logger {
	t.Helper()
	if _, ok := t.(*testing.B); ok {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: t.Output()})
}

// open opens the fence of a VIP, closed and purged with the test.
func open(t testing.TB, c Config) *Fence {
	t.Helper()
	if c.Log == nil {
		c.Log = logger(t)
	}
	if c.Device == "" {
		c.Device = dev
	}
	f, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ok(t, f.Close())
		if _, err := Purge(c.Dir); err != nil {
			t.Errorf("Purge() = %v; want nil", err)
		}
	})
	return f
}

// ok fails the test with an error.
func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func in(d time.Duration) boottime.Instant { return boottime.Now().Add(d) }

// kinds runs a test with each way to attach.
func kinds(t *testing.T, test func(*testing.T, Kind)) {
	for _, k := range []Kind{TCX, Clsact} {
		t.Run(string(k), func(t *testing.T) { test(t, k) })
	}
}
