package deploy_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leasehold/internal/sdlab"
)

// build compiles a command as the Makefile does, into a directory of the test's.
func build(t *testing.T, pkg, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", file, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	return file
}

// installUnit puts both units and their user into the lab. binary becomes
// /usr/bin/leasehold.
func installUnit(t *testing.T, l *sdlab.Lab, binary string) {
	t.Helper()
	user, err := os.ReadFile("sysusers.d/leasehold.conf")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.WriteFile("/usr/lib/sysusers.d/leasehold.conf", string(user), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := l.Run(t.Context(), "systemd-sysusers"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if err := l.Install(t.Context(), "leasehold-etcd.service"); err != nil {
		t.Fatal(err)
	}
	if err := l.Install(t.Context(), "leasehold.service", binary); err != nil {
		t.Fatal(err)
	}
}

// TestUnitSandbox runs a probe under the unit's user, capabilities and sandbox:
// everything that the daemon does has to work there, and nothing else.
func TestUnitSandbox(t *testing.T) {
	l := sdlab.Start(t, sdlab.Options{})
	probe := build(t, "./testdata/probe", "leasehold")
	installUnit(t, l, probe)
	if err := l.WriteFile("/etc/systemd/system/leasehold.service.d/probe.conf",
		"[Service]\nType=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart=/usr/bin/leasehold\n", 0o644); err != nil {
		t.Fatal(err)
	}
	// What mysqld's sockets are: of another user, and open to all.
	for _, socket := range []string{"/run/test/mysql.sock", "/tmp/mysql.sock"} {
		listen(t, l, socket)
	}
	for _, args := range [][]string{{"daemon-reload"}, {"start", "leasehold"}} {
		if out, err := l.Systemctl(t.Context(), args...); err != nil {
			journal, _ := l.Journal(t.Context(), "leasehold")
			t.Fatalf("%v %s\n%s", err, out, journal)
		}
	}
	out, err := l.Run(t.Context(), "journalctl", "--no-pager", "--output=cat", "--unit=leasehold", "_COMM=leasehold")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	for _, line := range lines {
		if !strings.HasPrefix(line, "ok ") {
			t.Error(line)
		}
	}
	if len(lines) < 20 {
		t.Errorf("only %d lines:\n%s", len(lines), out)
	}
}

// listen has somebody in the lab listen on a unix socket.
func listen(t *testing.T, l *sdlab.Lab, path string) {
	t.Helper()
	cmd := l.Command(t.Context(), "sh", "-c",
		"mkdir -p "+filepath.Dir(path)+" && exec systemd-socket-activate --listen="+path+" --accept /bin/cat")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // "killed"
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := sdlab.Wait(ctx, func() (bool, error) {
		_, err := l.Run(ctx, "chmod", "777", path)
		return err == nil, nil
	}); err != nil {
		t.Fatalf("listen on %s: %v", path, err)
	}
}
