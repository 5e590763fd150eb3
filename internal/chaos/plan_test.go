package chaos

import (
	"slices"
	"testing"
	"time"
)

// A seed gives the same plan again, another one another, and every fault of
// every plan ends within the round.
func TestPlan(t *testing.T) {
	nodes := []string{a, b}
	count := map[string]int{}
	for seed := range uint64(200) {
		plan := NewPlan(seed, 1, nodes, roundLength)
		if again := NewPlan(seed, 1, nodes, roundLength); !slices.Equal(plan, again) {
			t.Fatalf("seed %d:\n%sand again\n%s", seed, plan, again)
		}
		if other := NewPlan(seed, 2, nodes, roundLength); slices.Equal(plan, other) {
			t.Errorf("seed %d: rounds 1 and 2 are the same", seed)
		}
		for _, f := range plan {
			count[f.Kind]++
			if f.At < 0 || f.For < 0 || f.At+f.For > roundLength {
				t.Errorf("seed %d: %v does not fit into %v", seed, f, roundLength)
			}
		}
	}
	for _, k := range kinds() {
		if (count[k.name] == 0) != (k.weight == 0) {
			t.Errorf("%s has weight %d and was drawn %d times", k.name, k.weight, count[k.name])
		}
	}
}

func TestBetween(t *testing.T) {
	r := source(1, 1)
	var short int
	for range 1000 {
		d := between(r, 100*time.Millisecond, 10*time.Second)
		if d < 100*time.Millisecond || d > 10*time.Second {
			t.Errorf("%v is not between 100ms and 10s", d)
		}
		if d < time.Second {
			short++
		}
	}
	if short < 300 || short > 900 {
		t.Errorf("%d of 1000 are shorter than 1s; want many of both", short)
	}
}
