// Package labtest starts a test network for one test, and decides what happens
// where it cannot run: a test is skipped on a developer's machine and fails
// where CI is set, so that no pipeline is green because nothing ran.
package labtest

import (
	"os"
	"testing"

	"leasehold/internal/lab"
)

// tailLines of each log are shown when a test has failed.
const tailLines = 40

// Start builds a test network that is closed when the test ends. programs are
// what the test will run on it, such as lab.NeedsEtcd.
func Start(tb testing.TB, cfg lab.Config, programs ...[]string) *lab.Lab {
	tb.Helper()
	names := append([]string(nil), lab.NeedsNetwork...)
	for _, p := range programs {
		names = append(names, p...)
	}
	Require(tb, names...)
	// A test run that was killed could not clean up behind itself.
	if removed, err := lab.CleanLeftovers(); err != nil || len(removed) > 0 {
		tb.Logf("left by runs that were killed, removed: %v (%v)", removed, err)
	}
	l, err := lab.New(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			if logs := l.Logs(tailLines); logs != "" {
				tb.Log("what the processes wrote last:\n" + logs)
			}
		}
		if err := l.Close(); err != nil {
			tb.Errorf("close the test network: %v", err)
		}
	})
	return l
}

// Require skips the test when no test network can run here, with the reason,
// and fails it when the environment has CI.
func Require(tb testing.TB, programs ...string) {
	tb.Helper()
	err := lab.Check(programs...)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		tb.Fatalf("CI is set, so this test must run: %v", err)
	default:
		tb.Skip(err)
	}
}
