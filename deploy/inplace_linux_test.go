package deploy_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/sdlab"
)

// inPlaceConfig is labConfig with a ttl and VIPs of its own.
func inPlaceConfig(ttl time.Duration, vips ...string) string {
	for i, v := range vips {
		vips[i] = strconv.Quote(v)
	}
	return fmt.Sprintf(`node: lab
etcd: {endpoints: ["http://10.20.8.1:2379"]}
services:
  mysql:
    vips: [%s]
    ttl: %s
    checks:
      - process: {name: mysqld-standin}
`, strings.Join(vips, ", "), ttl)
}

const (
	firstVIP  = "10.20.8.188/24 dev eth0 label eth0:1"
	secondVIP = "10.20.8.189/24 dev eth0 label eth0:2"
)

func (m *machine) writeConfig(text string) {
	m.t.Helper()
	if err := m.WriteFile("/etc/leasehold/leasehold.yaml", text, 0o640); err != nil {
		m.t.Fatal(err)
	}
	m.run("chgrp", "-R", "leasehold", "/etc/leasehold")
}

// holds counts how often a daemon of this lab has become holder.
func (m *machine) holds() int {
	m.t.Helper()
	return strings.Count(m.journal(), "to=holder")
}

func (m *machine) journal() string {
	m.t.Helper()
	return m.run("journalctl", "--no-pager", "--output=cat", "--unit=leasehold")
}

// heldAgain waits until one more process has become holder, and systemd sees the
// unit active, of the same main process where inPlace.
func (m *machine) heldAgain(what string, do func()) {
	m.t.Helper()
	before, start, tenure := m.holds(), time.Now(), m.tenure()
	do()
	took := m.await("the next process to hold after "+what, 3*ttl, func() (bool, error) { return m.holds() > before, nil })
	m.await("active", 3*ttl, func() (bool, error) {
		state, err := m.Show(m.t.Context(), "leasehold", "ActiveState")
		return state == "active", err
	})
	m.t.Logf("%s: holder again after %v", what, took)
	m.neverGone(start)
	if got := m.tenure(); got != tenure {
		m.t.Errorf("%s: tenure = %+v, was %+v", what, got, tenure)
	}
}

// inPlace is heldAgain for what must not change the main process.
func (m *machine) inPlace(what string, do func()) {
	m.t.Helper()
	pid, restarts := m.show("MainPID"), m.show("NRestarts")
	m.heldAgain(what, do)
	if p, n := m.show("MainPID"), m.show("NRestarts"); p != pid || n != restarts {
		m.t.Errorf("%s: pid %s, was %s; %s restarts, were %s", what, p, pid, n, restarts)
	}
}

// TestUnitInPlace: a TCP session through the VIP does not notice that the daemon
// is killed, reloaded, or replaced by another binary.
func TestUnitInPlace(t *testing.T) {
	m := bootMachine(t)
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	for _, c := range []struct {
		name   string
		length time.Duration
		more   string
	}{
		{"ttl 3s", ttl, ""},
		{"ttl 1s", time.Second, ""},
		{"VRRP", ttl, "    vrrp: {router_id: 51}\n"}, // the kernel shuts the VIP 3 s after the last advert
	} {
		length := c.length
		m.writeConfig(inPlaceConfig(length, firstVIP) + c.more)
		m.systemctl("start", "leasehold")
		m.await("the VIP", 3*ttl, m.has(true))
		ok := t.Run(c.name, func(t *testing.T) {
			here := *m
			here.t = t
			here.open()
			s := openSession(t, m.Lab, m.vip)
			for _, step := range []struct {
				name string
				do   func(what string, do func())
				act  func()
			}{
				{"kill -9", here.heldAgain, func() { here.signal("KILL") }},
				{"SIGUSR2", here.inPlace, func() { here.signal("USR2") }},
				{"systemctl reload", here.inPlace, func() { here.systemctl("reload", "leasehold") }},
			} {
				// systemd takes 0.3 s to restart the unit, and more than a ttl of 1 s has to
				// spare where other tests have the CPU: that is not the daemon's to promise.
				if step.name == "kill -9" && length < ttl {
					continue
				}
				for range 3 {
					step.do(step.name, step.act)
					s.unharmed(t, step.name)
				}
			}
		})
		m.systemctl("stop", "leasehold")
		if !ok {
			return
		}
	}
}

