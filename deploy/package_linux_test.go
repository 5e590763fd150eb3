package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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

	start, before := time.Now(), m.tenure()
	m.run("dpkg", "--install", "/root/leasehold.deb")
	m.restarted("1")
	m.refreshed(time.Now())
	m.neverGone(start)
	if got := m.tenure(); got != before {
		t.Errorf("tenure after the upgrade = %+v, was %+v", got, before)
	}

	m.run("dpkg", "--purge", "leasehold")
	if has, err := m.HasAddr(m.vip); has || err != nil {
		t.Errorf("VIP there after the removal: %v, %v", has, err)
	}
	if got := m.tenure(); got.State != "released" {
		t.Errorf("tenure after the removal = %+v", got)
	}
	if out, err := m.Run(t.Context(), "test", "-e", "/run/leasehold"); err == nil {
		t.Errorf("/run/leasehold is still there %s", out)
	}
}
