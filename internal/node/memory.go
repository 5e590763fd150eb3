package node

import (
	"slices"
	"time"

	"leasehold/internal/boottime"
)

const (
	// giveUp is how long a node tries to bind the VIP before it lets another try:
	// what passes by itself (an interface that is being set up) takes less.
	giveUp = time.Second

	// barFor is how long it then leaves the VIP to others. Long against giveUp, so
	// that two nodes that cannot bind it do not pass it to and fro.
	barFor = time.Minute
)

// Memory is what a node remembers from turn to turn beside its role: how the
// actions before ended. It has no clock and does nothing. The zero Memory is that
// of a node that has done nothing yet.
type Memory struct {
	failing boottime.Instant // since when binding fails; zero: it does not
	until   boottime.Instant // barred until then
	why     string

	retry boottime.Instant
	asked boottime.Instant
}

// Note books how a turn ended: what Step wanted, and the error of the action that
// failed.
func (m *Memory) Note(f Facts, do []Action, err error) {
	if has(do, ConfirmTenure) {
		m.asked = f.Now
	}
	switch {
	case err == nil:
		m.failing = 0
	case !has(do, BindVIP):
	case m.failing == 0:
		m.failing = f.Now
	case f.Now.Sub(m.failing) >= giveUp && f.OthersEligible && !f.Paused:
		// A host with IPv6 turned off, say, whose tenure would keep the VIP from
		// everybody.
		m.failing, m.until, m.why = 0, f.Now.Add(barFor), "the VIP cannot be had here: "+err.Error()
	}
}

// Barred says why this node leaves the VIP to others; empty: it does not.
func (m *Memory) Barred(now boottime.Instant) string {
	if now.Before(m.until) {
		return m.why
	}
	return ""
}

// RetryBind is when the VIP may be bound again; zero: at any time.
func (m *Memory) RetryBind() boottime.Instant { return m.retry }

// Asked is when the tenure was last asked to be confirmed; zero: never.
func (m *Memory) Asked() boottime.Instant { return m.asked }

// lasting reports that binding has failed for longer than what passes by itself.
func (m *Memory) lasting(now boottime.Instant) bool {
	return m.failing != 0 && now.Sub(m.failing) >= giveUp
}

// Pause is how long a node in this role rests after a turn unless something
// happens: acted when Step wanted anything, ok when all of it was done.
func (m *Memory) Pause(r Role, f Facts, now boottime.Instant, acted, ok bool) time.Duration {
	d := heartbeat
	if at := Wake(r, f); at != 0 {
		d = min(d, max(at.Sub(now), time.Millisecond))
	}
	switch {
	case !ok && m.lasting(f.Now):
		d = min(d, 10*again) // nobody else can have it: go on, but not in everybody's log
	case acted || !ok:
		d = min(d, again)
	}
	return d
}

func has(do []Action, v Verb) bool {
	return slices.ContainsFunc(do, func(a Action) bool { return a.Verb == v })
}
