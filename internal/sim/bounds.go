package sim

import (
	"time"

	"leasehold/internal/node"
)

// heal0 makes etcd and at least one host well, and leaves the others.
func (w *world) heal0() {
	w.logf("a lull")
	w.etcd.down, w.etcd.full, w.etcd.electing = false, false, 0
	w.member = [members]member{}
	w.squatter = false
	w.etcd.delete(w.keys.Pause())
	w.etcd.delete(w.keys.Switchover())
	spared := w.pick()
	for _, h := range w.hosts {
		h.trap, h.ambush = trap{}, nil
		if h == spared || w.oneIn(2) {
			w.refresh(h)
		} else if h.kernel.addr.byHand {
			h.kernel.addr = address{} // as he came, he went
		}
	}
	w.blameAll()
}

// refresh makes a host well, and has it forget that it could not bind the VIP.
func (w *world) refresh(h *host) {
	w.goOn(h)
	if !h.dead && (h.stop || w.now < w.bars) {
		h.kill()
	}
	w.healHost(h)
}

// liveOneFault tries faults one by one, each on a cluster that is well.
func (w *world) liveOneFault() {
	all := allTrials()
	for range 4 {
		h := w.settle()
		w.run(w.upTo(h.ttl)) // at any phase of its renewals
		if w.bad != "" || w.holder() != h {
			return
		}
		t := all[w.rnd.IntN(len(all))]
		w.try(t, h)
		if w.bad != "" {
			return
		}
		w.healAfter()
		w.run(3*time.Second + w.longest()*2)
	}
}

// try has one thing happen to the holder and checks its bound.
func (w *world) try(t trial, h *host) {
	epoch := h.epoch()
	if t.lasts && !h.fenced() && h.ttl < 4*time.Second {
		return // the lifetimes of a short ttl end before a new process can read etcd
	}
	w.cov.trials[t.what]++
	w.logf("trial: %s (%s)", t.what, h.name)
	t.do(w, h)
	if w.bad != "" {
		return
	}
	if t.bound != nil {
		w.cov.hit(boundFailover)
		w.promise(t.bound(w, h))
	}
	w.run(3*h.ttl + 2*time.Second)
	w.judge.bound = 0
	if w.bad != "" {
		return
	}
	switch now := w.holder(); {
	case t.end == anybody:
	case now == nil:
		w.fail("after %s: nobody holds", t.what)
	case t.end == another && now == h:
		w.fail("after %s: it has not moved", t.what)
	case t.end == same && (now != h || h.epoch() != epoch):
		w.fail("after %s: it moved", t.what)
	}
}

func (w *world) healAfter() {
	w.etcd.delete(w.keys.Switchover())
	for _, h := range w.hosts {
		w.healHost(h)
	}
}

// liveOthers lets things happen to everybody but the holder, and to one of etcd's
// members at a time: the VIP stays, and its epoch.
func (w *world) liveOthers() {
	h := w.settle()
	epoch := h.epoch()
	w.judge.check = func() string {
		if !h.kernel.answers() || h.loop.role != node.Holder || h.epoch() != epoch {
			return "the VIP moved although nothing is wrong with its holder"
		}
		return ""
	}
	menu := []fault{
		cutOff, loseRequests, loseReplies, slowReplies, freezeProcess, thawProcess, killProcess, killAndRestart, startProcess, stopProcess,
		strikeKill, strikeFreeze, strikeRestart, crashHost, mysqldDown, mysqldUp, linkFlips, lanFlips, bindBreaks,
		vipRemoved, strayVIP, watchLags, watchSilent, watchBreaks, memberHangs, compacted, ownLeaseRevoked, memberDeleted, wallStep, garbageWritten,
	}
	for range 25 {
		f, o := menu[w.rnd.IntN(len(menu))], w.pick()
		switch {
		case f == memberHangs:
			m := w.rnd.IntN(members + 1)
			w.member = [members]member{}
			if m < members {
				w.member[m].hangs = true
			}
		case o != h, f == wallStep, f == watchSilent, f == watchBreaks, f == compacted, f == garbageWritten, f == memberDeleted:
			w.cause(f, o)
		}
		w.run(w.upTo(h.ttl))
		if w.bad != "" {
			return
		}
	}
	w.judge.check = nil
}
