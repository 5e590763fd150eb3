package election

import (
	"testing"
	"time"
)

// TestShortLeaseNeedsAShortDeadlineEachTime: a pause that follows on the heels of
// one that has just been removed makes the deadline long again. When it ends, the
// key may only go back to the short lease once the kernel's deadline is short anew.
func TestShortLeaseNeedsAShortDeadlineEachTime(t *testing.T) {
	w, h := started(t, 2)
	keys := h.keys()
	w.etcd.put(keys.Pause(), "", 0)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Second)
	w.check = func() string {
		if h.core.mine.held && !h.core.mine.long && h.core.mine.deadline.Sub(h.clock()) > simTTL {
			return "a deadline far away on the short lease"
		}
		return ""
	}
	w.etcd.delete(keys.Pause())
	w.until(time.Second, "the kernel's deadline is short", func() bool { return h.end.Sub(h.clock()) < simTTL })
	w.etcd.put(keys.Pause(), "again", 0)
	w.run(time.Second)
	w.etcd.delete(keys.Pause())
	w.run(5 * time.Second)
	h.kill()
	w.run(10 * time.Second)
}

// TestRenewalOfALongTenureThatComesLate: the answer to a renewal of the long
// tenure must not make the deadline long again that was just made short.
func TestRenewalOfALongTenureThatComesLate(t *testing.T) {
	w, h := started(t, 2)
	keys := h.keys()
	w.etcd.put(keys.Pause(), "", 0)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Second)
	h.core.mine.renewAt = h.clock() // it is time for one
	h.core.mine.deadline = h.core.mine.deadline.Add(-time.Hour)
	late := h.core.renewal(0)
	w.etcd.delete(keys.Pause())
	w.until(time.Second, "the kernel's deadline is short", func() bool { return h.end.Sub(h.clock()) < simTTL })
	late.Done(Reply{Sent: h.clock().Add(-20 * time.Millisecond), Got: h.clock(), Wall: h.wall(), Cluster: 42, Succeeded: true, Revision: w.etcd.rev})
	w.run(time.Second)
	if left := h.core.mine.deadline.Sub(h.clock()); left > simTTL {
		t.Fatalf("deadline %v away on the short lease\n%s", left, w.story())
	}
}

// TestRenewalThatSeesTheMove: a renewal that was sent before the key moved to the
// long lease, and carried out after it, fails its compare. Its answer may be here
// first, and says nothing of the tenure.
func TestRenewalThatSeesTheMove(t *testing.T) {
	w, h := started(t, 2)
	early := h.core.renewal(0)
	w.etcd.put(h.keys().Pause(), "", 0)
	w.until(time.Second, "the move is sent", func() bool { return h.core.mine.moving != nil })
	early.Done(Reply{Sent: h.clock(), Got: h.clock(), Wall: h.wall(), Cluster: 42})
	w.check = func() string {
		if !h.bound() || !h.core.mine.held {
			return "the VIP went away in a pause"
		}
		return ""
	}
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Minute)
}

// TestShorterTTLWaitsForTheHolders: a standby with a shorter ttl than the holder
// waits the holder's out, whatever etcd says of the lease that the key hangs on,
// which is kept alive beside the renewals and ends earlier.
func TestShorterTTLWaitsForTheHolders(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 2)
		w.nodes[1].ttl = 30 * time.Second
		w.nodes[1].boot(nil)
		w.nodes[0].dead = true
		w.until(32*time.Second, "the one with the long ttl holds", func() bool { return w.holder() != nil })
		w.nodes[0].boot(nil)
		w.run(time.Minute + w.upTo(10*time.Second))
		w.nodes[1].kill()
		w.until(31*time.Second, "the other takes over", func() bool { return w.nodes[0].bound() })
	}
}

