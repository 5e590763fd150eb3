package interop

import (
	"slices"
	"testing"

	"go.uber.org/goleak"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestInterop is a part of the table: the whole of it is make interop.
func TestInterop(t *testing.T) {
	labtest.Require(t, slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd, lab.NeedsKeepalived)...)
	if removed, err := lab.CleanLeftovers(); err != nil || len(removed) > 0 {
		t.Logf("left by runs that were killed, removed: %v (%v)", removed, err)
	}
	r, err := Run(t.Context(), Options{Binary: labtest.Binary(t), Trials: Brief(), Parallel: 6, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

// Every trial can be told from the others in the table, and begins with daemons
// that it has.
func TestTrials(t *testing.T) {
	if n := len(Brief()); n < 6 {
		t.Errorf("go test runs %d trials", n)
	}
	rows := map[string]bool{}
	for _, trial := range All() {
		name := trial.Name
		for _, s := range trial.Steps {
			name += ", " + s.What
			for host := range s.Want.State {
				if !slices.Contains(trial.holders(), host) {
					t.Errorf("%s: %s: there is no host %s", trial.Name, s.What, host)
				}
			}
		}
		if rows[name] {
			t.Errorf("twice: %s", name)
		}
		rows[name] = true
		if len(trial.Theirs)+len(trial.Ours) < 2 || trial.Alone != (len(trial.Ours) == 0) {
			t.Errorf("%s: %d keepalived and %d of ours, alone: %t", trial.Name, len(trial.Theirs), len(trial.Ours), trial.Alone)
		}
	}
}