// open waits until status says that the fence is open, and looks at its pins.
func (m *machine) open() {
	m.t.Helper()
	m.await("an open fence in status", ttl, func() (bool, error) {
		out, _ := m.Run(m.t.Context(), "leasehold", "status") // an exit code of its own until all is well
		return strings.Contains(out, "left (tcx)") || strings.Contains(out, "left (clsact)"), nil
	})
	if pins := m.run("find", "/sys/fs/bpf/leasehold", "-name", "deadline"); pins == "" {
		m.t.Errorf("no deadline is pinned:\n%s", m.run("find", "/sys/fs/bpf"))
	}
}

// TestUnitExecTimes measures how long a tenure is without a daemon while the
// binary is replaced in place, by what the journal says and when.
func TestUnitExecTimes(t *testing.T) {
	m := bootMachine(t)
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	m.writeConfig(inPlaceConfig(ttl, firstVIP))
	m.systemctl("start", "leasehold")
	m.await("the VIP", 3*ttl, m.has(true))
	m.open()
	s := openSession(t, m.Lab, m.vip)
	const rounds = 8
	for range rounds {
		m.inPlace("SIGUSR2", func() { m.signal("USR2") })
	}
	s.unharmed(t, "8 times SIGUSR2")
	var took []time.Duration
	var began float64
	for line := range strings.SplitSeq(m.run("journalctl", "--no-pager", "--output=short-monotonic", "--unit=leasehold"), "\n") {
		at, rest, _ := strings.Cut(strings.TrimLeft(line, "[ "), "]")
		when, err := strconv.ParseFloat(at, 64)
		switch {
		case err != nil:
		case strings.Contains(rest, "running in place"):
			began = when
		case strings.Contains(rest, "to=holder") && began != 0:
			took = append(took, time.Duration((when-began)*float64(time.Second)))
			began = 0
		}
	}
	if len(took) != rounds {
		t.Fatalf("%d times found in the journal, want %d", len(took), rounds)
	}
	slices.Sort(took)
	t.Logf("from exec to adopted and armed: median %v, %v to %v, n %d", took[rounds/2], took[0], took[rounds-1], rounds)
}

// refused does what must not take effect, and waits for the daemon to say why.
func (m *machine) refused(what, why string, do func()) {
	m.t.Helper()
	start, pid, holds := time.Now(), m.show("MainPID"), m.holds()
	do()
	m.await("the refusal of "+what, 3*ttl, func() (bool, error) {
		text, err := m.Show(m.t.Context(), "leasehold", "StatusText")
		return strings.HasPrefix(text, "reload refused: ") && strings.Contains(text, why), err
	})
	if got := m.show("ActiveState"); got != "active" || m.show("MainPID") != pid || m.holds() != holds {
		m.t.Errorf("%s: state %s, pid %s was %s, holder %d times, was %d", what, got, m.show("MainPID"), pid, m.holds(), holds)
	}
	if !strings.Contains(m.journal(), "not taken up, this process goes on as before") {
		m.t.Errorf("%s: nothing in the journal", what)
	}
	m.neverGone(start)
}

