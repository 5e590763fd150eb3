package sim

import (
	"fmt"
	"runtime"
	"testing"
)

// TestWorlds is the slice of `make sim` that every test run lives through.
func TestWorlds(t *testing.T) {
	n := uint64(1000)
	if testing.Short() {
		n = 100
	}
	r := RunMany(Options{Seed: 1}, n, runtime.GOMAXPROCS(0), 1)
	t.Log(r.Report(false))
	for _, f := range r.Failed {
		t.Errorf("%s\n%s", f.Bad, replay(f.Options))
	}
}

// replay is the timeline of a world that failed: its end, which tells most.
func replay(o Options) string {
	o.Trace = true
	story := Run(o, NewCoverage()).Story
	return fmt.Sprintf("%s\nall of it: go run ./internal/sim/leasehold-sim -v -first %d", story[max(0, len(story)-8000):], o.Seed)
}

// TestEverythingHappens: a simulation in which something never happens says
// nothing about it.
func TestEverythingHappens(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some thousand worlds")
	}
	r := RunMany(Options{Seed: 1_000_000}, 1500, runtime.GOMAXPROCS(0), 1)
	for _, what := range r.Coverage.Missing() {
		t.Errorf("never happened in %d worlds: %s", r.Worlds, what)
	}
	for _, f := range r.Failed {
		t.Errorf("%s\n%s", f.Bad, replay(f.Options))
	}
}

// TestSameSeedSameWorld: a seed that has failed can be looked at.
func TestSameSeedSameWorld(t *testing.T) {
	for seed := range uint64(20) {
		a := Run(Options{Seed: seed, Trace: true}, NewCoverage())
		b := Run(Options{Seed: seed, Trace: true}, NewCoverage())
		if a.Events != b.Events || a.Story != b.Story {
			t.Errorf("seed %d: %d events, then %d; the same story: %v", seed, a.Events, b.Events, a.Story == b.Story)
		}
	}
}
