package deploy_test

import (
	"strings"
	"testing"
)

// memberConfig has the node run the only etcd member itself.
const memberConfig = `node: lab
etcd:
  embedded: {insecure: true, members: {lab: 10.20.8.50}}
services:
  mysql:
    vips: ["10.20.8.188/24 dev eth0 label eth0:1"]
    ttl: 10s
    checks:
      - process: {name: mysqld-standin}
`

// TestUnitOfTheMember walks the two units of a node with an etcd member of its own
// through what systemd does to them.
func TestUnitOfTheMember(t *testing.T) {
	m := bootMachine(t)
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	member := func(property string) string {
		v, err := m.Show(t.Context(), "leasehold-etcd", property)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}

	// Without etcd.embedded the unit is skipped, and that is no failure.
	m.configure()
	m.systemctl("start", "leasehold")
	m.await("the VIP", 3*ttl, m.has(true))
	if state := member("ActiveState"); state != "inactive" {
		t.Errorf("without etcd.embedded the member's unit is %s, want inactive", state)
	}
	m.systemctl("stop", "leasehold")

	m.writeConfig(memberConfig)
	m.systemctl("start", "leasehold")
	m.await("the VIP, with the own member", 5*ttl, m.has(true))
	if state, text := member("ActiveState"), member("StatusText"); state != "active" || text != "running" {
		t.Errorf("the member's unit is %s, %q; want active, running", state, text)
	}
	if out := m.run("etcdctl", "--endpoints", "10.20.8.50:2379", "get", "--prefix", "/leasehold/mysql/holder"); !strings.Contains(out, `"node":"lab"`) {
		t.Errorf("etcdctl shows %q", out)
	}
	if out := m.run("stat", "--format=%U %a", "/var/lib/leasehold"); out != "leasehold 750" {
		t.Errorf("/var/lib/leasehold belongs to %s", out)
	}

	// A member that crashes comes back, and the VIP has not moved.
	s := openSession(t, m.Lab, m.vip)
	before := member("MainPID")
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "leasehold-etcd")
	m.await("another member's process", 3*ttl, func() (bool, error) {
		pid := member("MainPID")
		return pid != before && pid != "0" && member("StatusText") == "running", nil
	})
	s.unharmed(t, "member killed")

	// At a shutdown the daemon goes first: systemd stops in the reverse order.
	if after := m.show("After"); !strings.Contains(after, "leasehold-etcd.service") {
		t.Errorf("leasehold.service is after %s", after)
	}

	// A daemon that is stopped leaves the member its vote, and has told it so.
	m.systemctl("stop", "leasehold")
	if state := member("ActiveState"); state != "active" {
		t.Errorf("after the daemon was stopped the member is %s", state)
	}
	out := m.run("etcdctl", "--endpoints", "10.20.8.50:2379", "get", "--print-value-only", "/leasehold/mysql/tenure")
	if !strings.Contains(out, `"state":"released"`) {
		t.Errorf("the tenure after the daemon was stopped: %s", out)
	}

	// Stopped while its etcd is away, it has let go, and is not taken for hung while
	// it tries to give its lease back.
	m.systemctl("start", "leasehold")
	m.await("the VIP again", 3*ttl, m.has(true))
	m.systemctl("stop", "leasehold-etcd")
	m.systemctl("stop", "leasehold")
	if result := m.show("Result"); result != "success" {
		t.Errorf("stopped without an etcd: %s", result)
	}
}