// TestLongTenureEndsWithItsLease: a renewal of a pause without an end counts from
// the keep-alive of its lease, by which others cut their wait short.
func TestLongTenureEndsWithItsLease(t *testing.T) {
	w, h := started(t, 2)
	w.etcd.put(h.keys().Pause(), "", 0)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(3 * time.Second)
	before := h.core.mine.deadline
	w.etcd.deaf = true // to keep-alives
	h.core.mine.kept, h.core.mine.renewAt = 0, h.clock()
	w.run(5 * time.Second)
	if h.core.mine.deadline > before {
		t.Errorf("the deadline moved by %v although the lease was not kept alive", h.core.mine.deadline.Sub(before))
	}
	w.etcd.deaf = false
	w.run(5 * time.Second)
	if h.core.mine.deadline <= before {
		t.Errorf("the deadline is %v away with all well again, no later than before", h.core.mine.deadline.Sub(h.clock()))
	}
	left := w.etcd.leases[h.core.mine.lease] - w.now
	if h.core.mine.deadline.Sub(h.clock()) > left {
		t.Errorf("the deadline is %v away, the lease ends in %v", h.core.mine.deadline.Sub(h.clock()), left)
	}
}

// TestTenureBetweenTwoReads: a standby that saw no holder key before its watch
// broke, and sees none after it, may have missed a whole tenure: the record tells.
func TestTenureBetweenTwoReads(t *testing.T) {
	w := newWorld(t, 1, 3)
	a, b := w.nodes[0], w.nodes[1]
	w.until(4*time.Second, "a first holder", func() bool { return a.bound() })
	w.nodes[2].kill()
	a.kill()
	b.fit = false // it is there, and waits
	b.say()
	w.run(20 * time.Second)
	b.frozen = true // and hears nothing
	a.boot(nil)
	w.until(10*time.Second, "a holds again", a.bound)
	w.etcd.revoke(a.core.lease) // etcd ends the lease early, and a is cut off
	a.cut = true
	b.core.WatchEnded(b.core.watchGen, errEnded, b.clock(), b.wall())
	b.frozen, b.fit = false, true
	b.say()
	w.run(10 * time.Second)
	if !b.bound() {
		t.Fatalf("nobody took over\n%s", w.story())
	}
}

// TestDeletedKeysAreRemembered: who deletes the keys by hand frees nothing for
// those who saw them, neither the long wait nor the epoch.
func TestDeletedKeysAreRemembered(t *testing.T) {
	w, h := started(t, 2)
	keys, epoch := h.keys(), h.epoch
	w.etcd.put(keys.Pause(), "", 0)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(100 * time.Millisecond)
	h.kill() // its kernel goes on for a day
	for _, k := range []string{keys.Holder(), keys.Tenure(), keys.Pause()} {
		w.etcd.delete(k)
	}
	for _, n := range w.nodes {
		n.lag = time.Second // and hears of it all at once
	}
	w.run(10 * time.Minute)
	h.crash()
	w.run(25 * time.Hour)
	if n := w.holder(); n == nil || n.epoch <= epoch {
		t.Fatalf("holders %v after the tenure was over, want one with an epoch above %d\n%s", w.holders(), epoch, w.story())
	}
}

// TestStrangersTTLIsNotWaitedFor: what a stranger wrote must not keep the VIP
// away for years either.
func TestStrangersTTLIsNotWaitedFor(t *testing.T) {
	for _, key := range []string{"holder", "tenure"} {
		w, h := started(t, 2)
		h.crash()
		w.etcd.put("/leasehold/mysql/"+key, `{"node":"x","ttl":"87600h","epoch":1,"state":"?"}`, 0)
		w.until(2*simTTL, "a successor", func() bool { return w.holder() != nil })
	}
}

// TestOneGoodEndpointIsFound: reads go to every endpoint in turn, in whatever
// rhythm the bad ones time out.
func TestOneGoodEndpointIsFound(t *testing.T) {
	for good := range 3 {
		w, h := started(t, 2)
		for _, n := range w.nodes {
			n.core.cfg.Endpoints = 3
			n.hangs = map[int]bool{0: good != 0, 1: good != 1, 2: good != 2}
			n.core.WatchEnded(n.core.watchGen, errEnded, n.clock(), n.wall())
			n.watchGen = 0
		}
		w.nodes[0].core.retryAt[KindRead] = w.nodes[0].clock().Add(330 * time.Millisecond)
		w.until(2*time.Second, "both read", func() bool { return w.nodes[0].core.synced && w.nodes[1].core.synced })
		if h.epoch != 1 {
			t.Errorf("the VIP moved")
		}
	}
}

