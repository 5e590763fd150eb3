package chaos

import (
	"fmt"
	"slices"
	"time"

	"leasehold/internal/lab"
)

// Gap is a time in which no probe was answered.
type Gap struct {
	From, To time.Time // of sending: the first probe that was lost, the next one that was answered
	Before   string    // who had answered; empty: nobody yet
	After    string
	Well     time.Duration // how long of it a node and a majority of etcd were well
}

// Length returns how long the gap was.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Gaps returns the noticeable times without service. A prober that did not get
// to run makes none: what counts is probes that were sent and lost.
func (t *Trace) Gaps() []Gap {
	var all []Gap
	var g *Gap
	before := ""
	end := func(at time.Time, by string) {
		if g != nil {
			g.To, g.After = at, by
			if g.Length() >= noticeable {
				g.Well = t.well(g.From, g.To)
				all = append(all, *g)
			}
			g = nil
		}
	}
	for _, p := range t.Probes {
		// The client's kernel keeps probes that it has no MAC for, and sends them late.
		if p.Answered.IsZero() || p.Answered.Sub(p.Sent) > noticeable {
			if g == nil {
				g = &Gap{From: p.Sent, Before: before}
			}
			continue
		}
		end(p.Sent, p.By)
		before = p.By
	}
	end(t.End, "")
	return all
}

// judgeGaps is J3: every gap has a cause, and none is longer than it may be.
func judgeGaps(t *Trace) []Violation {
	var all []Violation
	for _, g := range t.Gaps() {
		if !t.caused(g) {
			all = append(all, Violation{"J3", g.From, g.To, fmt.Sprintf("%v without service (%s → %s) that no fault explains", round(g.Length()), orNobody(g.Before), orNobody(g.After))})
		}
		if bound := t.Bound() + t.deaf(g); g.Well > bound {
			all = append(all, Violation{"J3", g.From, g.To, fmt.Sprintf("%v without service (%s → %s); for %v of it a node and a majority of etcd were well, the bound is %v",
				round(g.Length()), orNobody(g.Before), orNobody(g.After), round(g.Well), bound)})
		}
	}
	return all
}

// unreachable is how long a Linux host goes on sending to a MAC that is silent:
// 5 s of delay, and three probes a second apart (delay_first_probe_time and
// ucast_solicit in arp(7)).
const unreachable = 8 * time.Second

// deaf is how much longer a gap may be because the client was cut off from a host
// in it, and may not have heard that the VIP moved.
func (t *Trace) deaf(g Gap) time.Duration {
	cut := func(e Event) bool {
		return e.Kind == "cut-client" && e.From.Before(g.To) && t.over(&e).After(g.From)
	}
	if slices.ContainsFunc(t.Events, cut) {
		return unreachable
	}
	return 0
}

func orNobody(host string) string {
	if host == "" {
		return "nobody"
	}
	return host
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// caused reports whether a fault explains that the service ended at g.From.
func (t *Trace) caused(g Gap) bool {
	paused := t.pausedOn(g.From)
	// A renewal that failed while the fault lasted shows a ttl later.
	late := t.TTL + 2*time.Second
	return slices.ContainsFunc(t.Events, func(e Event) bool {
		if g.From.Before(e.From.Add(-50*time.Millisecond)) || g.From.After(t.over(&e).Add(late)) {
			return false
		}
		if paused != "" && slices.Contains(borneByPause(), e.Kind) {
			return false
		}
		return slices.ContainsFunc(e.Hurts, func(p Part) bool {
			for _, n := range t.Nodes {
				if p == node(n) && n != g.Before && g.Before != "" {
					return false // another node's trouble
				}
			}
			return true
		})
	})
}

// borneByPause are the faults that do nothing to a VIP while HA is paused.
func borneByPause() []string {
	return []string{"kill", "freeze", "stop", "renew", "mysqld-kill", "mysqld-freeze", "etcd-kill", "etcd-freeze", "etcd-move", "etcd-nospace", "cut-etcd", "cut-hosts", "switchover"}
}

// pausedOn returns the host that has the VIP for as long as a pause, at a moment
// when etcd was seen to say so.
func (t *Trace) pausedOn(at time.Time) string {
	for _, p := range t.Pages {
		if p.Paused && p.TTL > 2*t.TTL && !at.Before(p.At) && !at.After(p.Until) {
			return p.Holder
		}
	}
	return ""
}

// well returns the longest time between from and to in which one node could hold
// the VIP, and be seen with it, without interruption.
func (t *Trace) well(from, to time.Time) time.Duration {
	marks := []time.Time{from, to}
	for i := range t.Events {
		marks = append(marks, t.Events[i].From, t.over(&t.Events[i]))
	}
	for _, p := range t.Pages {
		marks = append(marks, p.At)
	}
	slices.SortFunc(marks, time.Time.Compare)
	var longest time.Duration
	for _, n := range t.Nodes {
		since := from
		for _, at := range marks {
			if at.Before(from) || !at.Before(to) {
				continue
			}
			// What holds at a mark holds until the next.
			if !t.wellAt(n, at) {
				since = time.Time{}
			} else if since.IsZero() {
				since = at
			}
			if !since.IsZero() {
				longest = max(longest, next(marks, at, to).Sub(since))
			}
		}
	}
	return longest
}

func next(marks []time.Time, at, to time.Time) time.Time {
	for _, m := range marks {
		if m.After(at) && m.Before(to) {
			return m
		}
	}
	return to
}

// wellAt reports whether a node can hold the VIP from a moment on, up to the
// next mark.
func (t *Trace) wellAt(n string, at time.Time) bool {
	hurt := map[Part]bool{}
	for i := range t.Events {
		e := &t.Events[i]
		if !at.Before(e.From) && at.Before(t.over(e)) {
			for _, p := range e.Hurts {
				hurt[p] = true
			}
		}
	}
	if hurt[service] || hurt[cluster] || hurt[node(n)] || hurt[link(n, lab.Client)] || t.promised(n, at) {
		return false
	}
	reaches := func(m string) bool { return m == n || !hurt[link(n, m)] }
	for i, x := range members() {
		for _, y := range members()[i+1:] {
			if !hurt[member(x)] && !hurt[member(y)] && !hurt[link(x, y)] && reaches(x) && reaches(y) {
				return true
			}
		}
	}
	return false
}

// promised reports whether the others have to wait for longer than a ttl: HA is
// paused, or a tenure that was made for a pause has neither been released nor
// made short again, and the host that has it was off meanwhile or is not n.
func (t *Trace) promised(n string, at time.Time) bool {
	var long Page // the first of its tenure
	paused := false
	for _, p := range t.Pages {
		if p.At.After(at) {
			break
		}
		paused = p.Paused
		switch {
		case !p.long(t.TTL):
			long = Page{}
		case long.Epoch != p.Epoch || long.Owner == "":
			long = p
		}
	}
	return paused || long.Owner != "" && (long.Owner != n || t.offSince(n, long.At, at))
}

// offSince reports whether a host lost its power between two moments.
func (t *Trace) offSince(host string, from, to time.Time) bool {
	return slices.ContainsFunc(t.Events, func(e Event) bool {
		return e.Kind == "power" && e.On == host && e.From.Before(to) && t.over(&e).After(from)
	})
}
