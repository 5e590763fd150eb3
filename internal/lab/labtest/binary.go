package labtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Binary builds the daemon for a test, which is gone with it, and returns its path;
// that of LEASEHOLD_BINARY where the environment has one.
func Binary(tb testing.TB) string {
	tb.Helper()
	if b := os.Getenv("LEASEHOLD_BINARY"); b != "" {
		return b
	}
	out := filepath.Join(tb.TempDir(), "leasehold")
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-o", out, "leasehold/cmd/leasehold")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build the daemon: %v\n%s", err, b)
	}
	return out
}
