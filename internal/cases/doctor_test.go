package cases

import (
	"os"
	"strings"
	"testing"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// An operator's day: doctor on the holder, on a standby, on one with a stray VIP
// and a dead daemon; then Leasehold is taken off that host.
func TestDoctorAndPurge(t *testing.T) {
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd, lab.NeedsMariaDB)
	s, err := Open(t.Context(), l, Options{Binary: labtest.Binary(t)})
	if err != nil {
		t.Fatalf("%v\n%s", err, l.Logs(20))
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	// says runs a command, and wants all of these in what it prints.
	says := func(host string, fine bool, args []string, want ...string) string {
		t.Helper()
		out, err := s.Leasehold(t.Context(), host, args...)
		if (err == nil) != fine {
			t.Errorf("%v on host %s: %v, want it to succeed: %t\n%s", args, host, err, fine, out)
		}
		flat := strings.Join(strings.Fields(out), " ")
		for _, w := range want {
			if !strings.Contains(flat, w) {
				t.Errorf("%v on host %s does not say %q:\n%s", args, host, w, out)
			}
		}
		return out
	}
	doctor, purge := []string{"doctor"}, []string{"release", "--purge"}
	vip, holder := s.VIP.Addr().String(), s.node(lab.A)

	t.Log(says(lab.A, true, doctor, "fence of "+vip+" is open", "on lo, eth0", "0 broken", "ok daemon pid"))
	t.Log(says(lab.B, true, doctor, "fence of "+vip+" is shut", "is answered for by the host with MAC", "the holder is "+holder, "0 broken"))
	says(lab.B, false, purge, "another leasehold runs here")
	says(lab.B, true, []string{"status"}, "fence shut (tcx)", holder+" holds the VIP")

	if err := s.Daemon(lab.B).Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.Daemon(lab.B).Done()
	if _, err := s.Exec(t.Context(), lab.B, "ip", "addr", "add", vip+"/32", "dev", "eth0"); err != nil {
		t.Fatal(err)
	}
	t.Log(says(lab.B, false, doctor, "a stray copy of the VIP is here: "+vip+"/32 on eth0", "warn daemon not running"))
	pins, err := s.BPFDir(lab.B)
	if err != nil {
		t.Fatal(err)
	}
	says(lab.B, true, purge, "removed "+vip+"/32 from eth0", "removed the fence of "+vip, "removed "+pins, "removed "+s.RunDir(lab.B))
	says(lab.B, true, purge, "nothing of Leasehold was on this host")
	for _, dir := range []string{pins, s.RunDir(lab.B)} {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	if addrs, err := s.Addrs(t.Context(), lab.B); err != nil || strings.Contains(strings.Join(addrs, " "), vip+"/") {
		t.Errorf("host b has %v, %v", addrs, err)
	}
	says(lab.A, true, []string{"status"}, "fence open", holder+" holds the VIP")
}
