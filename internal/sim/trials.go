package sim

import (
	"slices"
	"time"

	"leasehold/election"
)

// A trial is what happens to a holder among hosts that are well.
type trial struct {
	what  string
	do    func(*world, *host)
	bound func(*world, *host) time.Duration // how long the VIP may be away; nil: not checked
	end   outcome
	lasts bool // takes a tenure that lasts longer than a restart
}

// outcome is who must hold in the end.
type outcome uint8

const (
	another outcome = iota
	same
	somebody
	anybody // or nobody
)

func allTrials() []trial {
	return slices.Concat(lossTrials(), orderlyTrials(), quietTrials(), raceTrials())
}

// lossTrials are those where nobody invites a successor.
func lossTrials() []trial {
	return []trial{
		{what: "host lost", do: func(w *world, h *host) { w.cause(crashHost, h) }, bound: waitedOut},
		{what: "cut off", do: func(w *world, h *host) { w.cause(cutOff, h) }, bound: waitedOut},
		{what: "frozen", do: func(w *world, h *host) { w.cause(freezeProcess, h) }, bound: waitedOut},
		{what: "killed", do: func(w *world, h *host) { w.cause(killProcess, h) }, bound: waitedOut},
		{what: "struck dead", do: func(w *world, h *host) { w.soon(h, w.killedNow) }, bound: waitedOut},
		{what: "struck still", do: func(w *world, h *host) { w.soon(h, w.frozenNow) }, bound: waitedOut},
		{what: "struck still, thawed late", do: func(w *world, h *host) {
			h.eager = true
			h.ambush = h.struck(func() { w.frozenNow(h) })
			w.at(h.ttl*13/10+w.upTo(h.ttl/2), func() { w.goOn(h) })
		}, bound: waitedOut},
		{what: "host lost, watches silent", do: func(w *world, h *host) { w.silence(h); w.cause(crashHost, h) }, bound: unseen},
	}
}

// orderlyTrials are those where the holder lets go in order.
func orderlyTrials() []trial {
	return []trial{
		{what: "mysqld down", do: func(w *world, h *host) { w.cause(mysqldDown, h) }, bound: invited},
		{what: "link down", do: func(w *world, h *host) { w.cause(linkFlips, h) }, bound: invited},
		{what: "switchover", do: func(w *world, h *host) { w.cause(switchoverAsked, h) }, bound: invited, end: somebody},
		{what: "lease revoked", do: func(w *world, h *host) { w.cause(holderLeaseRevoked, h) }, bound: invited},
		{what: "holder key deleted", do: func(w *world, h *host) { w.cause(holderDeleted, h) }, bound: invited},
		{what: "stopped", do: func(_ *world, h *host) { h.blame(); h.stop = true; h.loop.signal() }, bound: invited},
		{what: "mysqld down, VIP put back by hand", do: func(w *world, h *host) {
			h.kernel.lan = false // nor does the successor's announcement shut it
			w.cause(mysqldDown, h)
			w.at(400*time.Millisecond+w.upTo(h.ttl/2), func() { w.cause(vipMadePermanent, h) })
		}, bound: invited},
	}
}

// quietTrials are those that nobody may notice, or hardly.
func quietTrials() []trial {
	return []trial{
		{what: "VIP removed", do: func(w *world, h *host) { w.cause(vipRemoved, h) }, bound: putBack, end: same},
		{what: "claimed", do: func(w *world, h *host) { w.cause(foreignClaim, h) }, bound: putBack, end: same},
		{what: "restarted", do: func(w *world, h *host) { w.killedNow(h); w.restart(h, w.upTo(h.ttl/3)) }, bound: stays, end: same, lasts: true},
		{what: "claimed while the process is away", do: func(w *world, h *host) {
			w.killedNow(h)
			w.cause(foreignClaim, h)
			w.restart(h, w.upTo(h.ttl/3))
		}, bound: comesBack, end: same, lasts: true},
		{what: "etcd hiccup", do: func(w *world, h *host) { w.etcd.elect(hiccup(h)) }, bound: stays, end: same},
		{what: "wall clock", do: func(w *world, h *host) { w.cause(wallStep, h) }, bound: stays, end: same},
		{what: "compaction", do: func(w *world, h *host) { w.cause(compacted, h); w.cause(watchBreaks, h) }, bound: stays, end: same},
	}
}

// raceTrials put the old holder and the next as close to each other as it gets.
func raceTrials() []trial {
	return []trial{
		{what: "replies late, then killed", do: func(w *world, h *host) {
			h.late = h.ttl / 4
			w.run(w.upTo(h.ttl))
			w.soon(h, w.killedNow)
		}, bound: waitedOut},
		{what: "replies late and some lost, then killed", do: func(w *world, h *host) {
			h.late = h.ttl / 4
			h.path.unheard[h.current] = true
			w.run(w.upTo(h.ttl))
			w.soon(h, w.killedNow)
		}},
		{what: "killed, the others have just started", do: func(w *world, h *host) {
			w.killedNow(h)
			for _, o := range w.hosts {
				if o != h {
					o.kill()
					o.start()
				}
			}
		}, bound: justStarted},
		{what: "no leader and watches silent, then killed", do: func(w *world, h *host) {
			w.silence(h)
			w.run(w.upTo(h.ttl / 2))
			w.silence(h)
			d := h.ttl/6 + w.upTo(h.ttl/30)
			w.etcd.elect(d)
			w.run(d + w.upTo(20*time.Millisecond))
			w.killedNow(h)
		}, bound: unseen},
		{what: "last renewal unseen, killed, lease revoked", do: func(w *world, h *host) {
			w.holes = 1
			w.run(h.ttl/4 + w.upTo(h.ttl/8))
			w.killedNow(h)
			w.run(5 * time.Millisecond)
			w.holes = 0
			w.cause(holderLeaseRevoked, h)
		}, end: anybody},
		{what: "struck at the end of a pause", do: func(w *world, h *host) {
			w.cause(pauseEndless, h)
			w.until(5*time.Second, "the tenure covers the pause", func() bool { return w.covered(h) })
			h.ambush = h.struck(func() {
				if w.oneIn(2) {
					w.frozenNow(h)
				} else {
					w.killedNow(h)
				}
			})
			w.cause(pauseRemoved, h)
		}, end: anybody},
		{what: "cut off, restarted in time, cut off again", do: func(w *world, h *host) {
			h.path.cut(true)
			w.run(h.ttl*4/10 + w.upTo(h.ttl/4))
			w.killedNow(h)
			h.path.cut(false)
			w.restart(h, 0)
			w.at(w.upTo(15*time.Millisecond), func() { h.path.cut(true) })
		}},
	}
}

// soon has something happen to the process between two of its next instructions.
func (w *world) soon(h *host, do func(*host)) {
	if !h.dead {
		h.trap = trap{1 + w.rnd.IntN(60), h.struck(func() { do(h) })}
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

// justStarted is the bound of standbys that know nothing yet: the ttl from their
// first read on, and a round of their checks where that takes longer.
func justStarted(w *world, h *host) time.Duration { return waitedOut(w, h) + time.Second }

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

// waitedOut is the bound where nobody invites a successor: the ttl on a clock
// that is 1 % slow, and 100 ms for turn, transaction, probe and bind.
func waitedOut(_ *world, h *host) time.Duration { return h.ttl*100/99 + 100*time.Millisecond }

// invited is the bound where the holder lets go in order: from its silence to the
// successor's first answer. The turns of the others are in it.
func invited(w *world, _ *host) time.Duration {
	return 50*time.Millisecond + time.Duration(len(w.hosts))*50*time.Millisecond
}
