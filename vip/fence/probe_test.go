package fence

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Probe finds the kind that Open then takes, and leaves nothing.
func TestProbe(t *testing.T) {
	lan(t, 1)
	dir := bpffs(t)
	k, err := Probe()
	ok(t, err)
	f := open(t, Config{Dir: dir, Addr: netip.MustParseAddr("10.20.8.188")})
	if got := f.State().Kind; got != k {
		t.Errorf("Probe() = %s, and Open took %s", k, got)
	}
}

// List names the VIPs that have pins, and nothing else that lies about.
func TestList(t *testing.T) {
	lan(t, 1)
	dir := bpffs(t)
	if got, err := List(dir); err != nil || len(got) != 0 {
		t.Errorf("List() of nothing = %v, %v", got, err)
	}
	for _, a := range []string{"10.20.8.188", "fd00::188"} {
		ok(t, open(t, Config{Dir: dir, Addr: netip.MustParseAddr(a)}).Arm(in(time.Second)))
	}
	ok(t, os.Mkdir(filepath.Join(dir, "somebody"), 0o700))
	got, err := List(dir)
	ok(t, err)
	if len(got) != 2 || got[0].String() != "10.20.8.188" || got[1].String() != "fd00::188" {
		t.Errorf("List() = %v", got)
	}
	ok(t, os.Remove(filepath.Join(dir, "somebody")))
}
