package vip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// inNamespace says to a test binary that it is the one inside the throw-away
// network namespace; asUser that it is the ordinary user of TestOrdinaryUser.
const (
	inNamespace = "LEASEHOLD_VIP_TEST_NETNS"
	asUser      = "LEASEHOLD_VIP_TEST_USER"
)

// TestMain runs the whole test binary again in a fresh network and mount
// namespace, so that every thread of it is inside. Root is enough; without, a user namespace
// is tried. A fuzzing binary stays where it is: it talks to its parent.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) == "" && !strings.Contains(strings.Join(os.Args, " "), "-test.fuzz=") && !strings.Contains(strings.Join(os.Args, " "), "-test.fuzzworker") {
		if code, ok := reexec(); ok {
			os.Exit(code)
		}
	}
	if os.Getenv(inNamespace) != "" && os.Getenv(asUser) == "" {
		// What the tests mount goes with them.
		if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintf(os.Stderr, "mount namespace: %v\n", err)
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
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	runtime.LockOSThread() // Pdeathsig is the thread's
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	}
	fmt.Fprintf(os.Stderr, "no network namespace: %v\n", err)
	return 0, false
}

// needKernel skips a test that needs a network namespace of its own where there
// is none; in CI it fails instead.
func needKernel(t testing.TB) {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return
	}
	const text = "needs a network namespace: run as root, or allow unprivileged user namespaces"
	if os.Getenv("CI") == "true" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// patience bounds what should take milliseconds: the machine is shared.
const patience = 10 * time.Second

// await polls until ok, and fails the test after patience.
func await(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > patience {
			t.Fatalf("%s: not within %s", what, patience)
		}
		time.Sleep(200 * time.Microsecond)
	}
	return time.Since(start)
}

// A peer is another host on the wire, in its own network namespace: a goroutine
// locked to a thread that is there, and dies with it.
type peer struct{ work chan func() }

func newPeer(t testing.TB) *peer {
	t.Helper()
	p := &peer{work: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // for good: the thread must not be used again
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range p.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("network namespace of the peer: %v", err)
	}
	t.Cleanup(func() { close(p.work); <-ended })
	return p
}

// do runs f inside the peer's namespace. Sockets that f opens are there for good.
func (p *peer) do(f func()) {
	done := make(chan struct{})
	p.work <- func() { defer close(done); f() }
	<-done
}

// ip runs an ip(8) command; where is nil for this host.
func ip(t testing.TB, where *peer, args ...string) string {
	t.Helper()
	var out []byte
	var err error
	run := func() { out, err = exec.Command("ip", args...).CombinedOutput() }
	if where != nil {
		where.do(run)
	} else {
		run()
	}
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

const (
	dev    = "eth0"
	real4  = "10.20.8.50/24"
	real6  = "fd00:20:8::50/64"
	peer4  = "10.20.8.99/24"
	peer6  = "fd00:20:8::99/64"
	vip4   = "10.20.8.188"
	vip6   = "fd00:20:8::188"
	spec4  = vip4 + "/24 dev " + dev + " label " + dev + ":1"
	spec6  = vip6 + "/64 dev " + dev
	spec4b = "10.20.8.189/24 dev " + dev
)

// network makes eth0 with the host's own addresses, and a peer on its far end.
func network(t testing.TB) *peer {
	t.Helper()
	p := wire(t)
	ip(t, nil, "addr", "add", real4, "brd", "+", "dev", dev)
	ip(t, nil, "-6", "addr", "add", real6, "dev", dev, "nodad")
	await(t, "route of the host's IPv6 address", func() bool {
		return strings.Contains(routes(t), "local "+strings.TrimSuffix(real6, "/64")+" dev eth0")
	})
	return p
}

// wire makes eth0 without an address, and a peer with some.
func wire(t testing.TB) *peer {
	t.Helper()
	needKernel(t)
	for _, name := range []string{"accept_dad", "dad_transmits"} {
		// The link-local address is there at once: its route would come later.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+name, []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := newPeer(t)
	ip(t, nil, "link", "set", "lo", "up")
	ip(t, nil, "link", "add", dev, "type", "veth", "peer", "name", "far0")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", dev).Run() })
	far, err := netlink.LinkByName("far0")
	if err != nil {
		t.Fatal(err)
	}
	var ns int
	p.do(func() { ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	if err := netlink.LinkSetNsFd(far, ns); err != nil {
		t.Fatal(err)
	}
	ip(t, p, "link", "set", "lo", "up")
	ip(t, p, "link", "set", "far0", "up")
	ip(t, p, "addr", "add", peer4, "dev", "far0")
	ip(t, p, "-6", "addr", "add", peer6, "dev", "far0", "nodad")
	ip(t, nil, "link", "set", dev, "up")
	await(t, "route of the link-local address", func() bool {
		return strings.Contains(routes(t), "local fe80::")
	})
	return p
}

func specs(t testing.TB, texts ...string) []Spec {
	t.Helper()
	var all []Spec
	for _, text := range texts {
		s, err := ParseSpec(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// run starts Run, waits until it hears everything, and ends it with the test.
func run(t testing.TB, s *Set) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v; want nil", err)
		}
	})
	await(t, "first reading", func() bool { return s.State().Known && s.watching.Load() })
}

func in(d time.Duration) boottime.Instant { return boottime.Now().Add(d) }

func bind(t testing.TB, s *Set, d time.Duration) {
	t.Helper()
	if err := s.Bind(t.Context(), in(d), false); err != nil {
		t.Fatal(err)
	}
}

func release(t testing.TB, s *Set) {
	t.Helper()
	if err := s.Release(t.Context(), in(time.Second)); err != nil {
		t.Fatal(err)
	}
}

func copies(t testing.TB, texts ...string) []Copy {
	t.Helper()
	c, err := Read(specs(t, texts...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// routes returns all routes but the multicast ones, which need no address.
func routes(t testing.TB) string {
	t.Helper()
	return ip(t, nil, "route", "show", "table", "all") + ip(t, nil, "-6", "route", "show", "table", "all")
}
