package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"leasehold/internal/sdlab"
)

const ttl = 3 * time.Second // as in labConfig

// labConfig is for the daemon in the lab, with its etcd in the peer namespace. What
// it checks is a process named mysqld-standin.
const labConfig = `node: lab
etcd: {endpoints: ["http://10.20.8.1:2379"]}
services:
  mysql:
    vips: ["10.20.8.188/24 dev eth0 label eth0:1"]
    ttl: 3s
    checks:
      - process: {name: mysqld-standin}
`

// machine is a booted lab with the real unit, the real daemon and an etcd.
type machine struct {
	*sdlab.Lab
	t     *testing.T
	vip   netip.Addr
	trace *sdlab.Trace // of the VIP
	etcd  string       // client URL, reachable from the peer namespace
}

// bootMachine boots the lab and starts its etcd and its mysqld-standin.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	return bootMachineWith(t, sdlab.Options{})
}

func bootMachineWith(t *testing.T, o sdlab.Options) *machine {
	t.Helper()
	m := &machine{Lab: sdlab.Start(t, o), t: t, vip: netip.MustParseAddr("10.20.8.188")}
	m.etcd = startEtcd(t, m.Peer, "10.20.8.1", "2379", "2380")
	m.run("cp", "/bin/sleep", "/usr/bin/mysqld-standin")
	m.run("systemd-run", "--quiet", "--unit=mysqld-standin", "--service-type=exec", "/usr/bin/mysqld-standin", "infinity")
	var err error
	if m.trace, err = m.TraceAddr(m.vip); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.trace.Close)
	t.Cleanup(func() {
		if t.Failed() {
			journal, err := m.Journal(context.WithoutCancel(t.Context()), "leasehold", "init.scope")
			t.Logf("journal (%v):\n%s", err, journal)
		}
	})
	return m
}

// configure writes the configuration, readable for the daemon's user.
func (m *machine) configure() {
	m.t.Helper()
	if err := m.WriteFile("/etc/leasehold/leasehold.yaml", labConfig, 0o640); err != nil {
		m.t.Fatal(err)
	}
	m.run("chgrp", "-R", "leasehold", "/etc/leasehold")
}

// TestUnitOfTheDaemon walks the real daemon through what systemd does to it, with
// the VIP watched in the kernel throughout.
func TestUnitOfTheDaemon(t *testing.T) {
	m := bootMachine(t)
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	m.configure()
	for _, step := range []struct {
		name string
		do   func(*machine)
	}{
		{"start", (*machine).start},
		{"stop", (*machine).stop},
		{"start again", (*machine).startAgain},
		{"kill", (*machine).kill},
		{"freeze", (*machine).freeze},
		{"pause", (*machine).pause},
		{"mysqld stopped", (*machine).mysqldStopped},
	} {
		ok := t.Run(step.name, func(t *testing.T) {
			here := *m
			here.t = t
			step.do(&here)
		})
		if !ok {
			return // the steps build on each other
		}
	}
}

// start: systemctl returns at the READY; the VIP comes as configured.
func (m *machine) start() {
	m.systemctl("start", "leasehold")
	took := m.await("the VIP", 3*ttl, m.has(true))
	m.await("the holder in the status text", ttl, func() (bool, error) {
		text, err := m.Show(m.t.Context(), "leasehold", "StatusText")
		return strings.Contains(text, "mysql: holder"), err
	})
	m.t.Logf("first start: VIP after %v, status text %q", took, m.show("StatusText"))
	addr := m.run("ip", "-4", "addr", "show", "dev", "eth0", "label", "eth0:1")
	if !strings.Contains(addr, "10.20.8.188/24") || strings.Contains(addr, "valid_lft forever") {
		m.t.Errorf("eth0:1 has %s; want 10.20.8.188/24 with a lifetime", addr)
	}
	if v := m.run("cat", "/proc/sys/net/ipv4/conf/eth0/promote_secondaries"); v != "1" {
		m.t.Errorf("promote_secondaries = %s", v)
	}
	m.run("leasehold", "status") // exit code 0: somebody holds, and it is well
	if got := m.tenure(); got.Node != "lab" || got.State != "held" {
		m.t.Errorf("tenure = %+v", got)
	}
	m.quiet()
}