// TestPauseMadeLongerWhileTheDaemonIsDown: the daemon that comes back has a tenure
// that covers the pause as it was.
func TestPauseMadeLongerWhileTheDaemonIsDown(t *testing.T) {
	w, h := started(t, 2)
	w.pauseFor(10 * time.Second)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Second)
	h.kill()
	w.pauseFor(10 * time.Minute)
	w.run(time.Second)
	h.boot(h.file)
	w.check = func() string {
		if !h.bound() {
			return "the VIP went away in a pause"
		}
		return ""
	}
	w.run(9 * time.Minute)
}

// TestPauseShorterThanTheTTL: the key must not promise less than the deadline that
// a long ttl has set already; a standby with a short one goes by the key.
func TestPauseShorterThanTheTTL(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(t, seed, 2)
		w.nodes[1].ttl = 5 * time.Minute
		w.nodes[1].boot(nil)
		w.nodes[0].dead = true
		w.until(6*time.Minute, "the one with the long ttl holds", func() bool { return w.holder() != nil })
		h := w.holder()
		w.nodes[0].boot(nil)
		w.pauseFor(10 * time.Second)
		w.run(2 * time.Second)
		h.kill()
		w.until(6*time.Minute, "the other takes over", func() bool { return w.nodes[0].bound() })
		w.run(time.Minute)
		h.boot(nil)
	}
	w, h := started(t, 2)
	h.ttl = 5 * time.Minute
	h.boot(h.file)
	w.pauseFor(10 * time.Second)
	w.run(15 * time.Minute)
	if h.core.mine.long || !h.holding || h.epoch != 1 {
		t.Fatalf("after the pause the VIP is not where it was, on a short lease\n%s", w.story())
	}
}

// TestTakeOverOnItsWayAtStop: a take-over that is answered after everything was
// given back is given back as well, and nobody waits it out.
func TestTakeOverOnItsWayAtStop(t *testing.T) {
	w, h := started(t, 2)
	other := w.nodes[1]
	if other == h {
		other = w.nodes[0]
	}
	h.fit = false
	h.say()
	w.until(time.Second, "the take-over is on its way", func() bool { return other.core.flying[KindTake] > 0 })
	other.fit = false
	other.core.Stop(false)
	h.fit = true
	h.say()
	w.until(time.Second, "the VIP is back", h.bound)
}

// TestTwoDaemonsOfOneName write the same member key, but not as fast as they can.
func TestTwoDaemonsOfOneName(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.nodes = append(w.nodes, w.newNode("n0", simTTL))
	w.until(10*time.Second, "a holder", func() bool { return w.holder() != nil })
	before := w.etcd.rev
	w.run(10 * time.Second)
	if n := w.etcd.rev - before; n > 100 {
		t.Errorf("%d writes in 10 s", n)
	}
}

func (w *world) pauseFor(d time.Duration) {
	until := w.nodes[0].wall().Add(d)
	w.logf("paused for %v", d)
	w.etcd.put(w.nodes[0].keys().Pause(), encode(PauseValue{Until: &until}), w.etcd.grant(time.Duration(ceilSeconds(d+5*time.Second))*time.Second))
}

// A lost holder's lease ends while the take-over is on its way, so that the take-over
// fails its compare. The watch tells why, and that the key was not renewed before it
// went: nothing has to be waited out once more.
func TestLeaseEndsInTheMomentOfTheTakeOver(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 2)
		w.until(4*time.Second, "a first holder", func() bool { return w.holder() != nil })
		w.run(2 * time.Second)
		h := w.holder()
		other := w.nodes[0]
		if other == h {
			other = w.nodes[1]
		}
		h.dead, other.lag = true, 20*time.Millisecond // the watch tells later than the failure of the take-over
		w.etcd.leases[h.core.lease] += simTTL
		w.until(5*time.Second, "a take-over on its way", func() bool { return other.core.flying[KindTake] > 0 })
		w.etcd.revoke(h.core.lease)
		took := w.until(5*time.Second, "a successor", func() bool { return w.holder() == other })
		if took > 200*time.Millisecond {
			t.Errorf("seed %d: took %v from the moment that the tenure was over", seed, took)
		}
	}
}
