package sim

import (
	"context"
	"errors"
	"slices"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/node"
	"leasehold/vip"
)

// loop is node.Loop in virtual time: Step, the hands and the memory are the real
// ones, and the wait for something to happen is the world's queue.
type loop struct {
	h     *host
	role  node.Role
	tick  ticker
	rests bool // after something failed: nothing but time begins the next turn
	due   bool // something was signalled during a turn
	busy  bool

	renewed boottime.Instant // when the tenure was confirmed last, as the present actions know it
}

// hands are the node's, on this host.
func (h *host) hands() node.Hands {
	return node.Hands{
		Elect: h, Addrs: &h.set, Checks: checks{h}, Memory: h.memory, Log: h.w.log, Now: h.clock, Wall: h.wall,
	}
}

// signal has the loop look again.
func (l *loop) signal() {
	switch {
	case l.h.leaving || l.h.dead:
	case l.busy || l.rests:
		l.due = true
	default:
		l.tick.at(l.h.w.upTo(100 * time.Microsecond))
	}
}

// turn is one decision, and its actions.
func (l *loop) turn() {
	h := l.h
	if l.busy || h.leaving {
		return
	}
	l.rests, l.due, l.busy = false, false, true
	hands := h.hands()
	if h.trap.armed() { // it may be held up between its sources
		l.start(hands)
		return
	}
	f := hands.Read(h.stop).Facts()
	next, do := node.Step(l.role, f)
	if len(do) > 0 && (do[0].Verb != node.ExtendVIP || h.eager || h.w.oneIn(20)) {
		h.spring()
	}
	if len(do) == 0 {
		l.done(hands, f, next, nil, nil)
		return
	}
	l.act(hands, f, next, do)
}

// start is a turn whose reading is interrupted.
func (l *loop) start(hands node.Hands) {
	h := l.h
	h.thread = newThread(h, func() {
		now := h.clock()
		h.pause(20 * time.Microsecond)
		r := hands.Read(h.stop)
		r.Now = now // it is read first
		h.pause(20 * time.Microsecond)
		f := r.Facts()
		next, do := node.Step(l.role, f)
		l.renewed = f.Renewed
		l.done(hands, f, next, do, l.perform(hands, f, do))
	})
	h.thread.step()
}

// act carries the actions out, each an event of its own.
func (l *loop) act(hands node.Hands, f node.Facts, next node.Role, do []node.Action) {
	h := l.h
	l.renewed = f.Renewed
	h.thread = newThread(h, func() { l.done(hands, f, next, do, l.perform(hands, f, do)) })
	h.thread.step()
}

func (l *loop) perform(hands node.Hands, f node.Facts, do []node.Action) error {
	h := l.h
	for _, a := range do {
		h.w.cov.verbs[a.Verb]++
		if a.Why != "" {
			h.w.logf("%s: %s: %s", h.name, a.Verb, a.Why)
		} else if h.w.traced {
			h.w.logf("%s: %s until %s%s", h.name, a.Verb, a.Until.Sub(h.clock()), ended(a, f))
		}
		if err := hands.Do(context.Background(), f, a); err != nil {
			h.w.cov.hit(actionFailed)
			h.w.logf("%s: %v", h.name, err)
			return err
		}
		h.pause(20 * time.Microsecond)
	}
	return nil
}

// ended says why etcd ended the tenure for which the VIP is removed.
func ended(a node.Action, f node.Facts) string {
	if a.Verb != node.RemoveVIP || f.Ended == "" {
		return ""
	}
	return ": " + f.Ended
}

// done is what node.Loop does after the actions.
func (l *loop) done(hands node.Hands, f node.Facts, next node.Role, do []node.Action, err error) {
	h := l.h
	h.thread = nil
	h.memory.Note(f, do, err)
	if err == nil && next != l.role {
		h.w.logf("%s: %s -> %s", h.name, l.role, next)
		h.w.judgeRole(h, l.role, next, f)
		l.role = next
	}
	hands.Say(l.role, f)
	ok := err == nil || errors.Is(err, vip.ErrClaimed)
	l.busy = false
	if done, leave := node.Finished(l.role, f); ok && len(do) == 0 && done {
		h.end(leave)
		return
	}
	l.rests = !ok
	if l.due && ok {
		l.tick.at(0)
		return
	}
	l.tick.at(max(h.memory.Rest(l.role, f, h.clock(), len(do) > 0, ok), 0))
}

// end is the end of the loop: the election gives back what is left.
func (h *host) end(leave bool) {
	h.w.logf("%s: stopped, leave %v", h.name, leave)
	h.leaving = true
	h.core.Stop(leave)
	h.closing = h.w.now + 3*time.Second
	h.kickElection(0)
}

// electionTurn is election.Candidate.turn.
func (h *host) electionTurn() {
	c := h.core
	now := h.clock()
	reqs := c.Poll(now, h.wall())
	saved, stopped := c.Save(), c.Stopped()
	gen, rev := c.Watching()
	wake := max(c.Wake().Sub(now), time.Millisecond)
	if h.leaving && h.w.now >= h.closing {
		stopped = true
	}
	if h.ambush != nil && slices.ContainsFunc(reqs, matters) {
		h.spring()
	}
	h.next(func() {
		h.file = saved // before a request that may move the tenure to another lease
		h.sendAll(reqs, func() {
			h.follow(gen, rev)
			h.loop.signal()
			if stopped && h.leaving {
				h.kill()
				if h.comeBack {
					h.w.restart(h, h.w.upTo(time.Second))
				}
				return
			}
			h.kickElection(wake)
		})
	})
}

// matters reports whether a request changes who holds.
func matters(r election.Request) bool {
	return r.Kind == election.KindTake || r.Kind == election.KindRelease || r.Kind == election.KindRehang
}

// sendAll sends requests one after the other.
func (h *host) sendAll(reqs []election.Request, then func()) {
	if !h.trap.armed() {
		for _, r := range reqs {
			h.carry(r)
		}
		then()
		return
	}
	if len(reqs) == 0 {
		h.next(then)
		return
	}
	h.next(func() {
		h.carry(reqs[0])
		h.sendAll(reqs[1:], then)
	})
}

// kickElection has the core polled, after d.
func (h *host) kickElection(d time.Duration) { h.elect.at(d) }