// stop: the VIP is gone and the tenure released before systemctl returns.
func (m *machine) stop() {
	before := time.Now()
	m.systemctl("stop", "leasehold")
	if has, err := m.HasAddr(m.vip); has || err != nil {
		m.t.Errorf("VIP there after systemctl stop: %v, %v", has, err)
	}
	if took := time.Since(before); took > 2*time.Second {
		m.t.Errorf("systemctl stop took %v", took)
	}
	if got := m.show("Result"); got != "success" {
		m.t.Errorf("Result = %s", got)
	}
	if got := m.tenure(); got.State != "released" {
		m.t.Errorf("tenure = %+v, want it released", got)
	}
}

// startAgain: after a release nobody has to be waited for.
func (m *machine) startAgain() {
	before := m.tenure()
	start := time.Now()
	m.systemctl("start", "leasehold")
	m.await("the VIP", 3*ttl, m.has(true))
	if took := time.Since(start); took > time.Second {
		m.t.Errorf("VIP %v after the start, want 1s at most (case D4)", took)
	} else {
		m.t.Logf("VIP %v after systemctl start", took)
	}
	if got := m.tenure(); got.Epoch != before.Epoch+1 {
		m.t.Errorf("epoch %d after %d", got.Epoch, before.Epoch)
	}
}

// kill: the daemon is back within its lease and adopts the VIP, which never left.
func (m *machine) kill() {
	before, start := m.tenure(), time.Now()
	m.signal("KILL")
	took := m.restarted("1")
	m.t.Logf("active again %v after SIGKILL", took)
	m.refreshed(time.Now()) // by the new process
	m.neverGone(start)
	if got := m.tenure(); got != before {
		m.t.Errorf("tenure = %+v, was %+v", got, before)
	}
}

// freeze: the watchdog kills, and the new process takes up the same tenure before it
// is over. The fence would have ended it.
func (m *machine) freeze() {
	before, start := m.tenure(), time.Now()
	m.signal("STOP")
	took := m.restarted("2")
	m.t.Logf("active again %v after SIGSTOP (WatchdogSec is 1.5s)", took)
	m.await("the VIP", 3*ttl, m.has(true))
	m.refreshed(time.Now())
	if took > ttl*3/4 { // on a machine that is busy the tenure may be over by then
		m.t.Logf("restarted too late for the tenure of before: %+v, was %+v", m.tenure(), before)
		return
	}
	m.neverGone(start)
	if got := m.tenure(); got != before {
		m.t.Errorf("tenure = %+v, was %+v", got, before)
	}
	journal := m.run("journalctl", "--no-pager", "--output=cat", "--unit=leasehold")
	if !strings.Contains(journal, "Watchdog timeout") {
		m.t.Errorf("the watchdog did not bite; journal:\n%s", journal)
	}
}

// pause: neither stop, start nor kill moves or drops the VIP.
func (m *machine) pause() {
	start, before := time.Now(), m.tenure()
	m.run("leasehold", "pause", "--for", "1h", "--reason", "upgrade")
	m.await("a lifetime of about an hour", 2*ttl, func() (bool, error) {
		events, err := m.trace.Since(start)
		return len(events) > 0 && events[len(events)-1].ValidLft > 50*time.Minute, err
	})
	m.systemctl("stop", "leasehold")
	if got := m.show("ActiveState"); got != "inactive" {
		m.t.Errorf("ActiveState = %s", got)
	}
	m.systemctl("start", "leasehold")
	m.refreshed(time.Now().Add(-time.Second))
	restarts := m.show("NRestarts")
	m.signal("KILL")
	m.await("a restart", 3*ttl, func() (bool, error) {
		n, err := m.Show(m.t.Context(), "leasehold", "NRestarts")
		return n != restarts && m.show("ActiveState") == "active", err
	})
	m.run("leasehold", "resume")
	m.await("the short lifetime", 3*ttl, func() (bool, error) {
		events, err := m.trace.Since(start)
		return len(events) > 0 && events[len(events)-1].ValidLft <= ttl+2*time.Second, err // beyond the fence's deadline
	})
	m.neverGone(start)
	if got := m.tenure(); got.Epoch != before.Epoch || got.State != "held" {
		m.t.Errorf("tenure = %+v, was %+v", got, before)
	}
}

