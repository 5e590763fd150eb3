package sim

import (
	"time"

	"leasehold/election"
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

// A trial is what happens to a holder among hosts that are well, and how long
// the VIP may be away.
type trial struct {
	what  string
	do    func(*world, *host)
	bound func(*world, *host) time.Duration
	moves bool // another must hold in the end
}

// waitedOut is the bound where nobody invites a successor: the ttl on a clock
// that is 1 % slow, and 100 ms for turn, transaction, probe and bind.
func waitedOut(_ *world, h *host) time.Duration { return h.ttl*100/99 + 100*time.Millisecond }

// invited is the bound where the holder lets go in order: from its silence to the
// successor's first answer. The turns of the others are in it.
func invited(w *world, _ *host) time.Duration {
	return 50*time.Millisecond + time.Duration(len(w.hosts))*50*time.Millisecond
}

func trials() []trial {
	return []trial{
		{"host lost", func(w *world, h *host) { w.cause(crashHost, h) }, waitedOut, true},
		{"cut off", func(w *world, h *host) { w.cause(cutOff, h) }, waitedOut, true},
		{"frozen", func(w *world, h *host) { w.cause(freezeProcess, h) }, waitedOut, true},
		{"killed", func(w *world, h *host) { w.cause(killProcess, h) }, waitedOut, true},
		{"struck dead", func(w *world, h *host) { h.trap = trap{1 + w.rnd.IntN(60), h.struck(func() { w.killedNow(h) })} }, waitedOut, true},
		{"struck still", func(w *world, h *host) { h.trap = trap{1 + w.rnd.IntN(60), h.struck(func() { w.frozenNow(h) })} }, waitedOut, true},
		{"mysqld down", func(w *world, h *host) { w.cause(mysqldDown, h) }, invited, true},
		{"link down", func(w *world, h *host) { w.cause(linkFlips, h) }, invited, true},
		{"switchover", func(w *world, h *host) { w.cause(switchoverAsked, h) }, invited, false},
		{"lease revoked", func(w *world, h *host) { w.cause(holderLeaseRevoked, h) }, invited, true},
		{"holder key deleted", func(w *world, h *host) { w.cause(holderDeleted, h) }, invited, true},
		{"stopped", func(w *world, h *host) { h.blame(); h.stop = true; h.loop.signal() }, invited, true},
		{"VIP removed", func(w *world, h *host) { w.cause(vipRemoved, h) }, putBack, false},
		{"claimed", func(w *world, h *host) { w.cause(foreignClaim, h) }, putBack, false},
		{"restarted", func(w *world, h *host) { w.killedNow(h); w.restart(h, w.upTo(h.ttl/3)) }, stays, false},
		{"host lost, watches silent", func(w *world, h *host) { w.silence(h); w.cause(crashHost, h) }, unseen, true},
		{"claimed while the process is away", func(w *world, h *host) { w.killedNow(h); w.cause(foreignClaim, h); w.restart(h, w.upTo(h.ttl/3)) }, comesBack, false},
		{"etcd hiccup", func(w *world, h *host) { w.etcd.elect(hiccup(h)) }, stays, false},
		{"wall clock", func(w *world, h *host) { w.cause(wallStep, h) }, stays, false},
		{"compaction", func(w *world, h *host) { w.cause(compacted, h); w.cause(watchBreaks, h) }, stays, false},
	}
}

// silence has the watches of all others say nothing more.
func (w *world) silence(h *host) {
	for _, o := range w.hosts {
		if o != h {
			o.watch.silent = true
		}
	}
}

// unseen is the bound where a standby has to ask, two fifths of the ttl later and
// at least half a second (election.Core: checkAt). What it then sees may be that
// the holder key has vanished with its lease, which may have been renewed after
// the last answer: the ttl begins anew.
func unseen(w *world, h *host) time.Duration {
	return 2*waitedOut(w, h) + max(h.ttl*2/5, 500*time.Millisecond)*100/99
}

// comesBack is the bound of a process that is started again within a third of the
// ttl, and then has to hear from etcd.
func comesBack(_ *world, h *host) time.Duration { return h.ttl/3 + 200*time.Millisecond }

// hiccup is how long etcd may be without a leader before it costs the holder its
// tenure: what is left of that right before a renewal, less 25 ms on the way.
func hiccup(h *host) time.Duration {
	left := election.Deadline(0, h.ttl, margin).Sub(0) - h.lateness() - 70*time.Millisecond
	return (left - h.ttl/5 - 25*time.Millisecond) * 100 / 101
}

// putBack is the bound of what the holder repairs by itself (docs: 200 ms).
func putBack(*world, *host) time.Duration { return 200 * time.Millisecond }

// stays is the bound of what nobody may notice.
func stays(*world, *host) time.Duration { return time.Millisecond }

// liveOneFault tries faults one by one, each on a cluster that is well.
func (w *world) liveOneFault() {
	all := trials()
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
	w.cov.hit(boundFailover)
	w.logf("trial: %s", t.what)
	if (t.what == "restarted" || t.what == "claimed while the process is away") && !h.fenced() && h.ttl < 4*time.Second {
		return // the lifetimes of a short ttl end before a new process can read etcd
	}
	t.do(w, h)
	w.promise(t.bound(w, h))
	w.run(3*h.ttl + 2*time.Second)
	w.judge.bound = 0
	if w.bad != "" {
		return
	}
	switch now := w.holder(); {
	case now == nil:
		w.fail("after %s: nobody holds", t.what)
	case t.moves && now == h:
		w.fail("after %s: it has not moved", t.what)
	case !t.moves && t.what != "switchover" && (now != h || h.epoch() != epoch):
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
