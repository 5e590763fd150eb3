package vrrpcompat

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A pairing is what is different between two routers.
type pairing struct {
	version  uint8
	interval [2]time.Duration
	priority [2]uint8
	way      [2]int // of preempting
	late     int    // which of them starts later
	by       time.Duration
	k227     bool // the second is a keepalived 2.2.7
}

// preempting are the ways to pre-empt.
func preempting() []func(*Config) {
	return []func(*Config){
		func(*Config) {},
		func(c *Config) { c.NoPreempt = true },
		func(c *Config) { c.PreemptDelay = 3 * time.Second },
		func(c *Config) { c.LowerPrioNoAdvert = true },
	}
}

// pairings are all that the walk goes through. In version 2 the intervals are the
// same: else each drops the other's adverts (v2-interval-mismatch.pcap).
func pairings() []pairing {
	all := []pairing{{version: Version2, interval: [2]time.Duration{time.Second, time.Second}}}
	three := []time.Duration{100 * ms, time.Second, 3 * time.Second}
	for _, a := range three {
		for _, b := range three {
			all = append(all, pairing{version: Version3, interval: [2]time.Duration{a, b}})
		}
	}
	for i := range 2 {
		all = each(all, []uint8{1, 150, 254, 255}, func(p *pairing, v uint8) { p.priority[i] = v })
		all = each(all, []int{0, 1, 2, 3}, func(p *pairing, v int) { p.way[i] = v })
	}
	all = each(all, []int{0, 1}, func(p *pairing, v int) { p.late = v })
	all = each(all, []time.Duration{0, time.Microsecond, 400 * ms, 5 * time.Second}, func(p *pairing, v time.Duration) { p.by = v })
	for i := range all {
		all[i].k227 = i%3 == 0
	}
	return all
}

// each returns every pairing with every value.
func each[V any](all []pairing, values []V, set func(*pairing, V)) []pairing {
	var more []pairing
	for _, p := range all {
		for _, v := range values {
			set(&p, v)
			more = append(more, p)
		}
	}
	return more
}

// world makes the two routers; false: one cannot be configured so.
func (p pairing) world(t *testing.T) (*world, bool) {
	t.Helper()
	nodes := []*node{{own: hostA}, {own: hostB, k227: p.k227}}
	for i, n := range nodes {
		n.cfg = with(func(c *Config) { c.Version, c.Priority, c.Interval = p.version, p.priority[i], p.interval[i] })
		preempting()[p.way[i]](&n.cfg)
		if n.cfg.Validate() != nil {
			return nil, false // an owner that does not pre-empt
		}
		n.starts = at(0)
	}
	nodes[p.late].starts = at(p.by)
	return newWorld(t, nodes...), true
}

// TestTwoRoutersSettleOnOne walks through every pair of priorities, intervals,
// ways to pre-empt and moments of the start: after a while exactly one is Active,
// and stays it, and on the way two are so only for as long as packets take.
func TestTwoRoutersSettleOnOne(t *testing.T) {
	n := 0
	for _, p := range pairings() {
		if w, ok := p.world(t); ok {
			settles(t, w, p.by, func() string { return fmt.Sprintf("%+v", p) })
			n++
		}
	}
	t.Logf("%d pairs", n)
}

// settles runs a world of two for as long as it may take from a moment on, and a
// while more.
func settles(t *testing.T, w *world, from time.Duration, what func() string) {
	t.Helper()
	longest := time.Duration(0)
	for _, n := range w.nodes {
		longest = max(longest, ActiveDownInterval(n.m.rules.version, 1, n.m.rules.interval, 3))
	}
	settled := at(from + 2*longest + 4*time.Second)
	w.until(settled.Add(longest))
	all := w.active()
	if len(all) != 1 {
		t.Fatalf("%s: Active are %v", what(), all)
	}
	if w.moved > settled {
		t.Fatalf("%s: not settled %v after the last start", what(), w.moved.Sub(at(from)))
	}
	// What says that there is another has to cross the network and to be answered:
	// at once, or with the next advert.
	allowed := 2 * w.latency
	for _, n := range w.nodes {
		if n.cfg.LowerPrioNoAdvert || w.healed {
			allowed = max(allowed, n.m.rules.interval+2*w.latency)
		}
	}
	if w.doubled > allowed {
		t.Fatalf("%s: two were Active for %v", what(), w.doubled)
	}
}

// TestTwoRoutersSettleAfterFaults: whatever was lost, late, frozen, stopped and
// changed, once the network is whole again they settle on one.
func TestTwoRoutersSettleAfterFaults(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 2))
		version := Version2 + uint8(r.IntN(2))
		draw := func() Config {
			return with(func(c *Config) {
				c.Version, c.Priority = version, []uint8{1, 100, 149, 150, 254, 255}[r.IntN(6)]
				if version == Version3 {
					c.Interval = []time.Duration{50 * ms, 500 * ms, time.Second, 4 * time.Second}[r.IntN(4)]
				}
				preempting()[r.IntN(4)](c)
				if c.Priority == PriorityOwner {
					c.NoPreempt, c.PreemptDelay = false, 0
				}
			})
		}
		w := newWorld(t, &node{own: hostA, cfg: draw(), starts: at(0)}, &node{own: hostB, cfg: draw(), starts: at(0), k227: r.IntN(2) == 0})
		for range 20 {
			loss := [2]float64{r.Float64() * 1.5, r.Float64() * 1.5} // often everything
			w.lost = func(from, _ int) bool { return r.Float64() < loss[from] }
			w.until(w.now.Add(time.Duration(r.Int64N(int64(8 * time.Second)))))
			n := r.IntN(2)
			switch r.IntN(5) {
			case 0:
				w.tell(n, Shutdown{})
			case 1:
				w.tell(n, PriorityChanged{Priority: uint8(1 + r.IntN(254))})
			case 2:
				w.nodes[n].frozen = w.now.Add(time.Duration(r.Int64N(int64(20 * time.Second))))
			default:
				w.tell(n, Startup{})
			}
		}
		w.lost = nil
		for i := range w.nodes {
			w.nodes[i].frozen = 0
			w.tell(i, Startup{})
		}
		heal := w.now.Sub(at(0))
		w.doubled, w.since, w.healed = 0, 0, true
		w.count()
		settles(t, w, heal, func() string { return fmt.Sprintf("seed %d: %+v and %+v", seed, w.nodes[0].cfg, w.nodes[1].cfg) })
	}
}
