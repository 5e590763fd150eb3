package sdlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Missing says what this machine lacks for a lab, or nil.
func Missing() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a systemd lab needs root")
	}
	var missing []string
	for tool, pkg := range map[string]string{
		"systemd-nspawn": "systemd-container", "systemctl": "systemd", "dbus-daemon": "dbus",
		"nsenter": "util-linux", "ip": "iproute2",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a systemd lab needs the packages %s: make setup", strings.Join(missing, ", "))
	}
	return nil
}

// TB is what Start needs of a testing.TB.
type TB interface {
	Helper()
	Context() context.Context
	Skip(args ...any)
	Fatal(args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Start boots a lab for a test and closes it at the test's end. On a machine that
// cannot boot one the test is skipped; with CI=true it fails, so that nothing
// passes by not being run.
func Start(tb TB, o Options) *Lab {
	tb.Helper()
	if err := Missing(); err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatal(err)
		}
		tb.Skip(err)
	}
	l, err := Boot(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// Wait asks cond every 5 ms until it reports true, and returns how long that took.
// It fails with cond's error, or when ctx ends.
func Wait(ctx context.Context, cond func() (bool, error)) (time.Duration, error) {
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := cond()
		if took := time.Since(start); ok || err != nil {
			return took, err
		}
		select {
		case <-ctx.Done():
			return time.Since(start), fmt.Errorf("waiting: %w", ctx.Err())
		case <-tick.C:
		}
	}
}
