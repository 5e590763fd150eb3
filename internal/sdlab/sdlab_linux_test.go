package sdlab_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leasehold/internal/sdlab"
)

// standIn is a daemon reduced to what systemd and the lab see of one: an address,
// READY, a status, the watchdog's pings.
const standIn = `#!/bin/bash
ip addr replace 10.20.8.188/24 dev eth0 valid_lft 30 preferred_lft 30
trap 'ip addr del 10.20.8.188/24 dev eth0; exit 0' TERM
systemd-notify --ready --status="holding 10.20.8.188"
while :; do systemd-notify WATCHDOG=1; read -r -t 0.1 _ <> <(:) || :; done
`

const standInUnit = `[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
NotifyAccess=all
ExecStart=/usr/bin/standin
ExecStopPost=-/sbin/ip addr del 10.20.8.188/24 dev eth0
WatchdogSec=500ms
WatchdogSignal=SIGKILL
Restart=always
RestartSec=100ms
`

func TestLab(t *testing.T) {
	l := sdlab.Start(t, sdlab.Options{})
	t.Logf("booted in %v", l.Booted)
	if state, err := l.Systemctl(t.Context(), "is-system-running"); state != "running" {
		failed, _ := l.Systemctl(t.Context(), "--failed")
		t.Fatalf("is-system-running = %q, %v; failed units:\n%s", state, err, failed)
	}
	dir := t.TempDir()
	unit, script := filepath.Join(dir, "standin.service"), filepath.Join(dir, "standin")
	for name, content := range map[string]string{unit: standInUnit, script: standIn} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Install(t.Context(), unit, script); err != nil {
		t.Fatal(err)
	}
	vip := netip.MustParseAddr("10.20.8.188")
	trace, err := l.TraceAddr(vip)
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()

	start := time.Now()
	systemctl(t, l, "start", "standin")
	await(t, l, "VIP after start", vip, true)
	if got := show(t, l, "StatusText"); got != "holding 10.20.8.188" {
		t.Errorf("StatusText = %q", got)
	}

	for restarts, signal := range []string{"KILL", "STOP"} {
		if err := l.Signal(t.Context(), "standin", signal); err != nil {
			t.Fatal(err)
		}
		await(t, l, "VIP gone after SIG"+signal, vip, false)
		await(t, l, "VIP back after SIG"+signal, vip, true)
		if got, want := show(t, l, "NRestarts"), []string{"1", "2"}[restarts]; got != want {
			t.Errorf("NRestarts after SIG%s = %s, want %s", signal, got, want)
		}
	}

	systemctl(t, l, "stop", "standin")
	if has, err := l.HasAddr(vip); has || err != nil {
		t.Errorf("after stop: HasAddr = %v, %v", has, err)
	}
	var there string
	events, err := trace.Since(start)
	for _, e := range events {
		there += map[bool]string{true: "+", false: "-"}[e.There]
	}
	if there != "+-+-+-" || err != nil {
		t.Errorf("events of the VIP = %s, %v; want +-+-+-", there, err)
	}
}

// TestLabLeavesNothing counts what a lab is made of before and after one.
func TestLabLeavesNothing(t *testing.T) {
	l := sdlab.Start(t, sdlab.Options{})
	if !strings.Contains(traces(t), l.NS) {
		t.Fatal("the lab left no traces while it ran: this test looks in the wrong places")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := traces(t); strings.Contains(got, l.NS) {
		t.Errorf("after Close there is still:\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(os.TempDir(), l.NS)); err == nil {
		t.Errorf("after Close the lab's directory is still there")
	}
}

// TestLabOfADeadOwnerIsSwept leaves a lab behind, as a killed test run would, and
// boots another.
func TestLabOfADeadOwnerIsSwept(t *testing.T) {
	if err := sdlab.Missing(); err != nil {
		sdlab.Start(t, sdlab.Options{}) // skips or fails, with the reason
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAbandon$")
	child.Env = append(os.Environ(), "SDLAB_ABANDON=yes")
	out, err := child.Output()
	name, _, _ := strings.Cut(string(out), "\n")
	if err != nil || !strings.HasPrefix(name, "sdlab-") {
		t.Fatalf("child: %v, printed %q", err, out)
	}
	if !strings.Contains(traces(t), name) {
		t.Fatalf("%s was not left behind", name)
	}
	sdlab.Start(t, sdlab.Options{})
	if got := traces(t); strings.Contains(got, name) {
		t.Errorf("after the next Boot there is still:\n%s", got)
	}
}

// TestAbandon is the child of TestLabOfADeadOwnerIsSwept.
func TestAbandon(t *testing.T) {
	if os.Getenv("SDLAB_ABANDON") != "yes" {
		t.Skip("runs as a child of TestLabOfADeadOwnerIsSwept")
	}
	l, err := sdlab.Boot(context.Background(), sdlab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(l.NS)
	os.Exit(0) // no clean-up
}

// traces lists processes, namespaces, mounts and cgroups of every lab.
func traces(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c",
		`{ ps -eo args; ip netns; cat /proc/mounts; find /sys/fs/cgroup -maxdepth 2 -name 'sdlab-*'; ls /run/systemd/nspawn/*; } | grep sdlab- | grep -v grep || :`).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func systemctl(t *testing.T, l *sdlab.Lab, args ...string) {
	t.Helper()
	if out, err := l.Systemctl(t.Context(), args...); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

func show(t *testing.T, l *sdlab.Lab, property string) string {
	t.Helper()
	v, err := l.Show(t.Context(), "standin", property)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// await waits until the lab has the address, or has it no more.
func await(t *testing.T, l *sdlab.Lab, what string, ip netip.Addr, want bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	took, err := sdlab.Wait(ctx, func() (bool, error) {
		has, err := l.HasAddr(ip)
		return has == want, err
	})
	if err != nil {
		journal, _ := l.Journal(t.Context(), "standin")
		t.Fatalf("%s: %v after %v; journal:\n%s", what, err, took, journal)
	}
	t.Logf("%s: %v", what, took)
}