// TestUnitReload: what a reload changes and what it does not, with a session
// through the VIP that stays.
func TestUnitReload(t *testing.T) {
	m := bootMachine(t)
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	second := netip.MustParsePrefix(strings.Fields(secondVIP)[0]).Addr()
	m.writeConfig(inPlaceConfig(ttl, firstVIP, secondVIP))
	m.systemctl("start", "leasehold")
	m.await("the VIP", 3*ttl, m.has(true))
	s := openSession(t, m.Lab, m.vip)

	m.writeConfig("nonsense: [")
	if out, err := m.Systemctl(t.Context(), "reload", "leasehold"); err == nil {
		t.Errorf("systemctl reload with a bad file succeeds: %s", out)
	}
	m.refused("a bad file", "leasehold.yaml", func() { m.signal("HUP") })
	m.writeConfig(inPlaceConfig(ttl, firstVIP, secondVIP) + "run_dir: /run/leasehold/other\n")
	m.refused("another run_dir", "restart the daemon for it", func() { m.signal("HUP") })
	m.writeConfig(inPlaceConfig(ttl, firstVIP))
	for name, content := range map[string]string{"garbage": "\x7fELF", "a stranger": "#!/bin/sh\nexit 0\n", "one that fails": "#!/bin/sh\necho oops >&2; exit 3\n"} {
		m.run("mv", "/usr/bin/leasehold", "/usr/bin/leasehold.good")
		if err := m.WriteFile("/usr/bin/leasehold", content, 0o755); err != nil {
			t.Fatal(err)
		}
		m.refused(name+" for a binary", "/usr/bin/leasehold", func() { m.signal("USR2") })
		m.run("mv", "/usr/bin/leasehold.good", "/usr/bin/leasehold")
	}
	if has, err := m.HasAddr(second); !has || err != nil {
		t.Errorf("the second VIP there after refusals: %v, %v", has, err)
	}
	s.unharmed(t, "refused reloads")

	m.inPlace("a reload without the second VIP", func() { m.systemctl("reload", "leasehold") })
	m.await("the end of the second VIP", ttl, func() (bool, error) {
		has, err := m.HasAddr(second)
		return !has, err
	})
	if left := m.run("find", "/sys/fs/bpf/leasehold", "-name", "*0a1408bd*"); left != "" { // 10.20.8.189
		t.Errorf("its fence is left: %s", left)
	}
	s.unharmed(t, "a reload without the second VIP")

	m.writeConfig(strings.Replace(inPlaceConfig(ttl, firstVIP), "  mysql:", "  other:", 1))
	start := time.Now()
	m.systemctl("reload", "leasehold")
	m.await("the end of the tenure", ttl, func() (bool, error) { return m.tenure().State == "released", nil })
	m.t.Logf("service dropped: tenure released after %v", time.Since(start))
	m.await("the other service to hold", 3*ttl, func() (bool, error) {
		text, err := m.Show(t.Context(), "leasehold", "StatusText")
		return strings.Contains(text, "other: holder"), err
	})

	// A standby has nothing to adopt.
	m.systemctl("stop", "mysqld-standin")
	m.await("standby", 2*ttl, func() (bool, error) {
		text, err := m.Show(t.Context(), "leasehold", "StatusText")
		return strings.Contains(text, "other: standby"), err
	})
	starts, pid := strings.Count(m.journal(), "leasehold: starting"), m.show("MainPID")
	m.signal("USR2")
	m.await("the next process", 2*ttl, func() (bool, error) {
		state, err := m.Show(t.Context(), "leasehold", "ActiveState")
		return strings.Count(m.journal(), "leasehold: starting") > starts && state == "active", err
	})
	if got := m.show("MainPID"); got != pid {
		t.Errorf("standby: pid %s, was %s", got, pid)
	}
}

// TestUnitHungStop: what a daemon that hangs has left when systemd has killed it
// at a stop is taken away; in a pause it stays.
func TestUnitHungStop(t *testing.T) {
	m := bootMachine(t)
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	m.configure()
	// Without the watchdog, which would be faster.
	if err := m.WriteFile("/etc/systemd/system/leasehold.service.d/stop.conf", "[Service]\nTimeoutStopSec=1s\nWatchdogSec=0\n", 0o644); err != nil {
		t.Fatal(err)
	}
	m.systemctl("daemon-reload")
	m.systemctl("start", "leasehold")
	m.await("the VIP", 4*ttl, m.has(true))
	start := time.Now()
	m.run("leasehold", "pause", "--for", "1h") // so that nothing but the clean-up could take it away
	m.await("a lifetime of about an hour", 2*ttl, m.lifetime(start, func(d time.Duration) bool { return d > 50*time.Minute }))
	m.hangAndStop()
	m.neverGone(start)
	if !strings.Contains(m.journal(), "HA is paused, its VIPs stay") {
		t.Errorf("result %s; the clean-up has not seen the pause", m.show("Result"))
	}

	start = time.Now()
	m.heldAgain("a start in the pause", func() { m.systemctl("start", "leasehold") })
	m.run("leasehold", "resume")
	m.await("the short lifetime", 3*ttl, m.lifetime(start, func(d time.Duration) bool { return d < 10*time.Second }))
	m.hangAndStop()
	if has, err := m.HasAddr(m.vip); has || err != nil {
		t.Errorf("VIP there after the stop: %v, %v", has, err)
	}
	if journal := m.journal(); !strings.Contains(journal, "took 10.20.8.188/24 off eth0") {
		t.Errorf("the clean-up had nothing to do:\n%s", journal)
	}
	if deadlines := m.run("sh", "-c", "cd /; leasehold status || :"); strings.Contains(deadlines, "left (tcx)") {
		t.Errorf("the fence is open:\n%s", deadlines)
	}
}

