package election

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// seedsOr is how many seeds a simulation runs: LEASEHOLD_SIM_SEEDS, else few.
func seedsOr(t *testing.T, few int) uint64 {
	t.Helper()
	if s := os.Getenv("LEASEHOLD_SIM_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatalf("LEASEHOLD_SIM_SEEDS=%q: %v", s, err)
		}
		return n
	}
	if testing.Short() {
		few = max(1, few/3)
	}
	return uint64(few)
}

// firstSeed lets one seed be looked at: LEASEHOLD_SIM_FIRST.
func firstSeed() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("LEASEHOLD_SIM_FIRST"), 10, 32)
	return n
}

// simulate runs f in as many worlds as there are seeds, a few at a time.
func simulate(t *testing.T, few int, f func(t *testing.T, w *world)) {
	n, first := seedsOr(t, few), firstSeed()
	for lane := range uint64(4) {
		t.Run(fmt.Sprint(lane), func(t *testing.T) {
			t.Parallel()
			for seed := first + lane; seed < first+n; seed += 4 {
				if ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, wild(t, seed)) }); !ok && os.Getenv("LEASEHOLD_SIM_ALL") == "" {
					return
				}
			}
		})
	}
}

// wild is a world of two to four nodes with clocks of their own, and an etcd of
// three endpoints; in most of them requests are late or doubled, in many the
// nodes' ttls differ.
func wild(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed, 0)
	ttls := []time.Duration{3 * time.Second, 3 * time.Second, 4 * time.Second, 10 * time.Second, 30 * time.Second}
	same := w.rnd.IntN(2) == 0
	ttl := ttls[w.rnd.IntN(4)]
	for i := range 2 + int(seed%3) {
		if !same {
			ttl = ttls[w.rnd.IntN(len(ttls))]
		}
		n := w.newNode(fmt.Sprintf("n%d", i), ttl)
		n.rate = 0.99 + 0.02*w.rnd.Float64()
		n.core.cfg.Endpoints = 3
		n.current = w.rnd.IntN(3)
		n.slowness = time.Millisecond + w.upTo(simLetGo)
		n.watchEnds = w.rnd.IntN(2) == 0
		w.nodes = append(w.nodes, n)
	}
	w.keep, w.dup, w.slow = 0.7*w.rnd.Float64(), 0.05*w.rnd.Float64(), 0.02*w.rnd.Float64()
	return w
}

func (w *world) longest() time.Duration {
	d := time.Duration(0)
	for _, n := range w.nodes {
		d = max(d, n.ttl)
	}
	return d
}

// TestRandomFaults throws everything at a few nodes. At no moment do two kernels
// answer, and when everything is well again, one does.
func TestRandomFaults(t *testing.T) {
	simulate(t, 60, func(t *testing.T, w *world) {
		for range 60 {
			w.mishap(w.rnd.IntN(28), w.nodes[w.rnd.IntN(len(w.nodes))])
			w.run(w.upTo(4 * time.Second))
		}
		w.heal()
		w.until(3*w.longest()+5*time.Second, "somebody holds after everything is well", func() bool { return w.holder() != nil })
		w.run(20 * time.Second)
		if w.holder() == nil {
			t.Fatalf("nobody holds any more\n%s", w.story())
		}
	})
}

// mishap is one fault, or its end.
func (w *world) mishap(k int, n *simNode) {
	keys := n.keys()
	w.logf("mishap %d at %s", k, n.name)
	switch k {
	case 0, 1:
		n.cut = !n.cut
	case 2:
		n.lose = !n.lose
	case 3, 4:
		n.frozen = !n.frozen
	case 5, 6:
		n.fit = !n.fit
		n.say()
	case 7:
		w.etcd.revoke(n.core.lease)
	case 8:
		w.etcd.delete(keys.Holder())
	case 9:
		w.etcd.put(keys.Holder(), `{"node":"x","ttl":"1ms"}`, 0)
	case 10, 11, 12:
		w.pauseOrNot(keys)
	case 13:
		w.loseWatch(n)
	case 14, 15, 16:
		w.toggleDaemon(n)
	case 17:
		w.down = !w.down
	case 18, 19:
		i := w.rnd.IntN(3)
		w.hung[i] = !w.hung[i] && !w.hung[(i+1)%3]
	case 20, 21:
		n.lag = time.Millisecond + w.upTo(2*time.Second)*time.Duration(w.rnd.IntN(2))
	case 22:
		w.etcd.stretch()
	case 23:
		w.etcd.put(keys.Switchover(), encode(SwitchoverValue{To: n.name}), w.etcd.grant(30*time.Second))
	case 24:
		if !w.longTenure() && w.etcd.kv[keys.Holder()] != nil { // else nothing is left to tell who holds
			w.etcd.delete(keys.Tenure())
		}
	case 25:
		n.crash()
	case 26:
		w.forceRelease()
	case 27:
		if l := w.etcd.kv[keys.Holder()]; l != nil {
			w.etcd.revoke(LeaseID(l.Lease)) // etcd ends a lease early
		}
	}
}

