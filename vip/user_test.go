package vip

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOrdinaryUser runs TestAsUser in a process of user 65534 that has
// CAP_NET_ADMIN and CAP_NET_RAW and no other capability.
func TestOrdinaryUser(t *testing.T) {
	network(t)
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(b)); len(f) == 3 && f[2] == "1" {
		t.Skip("this user namespace has one user only; run as root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAsUser$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1", asUser+"=1")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW},
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as user 65534: %v\n%s", err, out)
	}
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
	s := newSet(t, spec4, spec6)
	run(t, s)
	bind(t, s, 30*time.Second) // writes promote_secondaries
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