// mysqldStopped: the checks see it from inside the sandbox.
func (m *machine) mysqldStopped() {
	start := time.Now()
	m.systemctl("stop", "mysqld-standin")
	m.await("the end of the VIP", ttl, m.has(false))
	m.t.Logf("VIP gone %v after systemctl stop mysqld", time.Since(start))
	m.quiet()
}

// quiet fails when systemd restarts the unit within one and a half times WatchdogSec:
// a daemon with nothing to do has to ping as well.
func (m *machine) quiet() {
	m.t.Helper()
	before := m.show("NRestarts")
	ctx, cancel := context.WithTimeout(m.t.Context(), 3*time.Second)
	defer cancel()
	_, err := sdlab.Wait(ctx, func() (bool, error) {
		n, err := m.Show(m.t.Context(), "leasehold", "NRestarts")
		return n != before, err
	})
	if !errors.Is(err, context.DeadlineExceeded) || m.show("ActiveState") != "active" {
		m.t.Errorf("NRestarts = %s, was %s; state %s; %v", m.show("NRestarts"), before, m.show("ActiveState"), err)
	}
}

// restarted waits until systemd has restarted the unit and it is ready.
func (m *machine) restarted(count string) time.Duration {
	m.t.Helper()
	return m.await("restart "+count, 3*ttl, func() (bool, error) {
		n, err := m.Show(m.t.Context(), "leasehold", "NRestarts")
		if err != nil || n != count {
			return false, err
		}
		state, err := m.Show(m.t.Context(), "leasehold", "ActiveState")
		return state == "active", err
	})
}

// refreshed waits until the VIP's lifetime has been renewed since a moment.
func (m *machine) refreshed(since time.Time) {
	m.t.Helper()
	m.await("a new lifetime", 2*ttl, func() (bool, error) {
		events, err := m.trace.Since(since)
		return len(events) > 0 && events[len(events)-1].There, err
	})
}

// neverGone fails when the kernel has removed the VIP since a moment, however shortly.
func (m *machine) neverGone(since time.Time) {
	m.t.Helper()
	events, err := m.trace.Since(since)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range events {
		if !e.There {
			m.t.Errorf("VIP removed %v after the fault; events: %v", e.At.Sub(since), events)
		}
	}
	if has, err := m.HasAddr(m.vip); !has || err != nil {
		m.t.Errorf("VIP there: %v, %v", has, err)
	}
}

// has is a condition: the VIP is there, or is not.
func (m *machine) has(want bool) func() (bool, error) {
	return func() (bool, error) {
		has, err := m.HasAddr(m.vip)
		return has == want, err
	}
}

func (m *machine) await(what string, limit time.Duration, cond func() (bool, error)) time.Duration {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	took, err := sdlab.Wait(ctx, cond)
	if err != nil {
		m.t.Fatalf("%s: %v after %v", what, err, took)
	}
	return took
}

// tenureValue is what the test reads of the tenure key, docs: design of the keys.
type tenureValue struct {
	Epoch int64
	Node  string
	State string
}

func (m *machine) tenure() tenureValue {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "ip", "netns", "exec", m.Peer,
		"etcdctl", "--endpoints="+m.etcd, "get", "--print-value-only", "/leasehold/mysql/tenure")
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("read the tenure: %v", err)
	}
	var v tenureValue
	if err := json.Unmarshal(out, &v); err != nil {
		m.t.Fatalf("tenure %q: %v", out, err)
	}
	return v
}

func (m *machine) run(argv ...string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), argv...)
	if err != nil {
		m.t.Fatalf("%v %s", err, out)
	}
	return out
}

func (m *machine) systemctl(args ...string) {
	m.t.Helper()
	m.run(append([]string{"systemctl"}, args...)...)
}

func (m *machine) show(property string) string {
	m.t.Helper()
	v, err := m.Show(m.t.Context(), "leasehold", property)
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

func (m *machine) signal(name string) {
	m.t.Helper()
	if err := m.Signal(m.t.Context(), "leasehold", name); err != nil {
		m.t.Fatal(fmt.Errorf("signal: %w", err))
	}
}
