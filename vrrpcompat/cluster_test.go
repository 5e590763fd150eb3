package vrrpcompat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// cluster is two nodes of ours, of which the first begins with the tenure, and
// one keepalived that begins a while later.
func cluster(t *testing.T, ours, keepalived Config) *world {
	w := newWorld(t,
		&node{own: hostA, cfg: ours, starts: at(0), ours: true},
		&node{own: netip.MustParseAddr("10.20.8.28"), cfg: ours, starts: at(0), ours: true},
		&node{own: hostB, cfg: keepalived, starts: at(6 * time.Second), k227: true},
	)
	w.tell(0, TenureGained{})
	return w
}

// TestHandOverUnderKeepalivedsNose: the tenure goes back and forth between two
// nodes of ours, with and without a gap, and a keepalived that would take over
// never gets to be Active.
func TestHandOverUnderKeepalivedsNose(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		ours, keepalived := base(), with(func(c *Config) { c.Priority = uint8(1 + r.IntN(150)) })
		if r.IntN(2) == 0 { // 300 ms of the v3 timer: only the quick kinds of hand-over are in time
			ours.Version, keepalived.Version = Version3, Version3
			ours.Interval, keepalived.Interval = 200*ms, 200*ms
		}
		w := cluster(t, ours, keepalived)
		w.until(at(8 * time.Second))
		holder := 0
		for range 30 {
			w.until(w.now.Add(time.Duration(r.Int64N(int64(5 * time.Second)))))
			gap := time.Duration(r.Int64N(int64(2*ours.Interval - 2*w.latency)))
			switch r.IntN(3) {
			case 0: // stop, or mysqld died: the daemon says so
				w.tell(holder, TenureLost{Successor: true})
			case 1: // the daemon was killed, and starts again later
				w.nodes[holder].m, w.nodes[holder].bound = NewMachine(ours, w.nodes[holder].own), false
				w.nodes[holder].starts = w.now.Add(gap + time.Second)
			case 2: // suspended: it wakes up without the tenure
				w.nodes[holder].frozen = w.now.Add(gap)
				w.until(w.now.Add(gap))
				w.tell(holder, TenureLost{Successor: true})
				gap = 0
			}
			w.until(w.now.Add(gap))
			holder = 1 - holder
			w.tell(holder, TenureGained{Succeeds: true})
			if w.nodes[holder].m.state == Initialize {
				w.nodes[holder].starts = 0
				w.tell(holder, Startup{})
			}
			if all := w.active(); len(all) != 1 || all[0] != holder {
				t.Fatalf("seed %d at %v: Active are %v, the tenure is node %d's", seed, w.now.Sub(at(0)), all, holder)
			}
		}
		if n := w.nodes[2].m; n.cause != CauseStartup {
			t.Fatalf("seed %d: keepalived was Active on the way: %s", seed, n.cause)
		}
	}
}

// TestOnlyTheHolderIsActive: whatever happens to the tenure and to keepalived, no
// node of ours is Active without it, none is beside another, and where nobody of
// ours has it keepalived is Active.
func TestOnlyTheHolderIsActive(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 4))
		keepalived := with(func(c *Config) {
			c.Priority = []uint8{1, 100, 150, 200, 255}[r.IntN(5)]
			c.NoPreempt = c.Priority < 255 && r.IntN(3) == 0
		})
		ours := with(func(c *Config) { c.NoPreempt = r.IntN(3) == 0 })
		w := cluster(t, ours, keepalived)
		holder := 0
		for range 30 {
			w.until(w.now.Add(time.Duration(r.Int64N(int64(4 * time.Second)))))
			switch r.IntN(6) {
			case 0, 1:
				if holder >= 0 {
					w.tell(holder, TenureLost{Successor: r.IntN(2) == 0})
					holder = -1
				}
			case 2:
				if holder < 0 {
					holder = r.IntN(2)
					w.tell(holder, TenureGained{Succeeds: r.IntN(2) == 0})
				}
			case 3:
				w.tell(2, Shutdown{})
			default:
				w.tell(2, Startup{})
			}
			if w.nodes[0].m.state == Active && w.nodes[1].m.state == Active {
				t.Fatalf("seed %d: both of ours are Active", seed)
			}
		}
		if holder >= 0 {
			w.tell(holder, TenureLost{})
		}
		w.tell(2, Startup{})
		w.until(w.now.Add(5 * time.Second))
		if all := w.active(); len(all) != 1 || all[0] != 2 {
			t.Fatalf("seed %d: Active are %v, and none of ours has the tenure", seed, all)
		}
		if allowed := 2 * w.latency; w.doubled > allowed {
			t.Fatalf("seed %d: two were Active for %v", seed, w.doubled)
		}
	}
}

// TestGateAmongKeepaliveds: while one of two is Active the gate is shut, however
// they come and go, and when both are gone it opens.
func TestGateAmongKeepaliveds(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 5))
		k := func() Config {
			return with(func(c *Config) { c.Priority = uint8(1 + r.IntN(255)) })
		}
		w := newWorld(t,
			&node{own: hostA, cfg: with(func(c *Config) { c.Mode = ModeGate }), ours: true, starts: at(0)},
			&node{own: hostB, cfg: k(), starts: at(0), k227: true},
			&node{own: other4, cfg: k(), starts: at(time.Duration(r.Int64N(int64(5 * time.Second)))), k227: true},
		)
		w.tell(0, TenureGained{})
		for range 20 {
			w.until(w.now.Add(time.Duration(r.Int64N(int64(6 * time.Second)))))
			n := 1 + r.IntN(2)
			switch r.IntN(4) {
			case 0:
				w.tell(n, Shutdown{})
			case 1: // killed: it says nothing
				w.nodes[n].m, w.nodes[n].bound = router(w.nodes[n].cfg, w.nodes[n].own), false
				w.nodes[n].starts = w.now.Add(time.Duration(r.Int64N(int64(9 * time.Second))))
			default:
				w.tell(n, Startup{})
			}
		}
		if w.doubled > 2*w.latency {
			t.Fatalf("seed %d: two were Active for %v", seed, w.doubled)
		}
		for n := 1; n <= 2; n++ {
			w.nodes[n].m, w.nodes[n].bound, w.nodes[n].starts = router(w.nodes[n].cfg, w.nodes[n].own), false, 0
		}
		w.until(w.now.Add(4 * time.Second))
		if all := w.active(); len(all) != 1 || all[0] != 0 {
			t.Fatalf("seed %d: 4 s after the last keepalived died Active are %v", seed, all)
		}
	}
}
