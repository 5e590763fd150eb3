package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// need skips a test whose tools are missing, or fails it in CI.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%v: make setup", err)
			}
			t.Skipf("%v: make setup", err)
		}
	}
}

// TestUnitVerifies lets systemd read the unit file; a key that it does not know is
// an error, not the warning that it would be at run time.
func TestUnitVerifies(t *testing.T) {
	need(t, "systemd-analyze")
	// verify wants the binary to exist.
	dir := t.TempDir()
	binary := filepath.Join(dir, "leasehold")
	if err := os.WriteFile(binary, nil, 0o755); err != nil { //nolint:gosec // it has to be executable
		t.Fatal(err)
	}
	var files []string
	for _, name := range []string{"leasehold.service", "leasehold-etcd.service"} {
		unit, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		here := strings.ReplaceAll(string(unit), "/usr/bin/leasehold", binary)
		if err := os.WriteFile(file, []byte(here), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	args := append([]string{"verify", "--recursive-errors=yes"}, files...)
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitIsSandboxed holds the exposure that systemd counts at 3.0 or less, of 10;
// systemd-networkd, which does a similar job, has 2.8, keepalived 9.6. The etcd
// member, which needs no privilege, is held to 1.5; Debian's etcd has 9.2.
func TestUnitIsSandboxed(t *testing.T) {
	need(t, "systemd-analyze")
	for unit, most := range map[string]string{"leasehold.service": "30", "leasehold-etcd.service": "15"} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security",
			"--no-pager", "--offline=yes", "--threshold="+most, unit).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if err != nil {
			t.Fatalf("systemd-analyze security: %v\n%s", err, out)
		}
		t.Log(lines[len(lines)-1])
	}
}