// loseWatch ends a node's watch for whatever reason, compaction or a dead
// stream: what happened since is not told any more; or nothing says that it ended.
func (w *world) loseWatch(n *simNode) {
	if w.rnd.IntN(2) == 0 {
		n.watchGen = 0 // silent from now on
		return
	}
	if !n.dead && !n.frozen {
		n.core.WatchEnded(n.core.watchGen, errEnded, n.clock(), n.wall())
	}
}

// pauseOrNot is an operator at the pause key: set, changed, gone.
func (w *world) pauseOrNot(keys Keys) {
	wall := w.nodes[0].wall()
	switch {
	case w.etcd.kv[keys.Pause()] != nil && w.rnd.IntN(2) == 0:
		w.etcd.delete(keys.Pause())
	case w.rnd.IntN(3) == 0:
		w.etcd.put(keys.Pause(), "", 0)
	default:
		d := w.upTo(40 * time.Second)
		until := wall.Add(d)
		w.etcd.put(keys.Pause(), encode(PauseValue{Until: &until}), w.etcd.grant(time.Duration(ceilSeconds(d))*time.Second))
	}
}

// toggleDaemon kills a node's daemon, or starts it: with what the old one had
// written down before its last requests went out.
func (w *world) toggleDaemon(n *simNode) {
	if !n.dead {
		n.kill()
		if w.rnd.IntN(2) == 0 {
			return
		}
	}
	n.boot(n.file)
}

// forceRelease is the operator's, who has made sure that the holder's host is off.
func (w *world) forceRelease() {
	keys := w.nodes[0].keys()
	for _, n := range w.nodes {
		var t TenureValue
		kv := w.etcd.kv[keys.Tenure()]
		if kv == nil || decode(kv.Value, &t) != nil || t.Node != n.name || t.State != TenureHeld || !n.dead || n.bound() || n.file != nil {
			continue
		}
		t.State = TenureReleased
		w.logf("release of %s forced", n.name)
		w.etcd.commit(Txn{Then: []Write{put(keys.Tenure(), encode(t), 0), del(keys.Holder())}}, &Reply{})
	}
}

// heal makes everything well, and does what an operator may have to after a
// pause whose holder is gone.
func (w *world) heal() {
	keys := w.nodes[0].keys()
	w.logf("everything is well from now on")
	w.etcd.delete(keys.Pause())
	w.forceRelease()
	w.down, w.hung, w.keep, w.dup, w.slow = false, map[int]bool{}, 0, 0, 0
	for _, n := range w.nodes {
		n.cut, n.lose, n.frozen, n.fit, n.lag, n.hangs = false, false, false, true, time.Millisecond, nil
		if n.dead {
			n.boot(n.file)
		}
		n.say()
	}
	w.run(10 * time.Second)
	if w.holder() == nil && w.longTenure() {
		for _, n := range w.nodes { // of a host that lost it: known to be gone
			n.crash()
		}
		w.forceRelease()
		w.etcd.delete(keys.Holder())
		for _, n := range w.nodes {
			n.boot(nil)
		}
	}
}

// longTenure reports whether the latest tenure is that of a pause.
func (w *world) longTenure() bool {
	var t TenureValue
	kv := w.etcd.kv[w.nodes[0].keys().Tenure()]
	if kv == nil { // deleted by hand: the holder key says the same
		kv = w.etcd.kv[w.nodes[0].keys().Holder()]
	}
	return kv != nil && decode(kv.Value, &t) == nil && time.Duration(t.TTL) > w.longest()
}

