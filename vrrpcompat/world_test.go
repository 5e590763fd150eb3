package vrrpcompat

import (
	"net/netip"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// A node is one router of a simulated network.
type node struct {
	m      Machine
	cfg    Config
	own    netip.Addr
	starts boottime.Instant
	frozen boottime.Instant // until then it does nothing
	bound  bool
	ours   bool // one of our nodes, for which the others are fellows
	k227   bool // a keepalived 2.2.7 where that differs from us
}

// A flight is an advert under way.
type flight struct {
	lands boottime.Instant
	to    int
	heard Heard
}

// A world is routers that hear each other after a while, in virtual time.
type world struct {
	t       *testing.T
	now     boottime.Instant
	nodes   []*node
	air     []flight
	latency time.Duration
	lost    func(from, to int) bool // nil: nothing is
	healed  bool                    // two may have been Active without hearing each other

	doubled time.Duration    // the longest that two were Active at once
	since   boottime.Instant // since when two are; zero: they are not
	moved   boottime.Instant // the last time that the Active router was another
	was     int
}

func newWorld(t *testing.T, nodes ...*node) *world {
	w := &world{t: t, now: at(0), nodes: nodes, latency: time.Millisecond, was: -1}
	for _, n := range nodes {
		n.m = NewMachine(n.cfg, n.own)
		if !n.ours {
			n.m, _ = Step(n.m, w.now, TenureGained{})
		}
	}
	return w
}

// tell tells one node something and carries out what comes of it.
func (w *world) tell(i int, e Event) {
	n := w.nodes[i]
	if h, ok := e.(Heard); ok && n.k227 && n.m.state == Active && h.Priority == PriorityOwner && n.m.priority == PriorityOwner {
		n.m.rules.base, n.m.priority = PriorityOwner-1, PriorityOwner-1 // for good
	}
	m, do := Step(n.m, w.now, e)
	if m.tenure == false && m.state == Active {
		w.t.Fatalf("node %d is Active without the tenure after %+v", i, e)
	}
	n.m = m
	for _, a := range do {
		switch a.Verb {
		case SendAdvert:
			w.send(i, a.Priority)
		case BindVIP:
			n.bound = true
		case RemoveVIP:
			n.bound = false
		case AnnounceVIP, Warn:
		}
	}
	if n.bound != (m.state == Active) {
		w.t.Fatalf("node %d is %s and bound: %v", i, m.state, n.bound)
	}
	w.count()
}

func (w *world) send(from int, priority uint8) {
	n := w.nodes[from]
	for to, other := range w.nodes {
		if to != from && other.m.rules.version == n.m.rules.version && (w.lost == nil || !w.lost(from, to)) {
			w.air = append(w.air, flight{w.now.Add(w.latency), to, Heard{
				Source: n.own, Priority: priority, Interval: n.m.rules.interval, Fellow: n.ours && other.ours,
			}})
		}
	}
}

// active returns the Active routers.
func (w *world) active() []int {
	var all []int
	for i, n := range w.nodes {
		if n.m.state == Active {
			all = append(all, i)
		}
	}
	return all
}

// count keeps the books of who is Active.
func (w *world) count() {
	n, one := 0, -1
	for i, r := range w.nodes {
		if r.m.state == Active {
			n, one = n+1, i
		}
	}
	if n != 1 {
		one = -1
	}
	if n < 2 {
		w.since = 0
	} else if w.since == 0 {
		w.since = w.now
	}
	if one != w.was {
		w.was, w.moved = one, w.now
	}
}

// nextTimer returns the timer that ends first.
func (w *world) nextTimer(end boottime.Instant) (when boottime.Instant, i int) {
	when, i = end, -1
	for k, n := range w.nodes {
		wake := n.m.Wake()
		if n.m.state == Initialize {
			wake = n.starts
		}
		if wake == 0 {
			continue
		}
		if wake = max(wake, n.frozen); wake < when {
			when, i = wake, k
		}
	}
	return when, i
}

// nextFlight returns the packet that lands first, a frozen host's when it thaws.
func (w *world) nextFlight(end boottime.Instant) (when boottime.Instant, i int) {
	when, i = end, -1
	for k, f := range w.air {
		if lands := max(f.lands, w.nodes[f.to].frozen); lands < when {
			when, i = lands, k
		}
	}
	return when, i
}

// until runs the world to a moment. What lands at the end of a timer goes first.
func (w *world) until(end boottime.Instant) {
	for w.now < end {
		timer, i := w.nextTimer(end)
		land, k := w.nextFlight(end)
		next := min(timer, land)
		if w.since != 0 {
			w.doubled = max(w.doubled, next.Sub(w.since))
		}
		w.now = max(w.now, next)
		switch {
		case k >= 0 && land <= timer:
			f := w.air[k]
			w.air = append(w.air[:k], w.air[k+1:]...)
			w.tell(f.to, f.heard)
		case i < 0:
		case w.nodes[i].m.state == Initialize:
			w.nodes[i].starts = 0
			w.tell(i, Startup{})
		default:
			w.tell(i, Tick{})
		}
	}
}
