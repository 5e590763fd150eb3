package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPackage installs, upgrades and removes the package that LEASEHOLD_DEB names,
// in a booted systemd: make package.
func TestPackage(t *testing.T) {
	deb := os.Getenv("LEASEHOLD_DEB")
	if deb == "" {
		t.Skip("tests a package: make package")
	}
	b, err := os.ReadFile(filepath.Join("..", deb))
	if err != nil {
		t.Fatal(err)
	}
	m := bootMachine(t)
	// Not /tmp or /run, which are the lab's own.
	if err := m.WriteFile("/root/leasehold.deb", string(b), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run("dpkg", "--install", "/root/leasehold.deb")
	if got := m.show("ActiveState"); got != "inactive" {
		t.Errorf("after the installation the daemon is %s: nobody has configured it", got)
	}
	m.configure()
	m.systemctl("enable", "--now", "leasehold")
	m.await("the VIP", 3*ttl, m.has(true))
	if got := m.run("leasehold", "version"); !strings.Contains(deb, got[strings.LastIndex(got, " ")+1:]) {
		t.Logf("version prints %q, package is %s", got, deb)
	}

	s := openSession(t, m.Lab, m.vip)
	m.inPlace("dpkg --install", func() { m.run("dpkg", "--install", "/root/leasehold.deb") })
	s.unharmed(t, "upgrade")
	pid := m.show("MainPID")
	if exe := m.run("readlink", "/proc/"+pid+"/exe"); exe != "/usr/bin/leasehold" {
		t.Errorf("the daemon runs %s after the upgrade", exe)
	}

	m.run("dpkg", "--purge", "leasehold")
	if has, err := m.HasAddr(m.vip); has || err != nil {
		t.Errorf("VIP there after the removal: %v, %v", has, err)
	}
	if got := m.tenure(); got.State != "released" {
		t.Errorf("tenure after the removal = %+v", got)
	}
	for _, path := range []string{"/run/leasehold", "/sys/fs/bpf/leasehold"} {
		if out, err := m.Run(t.Context(), "test", "-e", path); err == nil {
			t.Errorf("%s is still there %s", path, out)
		}
	}
}
