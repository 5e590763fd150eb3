package election

import (
	"testing"
	"time"
)

// TestHandoversInARow: a take-over that was answered does not hold up the next
// one, as one without an answer does.
func TestHandoversInARow(t *testing.T) {
	w, h := started(t, 2)
	for range 6 {
		other := w.nodes[0]
		if other == h {
			other = w.nodes[1]
		}
		fit := func(n *simNode, fit bool) {
			n.fit = fit
			n.core.Say(MemberValue{Node: n.name, Priority: 100, Eligible: fit, Version: "test"})
		}
		fit(h, false)
		if took := w.until(time.Second, "a successor", other.bound); took > 40*time.Millisecond {
			t.Errorf("the handover from %s took %v, want a few round trips", h.name, took)
		}
		fit(h, true)
		w.run(20 * time.Millisecond)
		h = other
	}
}
