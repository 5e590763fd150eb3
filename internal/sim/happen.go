package sim

import (
	"fmt"
	"time"

	"leasehold/internal/node"
)

// cause has a fault happen to a host; one that concerns all looks at no host.
func (w *world) cause(f fault, h *host) {
	w.cov.faults[f]++
	w.logf("fault: %s (%s)", f, h.name)
	switch {
	case f <= slowReplies:
		w.onPath(f, h)
	case f <= resumeHost:
		w.onProcess(f, h)
	case f <= squatterFlips:
		w.onHost(f, h)
	case f <= watchBreaks:
		w.onEtcd(f, h)
	default:
		w.onKeys(f, h)
	}
}

func (w *world) onPath(f fault, h *host) {
	h.blame()
	some := func(flags *[members]bool) {
		for i := range flags {
			flags[i] = w.oneIn(2)
		}
	}
	whole := h.path.whole()
	switch f {
	case cutOff:
		h.path.cut(whole)
	case loseRequests:
		some(&h.path.lost)
	case loseReplies:
		some(&h.path.unheard)
	default:
		h.path.slow = !h.path.slow
	}
}

func (w *world) onProcess(f fault, h *host) {
	if h.guarded || h.suspended && f != resumeHost {
		return
	}
	h.blame()
	switch f {
	case freezeProcess:
		w.frozenNow(h)
	case thawProcess, resumeHost:
		w.goOn(h)
	case killProcess:
		w.killedNow(h)
	case killAndRestart:
		w.killedNow(h)
		w.restart(h, w.upTo(h.ttl/2))
	case startProcess:
		w.restart(h, 0)
	case stopProcess:
		if !h.dead && !h.frozen {
			h.stop, h.comeBack = true, true
			h.loop.signal()
		}
	case strikeKill:
		h.strike(func() { w.killedNow(h) })
	case strikeRestart:
		h.strike(func() {
			w.killedNow(h)
			w.restart(h, w.upTo(100*time.Millisecond))
		})
	case strikeFreeze:
		h.strike(func() {
			w.frozenNow(h)
			life := h.life
			w.at(w.upTo(2*h.ttl), func() {
				if h.life == life {
					w.goOn(h)
				}
			})
		})
	case crashHost:
		if h.off {
			h.off = false
			h.start()
			return
		}
		h.crash()
	default: // suspendHost
		if h.fenced() && !h.off && !h.dead { // a jiffies timer does not run in suspend: lifetimes alone do not cover it
			h.sleep()
		}
	}
}

// strike has something happen between two of the process's next instructions,
// or of those with which it next does something that matters.
func (h *host) strike(do func()) {
	if h.dead || h.trap.armed() {
		return
	}
	if h.w.oneIn(2) {
		h.ambush = h.struck(do)
		return
	}
	h.trap = trap{left: 1 + h.w.rnd.IntN(60), do: h.struck(do)}
}

func (h *host) struck(do func()) func() {
	return func() {
		h.blame()
		h.w.cov.hit(trapped)
		if h.thread != nil {
			h.w.cov.hit(trappedInThread)
		}
		do()
	}
}

func (w *world) killedNow(h *host) {
	if h.kernel.answers() {
		w.cov.hit(killedWhileHolding)
	}
	if !h.dead {
		h.kill()
	}
}

func (w *world) frozenNow(h *host) {
	if h.kernel.answers() {
		w.cov.hit(frozenWhileHolding)
	}
	h.freeze()
}

func (w *world) goOn(h *host) {
	if !h.frozen {
		return
	}
	for _, o := range w.hosts {
		if o != h && o.kernel.answers() {
			w.cov.hit(thawedTooLate)
		}
	}
	if h.suspended {
		h.wake()
		return
	}
	h.thaw()
}

// restart starts the process after d if it is dead then.
func (w *world) restart(h *host, d time.Duration) {
	w.at(d, func() {
		if h.dead && !h.off {
			h.blame()
			h.start()
		}
	})
}

func (w *world) onHost(f fault, h *host) {
	k := &h.kernel
	switch f {
	case mysqldDown:
		h.blame()
		h.ill(true)
	case mysqldUp:
		h.ill(false)
	case allMysqldDown:
		for _, o := range w.hosts {
			o.blame()
			o.ill(true)
			w.at(w.upTo(10*time.Second), func() { o.ill(false) })
		}
	case linkFlips:
		h.blame()
		k.link = !k.link
		k.report()
	case lanFlips:
		k.lan = !k.lan
	case wallStep:
		h.step = w.upTo(2*time.Hour) - time.Hour
	case bindBreaks:
		h.blame()
		h.broken = !h.broken
		w.bars = w.now + time.Minute
	case vipRemoved:
		k.addr = address{}
		k.report()
	case vipMadePermanent:
		if !h.off {
			k.addr = address{there: true, byHand: true}
			k.report()
		}
	case strayVIP:
		if !h.off {
			k.stray = true
			k.report()
		}
	case fenceDetached:
		w.detach(h)
	case foreignClaim:
		w.claimed(nil)
	default:
		w.squatter = !w.squatter
	}
}

// detach takes a fence away by hand. Nothing happens to the process until it has
// put it back: the two at once are beyond what is promised.
func (w *world) detach(h *host) {
	k := &h.kernel
	if h.dead || h.frozen || h.trap.armed() || h.ambush != nil || h.guarded || !k.fence.attached || k.addr.there && (h.loop.role != node.Holder || !k.answers()) {
		return
	}
	k.fence.attached, h.guarded = false, true
	w.at(1100*time.Millisecond, func() { h.guarded = false })
}

func (w *world) onEtcd(f fault, h *host) {
	e := &w.etcd
	m := w.rnd.IntN(members)
	switch f {
	case leaderLost:
		w.blameAll()
		e.elect(w.upTo(time.Second))
	case leaderLostLong:
		w.blameAll()
		e.elect(w.upTo(3 * w.longest()))
	case quorumFlips:
		w.blameAll()
		e.down = !e.down
	case memberHangs:
		w.member[m] = member{hangs: !w.member[m].hangs}
		w.blameIfMany()
	case memberRefuses:
		w.member[m] = member{refuses: !w.member[m].refuses}
		w.blameIfMany()
	case etcdFull:
		w.blameAll()
		e.full = !e.full
	case compacted:
		w.compact()
	case watchLags:
		h.blame()
		h.lag = w.upTo(2*time.Second) * time.Duration(w.rnd.IntN(2))
	case watchSilent:
		h.watch.silent = true
	default:
		if !h.dead && !h.frozen && h.watch.open {
			h.endWatch(h.watch.gen, errStream)
		}
	}
}

// compact has etcd forget what was, a few times, while watches have to begin anew.
func (w *world) compact() {
	for _, h := range w.hosts {
		if !h.dead && !h.frozen && h.watch.open && w.oneIn(2) {
			h.endWatch(h.watch.gen, errStream)
		}
	}
	for range 4 {
		w.at(w.upTo(40*time.Millisecond), func() {
			w.etcd.put(w.keys.Prefix()+"garbage", fmt.Sprint(w.now), 0)
			w.etcd.compaction(0)
		})
	}
}

func (w *world) blameIfMany() {
	if w.memberTrouble() {
		w.blameAll()
	}
}
