package sim

import (
	"iter"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
)

// What follows makes a host node.Elector, as election.Candidate is one.

func (h *host) State() election.State {
	h.core.Tick(h.clock(), h.wall())
	return h.core.State()
}
func (h *host) Changed() <-chan struct{} { return nil }

func (h *host) Campaign(want bool) {
	h.core.Tick(h.clock(), h.wall())
	h.core.Campaign(want)
	h.kickElection(0)
}

func (h *host) Say(m election.MemberValue) {
	if m == h.said {
		return
	}
	h.said = m
	h.core.Tick(h.clock(), h.wall())
	h.core.Say(m)
	h.kickElection(0)
}

func (h *host) Release(epoch int64, why string) {
	h.core.Tick(h.clock(), h.wall())
	h.core.Release(epoch, why)
	h.kickElection(0)
}

func (h *host) Shorten(epoch int64, until boottime.Instant) {
	h.core.Tick(h.clock(), h.wall())
	h.core.Shorten(epoch, until)
	h.kickElection(0)
}

func (h *host) Confirm(after boottime.Instant) {
	h.core.Tick(h.clock(), h.wall())
	h.core.Confirm(after)
	h.kickElection(0)
}

func (h *host) ShortDeadline() boottime.Instant { return election.Deadline(h.clock(), h.ttl, margin) }
func (h *host) Record(election.HistoryValue)    {}
func (h *host) Leave()                          {}

// checks makes a host's health node.Checks.
type checks struct{ h *host }

func (c checks) State() health.State      { return c.h.checks }
func (c checks) Changed() <-chan struct{} { return nil }
func (c checks) Restart() {
	c.h.checks = health.State{Why: "no verdict yet"}
	c.h.round()
	c.h.loop.signal()
}

// thread is code that is run up to its next pause at a time, so that anything may
// happen in between: one goroutine of the process.
type thread struct {
	h    *host
	next func() (time.Duration, bool)
	stop func()
	wait func(time.Duration) bool
}

// killed is what ends the code of a thread whose process is gone.
type killed struct{}

func newThread(h *host, f func()) *thread {
	t := &thread{h: h}
	t.next, t.stop = iter.Pull(func(yield func(time.Duration) bool) {
		t.wait = yield
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		f()
	})
	return t
}

func (t *thread) step() {
	if d, more := t.next(); more {
		t.h.later(d, t.step)
	}
}

// pause lets up to d pass within the present thread.
func (h *host) pause(d time.Duration) {
	if d > 0 {
		d = h.w.upTo(d)
	}
	if !h.thread.wait(d) {
		panic(killed{})
	}
}