// TestStandbyFaultsMoveNothing: whatever happens to the others, or to one of
// etcd's endpoints, the holder stays and its epoch with it.
func TestStandbyFaultsMoveNothing(t *testing.T) {
	simulate(t, 30, func(_ *testing.T, w *world) {
		w.slow = 0
		h := w.settleOn()
		epoch := h.epoch
		w.check = func() string {
			if !h.bound() || !h.holding || h.epoch != epoch {
				return "the VIP moved although nothing was wrong with its holder"
			}
			return ""
		}
		for range 40 {
			n := w.nodes[w.rnd.IntN(len(w.nodes))]
			switch k := []int{0, 2, 3, 5, 7, 13, 14, 15, 20, 22, 25, 18}[w.rnd.IntN(12)]; {
			case k == 18:
				w.hung = map[int]bool{w.rnd.IntN(4): true} // 3: none
			case n != h || k == 13 || k == 20 || k == 22:
				w.mishap(k, n)
			}
			w.run(w.upTo(4 * time.Second))
		}
	})
}

// settleOn waits until somebody holds, that is well.
func (w *world) settleOn() *simNode {
	w.until(3*w.longest()+2*time.Second, "a first holder", func() bool { return w.holder() != nil && w.holder().holding })
	w.run(2 * time.Second)
	return w.holder()
}

// TestPauseIsHonoured: once the tenure covers the pause, the VIP stays where it
// is whatever becomes of daemons, checks, etcd and the pause's length; and when
// the pause is over with everything well, it has not moved.
func TestPauseIsHonoured(t *testing.T) {
	simulate(t, 60, func(t *testing.T, w *world) {
		h := w.settleOn()
		keys, epoch := h.keys(), h.epoch
		w.check = func() string {
			if !h.bound() {
				return "the VIP went away in a pause"
			}
			return ""
		}
		w.pauseFor(20*time.Second + w.upTo(40*time.Second))
		w.until(5*time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
		w.run(50 * time.Millisecond)
		for range 12 {
			switch k := []int{0, 2, 3, 5, 11, 12, 13, 14, 15, 16, 17, 18, 20, 22, 25}[w.rnd.IntN(15)]; k {
			case 11, 12: // another pause in its place, told to the holder
				if h.core.view.Pause == nil || h.cut || h.dead || h.frozen || w.down || h.lose || !h.core.mine.held {
					continue
				}
				w.pauseFor(10*time.Second + w.upTo(60*time.Second))
				w.untilSaid(h)
			case 25:
				if n := w.nodes[w.rnd.IntN(len(w.nodes))]; n != h {
					w.mishap(k, n)
				}
			default:
				w.mishap(k, w.nodes[w.rnd.IntN(len(w.nodes))])
			}
			w.run(w.upTo(2 * time.Second))
			if kv := w.etcd.kv[keys.Pause()]; kv == nil || DecodePause(kv.Value).Until.Sub(h.wall()) < 5*time.Second {
				w.healPaused()
				w.pauseFor(30 * time.Second)
				w.untilSaid(h)
			}
		}
		w.healPaused()
		w.run(2 * time.Second)
		if w.rnd.IntN(2) == 0 {
			w.etcd.delete(keys.Pause())
		}
		w.run(2 * time.Minute)
		if !h.holding || h.epoch != epoch || h.core.mine.long || h.core.mine.ttl != h.ttl {
			t.Fatalf("after the pause the VIP is not where it was, on a short lease\n%s", w.story())
		}
	})
}

func (w *world) pauseFor(d time.Duration) {
	until := w.nodes[0].wall().Add(d)
	w.logf("paused for %v", d)
	w.etcd.put(w.nodes[0].keys().Pause(), encode(PauseValue{Until: &until}), w.etcd.grant(time.Duration(ceilSeconds(d+5*time.Second))*time.Second))
}

// untilSaid waits until the holder's tenure covers the pause that stands.
func (w *world) untilSaid(h *simNode) {
	w.t.Helper()
	w.until(8*time.Second, "the tenure covers the changed pause", func() bool {
		p := w.etcd.kv[h.keys().Pause()]
		return p == nil || h.core.mine.long && h.core.mine.pauseRev == p.ModRevision
	})
}

// healPaused makes all well but leaves the pause.
func (w *world) healPaused() {
	w.down, w.hung = false, map[int]bool{}
	for _, n := range w.nodes {
		n.cut, n.lose, n.frozen, n.fit = false, false, false, true
		n.lag = min(n.lag, 100*time.Millisecond)
		if n.dead {
			n.boot(n.file)
		}
		n.say()
	}
	w.run(3 * time.Second)
}
