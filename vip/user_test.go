package vip

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/vip/fence"
)

// TestOrdinaryUser runs TestAsUser in a process of user 65534 that has
// CAP_NET_ADMIN and CAP_NET_RAW and no other capability, then with CAP_BPF, then
// without again.
func TestOrdinaryUser(t *testing.T) {
	network(t)
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(b)); len(f) == 3 && f[2] == "1" {
		t.Skip("this user namespace has one user only; run as root")
	}
	dir := bpffs(t)
	// The user may write there: what it may lack is CAP_BPF.
	for at := filepath.Dir(dir); at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, as := range []string{"lifetimes", "fence", "doubt"} {
		caps := []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}
		if as == "fence" {
			caps = append(caps, unix.CAP_BPF)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestAsUser$", "-test.v")
		cmd.Env = append(os.Environ(), inNamespace+"=1", asUser+"="+as, asHolder+"="+dir)
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true},
			AmbientCaps: caps,
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("as user 65534, %s: %v\n%s", as, err, out)
		}
	}
}

// TestReadOnlySysctls runs TestWithReadOnlySysctls in a process that cannot set
// promote_secondaries, as in many containers.
func TestReadOnlySysctls(t *testing.T) {
	wire(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestWithReadOnlySysctls$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1", asUser+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("with read-only sysctls: %v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
}

func TestWithReadOnlySysctls(t *testing.T) {
	if os.Getenv(asUser) == "" {
		t.Skip("run by TestReadOnlySysctls")
	}
	const sys = "/proc/sys"
	if err := unix.Mount(sys, sys, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Skipf("no mount: %v", err)
	}
	if err := unix.Mount("", sys, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("no mount: %v", err)
	}
	s := newSet(t, spec4)
	if err := s.Bind(t.Context(), in(30*time.Second), false); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "net.ipv4.conf.eth0.promote_secondaries=1") {
		t.Errorf("Bind() = %v; want that the sysctl is read-only, and what to do", err)
	}
	if c := copies(t, spec4); len(c) != 0 {
		t.Errorf("copies %v; want none", c)
	}
	// A left-over that is the primary of the host's own address: the kernel takes
	// both, and the host's must be put back.
	ip(t, nil, "addr", "add", vip4+"/24", "dev", dev, "label", "eth0:1")
	ip(t, nil, "addr", "add", real4, "brd", "+", "dev", dev)
	if err := s.Sweep(t.Context(), false); err != nil {
		t.Error(err)
	}
	if shown := ip(t, nil, "-o", "-4", "addr", "show", "dev", dev); !strings.Contains(shown, real4+" brd 10.20.8.255 scope global eth0\\       valid_lft forever") || strings.Contains(shown, vip4) {
		t.Errorf("ip addr shows\n%s\nwant %s only", shown, real4)
	}
	// Set by somebody else it is fine.
	ip(t, nil, "addr", "flush", "dev", dev, "scope", "global")
}

func TestAsUser(t *testing.T) {
	if os.Getenv(asUser) == "" {
		t.Skip("run by TestOrdinaryUser")
	}
	if os.Geteuid() != 65534 {
		t.Fatalf("user %d", os.Geteuid())
	}
	if err := CheckCapabilities(); err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv(asHolder)
	s := open(t, Config{VIPs: specs(t, spec4, spec6), ResetClients: true, Fence: FenceAuto, BPFDir: dir})
	st := s.State()
	switch as := os.Getenv(asUser); {
	case as == "fence" && (st.Fence.Kind == "" || st.NoGuard != ""):
		t.Errorf("State() = %+v; want a fence", st)
	case as == "doubt":
		// The fence of the run before would keep the VIP silent. It is taken away, for
		// which sysctl kernel.unprivileged_bpf_disabled must be 0, or nothing is bound.
		for _, sp := range s.specs {
			if fence.Pinned(dir, sp.Prefix.Addr()) && !strings.Contains(st.NoGuard, "release --purge") {
				t.Errorf("NoGuard = %q; want one that says how the fence of %s is taken away", st.NoGuard, sp)
			}
		}
		return
	case as == "lifetimes":
		// CAP_BPF is missing: lifetimes do where they may, and the cure is named.
		if st.NoGuard != "" || !strings.Contains(st.Fence.Why, "CAP_BPF") {
			t.Errorf("State() = %+v; want lifetimes alone, because of CAP_BPF", st)
		}
		required := fencedSet(t, dir, spec4)
		if why := required.State().NoGuard; !strings.Contains(why, "CAP_BPF") {
			t.Errorf("NoGuard = %q; want one that names CAP_BPF", why)
		}
		if err := required.Bind(t.Context(), in(30*time.Second), false); !errors.Is(err, ErrNoGuard) {
			t.Errorf("Bind() = %v; want ErrNoGuard", err)
		}
	}
	run(t, s)
	bind(t, s, 30*time.Second) // writes promote_secondaries
	if st.Fence.Kind == "" {
		if next := open(t, Config{VIPs: s.specs, Fence: FenceAuto, BPFDir: dir}); !next.State().Bound {
			t.Errorf("State() of the next process = %+v; want the VIPs left alone", next.State())
		}
	}
	if err := s.Announce(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Extend(t.Context(), in(20*time.Second)); err != nil {
		t.Error(err)
	}
	d, err := openDiag()
	if err != nil {
		t.Fatal(err)
	}
	defer d.socket.Close()
	if _, err := d.resetAll(t.Context(), s.specs, in(time.Second)); err != nil {
		t.Error(err)
	}
	release(t, s)
	if err := s.Sweep(t.Context(), false); err != nil {
		t.Error(err)
	}
}
