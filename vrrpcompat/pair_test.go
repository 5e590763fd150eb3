package vrrpcompat

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestTwoRoutersSettleOnOne walks through every pair of priorities, intervals,
// ways to pre-empt and moments of the start: after a while exactly one is Active,
// and stays it, and on the way two are so only for as long as packets take.
func TestTwoRoutersSettleOnOne(t *testing.T) {
	runs := 0
	for _, versions := range []struct {
		version   uint8
		intervals []time.Duration
	}{
		{Version2, []time.Duration{time.Second}},
		{Version3, []time.Duration{100 * ms, time.Second, 3 * time.Second}},
	} {
		for _, a := range versions.intervals {
			for _, b := range versions.intervals {
				if versions.version == Version2 && a != b {
					continue // each drops the other's adverts: v2-interval-mismatch.pcap
				}
				runs += walk(t, versions.version, a, b)
			}
		}
	}
	t.Logf("%d pairs", runs)
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

// walk goes through the pairs of two intervals, and returns how many there were.
func walk(t *testing.T, version uint8, a, b time.Duration) int {
	t.Helper()
	runs := 0
	offsets := []time.Duration{0, time.Microsecond, ms, 400 * ms, 5 * time.Second, 30 * time.Second}
	for _, pa := range []uint8{1, 100, 150, 254, 255} {
		for _, pb := range []uint8{1, 100, 150, 254, 255} {
			for i, how := range preempting() {
				for j, howB := range preempting() {
					for k, offset := range offsets {
						for _, late := range []int{0, 1} {
							ours, theirs := &node{own: hostA}, &node{own: hostB, k227: (i+j+k)%2 == 0}
							for n, set := range map[*node]struct {
								priority uint8
								interval time.Duration
								how      func(*Config)
							}{ours: {pa, a, how}, theirs: {pb, b, howB}} {
								n.cfg = with(func(c *Config) { c.Version, c.Priority, c.Interval = version, set.priority, set.interval })
								set.how(&n.cfg)
								n.starts = at(0)
							}
							if ours.cfg.Validate() != nil || theirs.cfg.Validate() != nil {
								continue // an owner that does not pre-empt
							}
							[]*node{ours, theirs}[late].starts = at(offset)
							settles(t, newWorld(t, ours, theirs), offset, func() string {
								return fmt.Sprintf("version %d, priorities %d and %d, intervals %v and %v, ways %d and %d, node %d later by %v, 2.2.7: %v",
									version, pa, pb, a, b, i, j, late, offset, theirs.k227)
							})
							runs++
						}
					}
				}
			}
		}
	}
	return runs
}

// settles runs a world of two for as long as it may take from a moment on, and a
// while more.
func settles(t *testing.T, w *world, from time.Duration, what func() string) {
	t.Helper()
	longest := time.Duration(0)
	for _, n := range w.nodes {
		longest = max(longest, ActiveDownInterval(n.m.rules.version, 1, n.m.rules.interval, 3))
	}
	settled := at(from + 3*longest + 4*time.Second)
	w.until(settled.Add(2 * longest))
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
