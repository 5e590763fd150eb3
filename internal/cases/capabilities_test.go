package cases

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// TestRunNeedsCapabilities: started by an ordinary user, the daemon says what it
// lacks, and touches nothing.
func TestRunNeedsCapabilities(t *testing.T) {
	bin := labtest.Binary(t)
	l := labtest.Start(t, lab.Config{}, []string{"setpriv"})
	dir := t.TempDir()
	c, err := l.NodeConfig(lab.A, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.Endpoints = []string{"http://10.20.8.50:2379"}
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	config, daemon := filepath.Join(dir, "leasehold.yaml"), filepath.Join(dir, "leasehold")
	// Every user may look in there; into the lab's own directory none but root.
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.WriteFile(config, []byte(c.YAML()), 0o644), os.WriteFile(daemon, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		setpriv []string
		names   []string
	}{
		"ordinary user":       {[]string{"--reuid=65534", "--regid=65534", "--clear-groups"}, []string{"CAP_NET_ADMIN", "CAP_NET_RAW"}},
		"root without a part": {[]string{"--bounding-set=-net_raw", "--inh-caps=-all"}, []string{"CAP_NET_RAW"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), generous)
			defer cancel()
			cmd, err := l.Command(ctx, lab.A, "setpriv", append(test.setpriv, daemon, "run", "--config", config)...)
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("run ended with %v; want exit status 1\n%s", err, out)
			}
			first, _, _ := strings.Cut(string(out), ";") // what follows says what to do
			for _, c := range []string{"CAP_NET_ADMIN", "CAP_NET_RAW"} {
				if want := slices.Contains(test.names, c); strings.Contains(first, c) != want {
					t.Errorf("named %s: %t, want %t\n%s", c, !want, want, out)
				}
			}
		})
	}
}
