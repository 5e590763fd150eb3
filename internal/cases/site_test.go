package cases

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// binary builds the daemon once for the tests of this package.
func binary(t *testing.T) string {
	t.Helper()
	if b := os.Getenv("LEASEHOLD_BINARY"); b != "" {
		return b
	}
	out := filepath.Join(t.TempDir(), "leasehold")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, "leasehold/cmd/leasehold")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the daemon: %v\n%s", err, b)
	}
	return out
}

// TestCases is the operators' table: every row, on one site, one after the other.
func TestCases(t *testing.T) {
	bin := binary(t)
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd, lab.NeedsMariaDB)
	s, err := Open(t.Context(), l, Options{Binary: bin})
	if err != nil {
		t.Fatalf("%v\n%s", err, l.Logs(20))
	}
	var rows []Row
	t.Cleanup(func() {
		if err := Table(os.Stdout, rows); err != nil {
			t.Error(err)
		}
	})
	for _, c := range All() {
		if only := os.Getenv("CASE"); only != "" && only != c.ID {
			continue
		}
		t.Run(c.ID+"/"+c.Name, func(t *testing.T) {
			row := Row{Case: c}
			if row.Err = s.Settle(t.Context()); row.Err == nil {
				row.Measured, row.Err = c.Run(t.Context(), s)
			}
			rows = append(rows, row)
			if row.Err != nil {
				t.Errorf("%v\n%s\n%s", row.Err, s.Daemon(lab.A).Tail(25), s.Daemon(lab.B).Tail(25))
			}
		})
	}
}