// lifetime is a condition on the latest lifetime that the VIP was given.
func (m *machine) lifetime(since time.Time, ok func(time.Duration) bool) func() (bool, error) {
	return func() (bool, error) {
		events, err := m.trace.Since(since)
		return len(events) > 0 && ok(events[len(events)-1].ValidLft), err
	}
}

// hangAndStop stops the unit while none of its daemon's threads can run: traced,
// they stay stopped whatever signals they get, but for SIGKILL, ptrace(2). SIGSTOP
// would not do, because systemd sends SIGCONT along with SIGTERM.
func (m *machine) hangAndStop() {
	m.t.Helper()
	main := m.show("MainPID")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	statuses, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/status")
	if err != nil {
		m.t.Fatal(err)
	}
	var traced []int
	for _, file := range statuses {
		b, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(b), "Name:\tleasehold\n") || !strings.Contains(string(b), "\nNStgid:\t"+hostPID(file)+"\t"+main+"\n") {
			continue // another process's, or gone
		}
		tid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil {
			err = errors.Join(unix.PtraceSeize(tid), unix.PtraceInterrupt(tid))
		}
		if err != nil {
			m.t.Fatalf("hold thread %d: %v", tid, err)
		}
		traced = append(traced, tid)
	}
	if len(traced) < 2 {
		m.t.Fatalf("%d threads of pid %s found", len(traced), main)
	}
	start, stopped := time.Now(), make(chan error, 1)
	go func() {
		_, err := m.Systemctl(m.t.Context(), "stop", "leasehold")
		stopped <- err
	}()
	for len(traced) > 0 { // killed, they are zombies until their tracer, this thread, has waited
		var ws unix.WaitStatus
		tid, err := unix.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			m.t.Fatalf("wait for %v: %v", traced, err)
		}
		if ws.Exited() || ws.Signaled() {
			traced = slices.DeleteFunc(traced, func(t int) bool { return t == tid })
		}
	}
	if err := <-stopped; err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("systemctl stop of a hung daemon: %v, TimeoutStopSec is 1s", time.Since(start))
}

// hostPID is the process that a file /proc/PID/task/TID/status is of.
func hostPID(file string) string { return strings.Split(file, "/")[2] }

// TestUnitWithoutBPFFS: no place for pins is no fault, and said.
func TestUnitWithoutBPFFS(t *testing.T) {
	m := bootMachineWith(t, sdlab.Options{NoBPFFS: true})
	installUnit(t, m.Lab, build(t, "leasehold/cmd/leasehold", "leasehold"))
	m.configure()
	m.systemctl("start", "leasehold")
	m.await("the VIP", 3*ttl, m.has(true))
	m.await("the reason in status", ttl, func() (bool, error) {
		out, _ := m.Run(t.Context(), "leasehold", "status") // an exit code of its own until all is well
		words := strings.Join(strings.Fields(out), " ")
		return strings.Contains(words, "no fence: ") && strings.Contains(words, "not on a bpffs") && strings.Contains(words, "lifetimes only"), nil
	})
	t.Log(m.run("leasehold", "status"))
}
