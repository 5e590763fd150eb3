package node

import (
	"fmt"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
)

// predecessor is the tenure before ours, as it was when we last looked: what the
// history's line about our own is made of.
type predecessor struct {
	epoch int64
	node  string
	why   string
	seen  boottime.Instant
}

func (p *predecessor) note(e election.State) {
	t, h := e.View.Tenure, e.View.Holder
	if t == nil || e.HeldUntil != 0 {
		return
	}
	if t.State == election.TenureReleased {
		*p = predecessor{epoch: t.Epoch, node: t.Node, why: t.Why, seen: t.Seen}
		return
	}
	if p.epoch != t.Epoch {
		*p = predecessor{epoch: t.Epoch, node: t.Node, why: "lease of " + t.Node + " ran out", seen: t.Seen}
	}
	if h != nil {
		p.seen = h.Seen
	}
}

// changed books a change of role and tells everybody.
func (l *Loop) changed(f Facts, next Role, do []Action, took time.Duration) {
	e := l.elect.State()
	from := l.role
	l.role, l.since = next, time.Now()
	l.why = l.whyOf(f, next, do)
	level := hclogLevel(from, next)
	l.log.Log(level, "role changed", "from", from.String(), "to", next.String(), "why", l.why, "epoch", e.Epoch,
		"ms", fmt.Sprintf("%.1f", float64(took.Microseconds())/1000))
	l.tell(f)
	if next == Holder && e.Epoch > l.before.epoch {
		l.elect.Record(election.HistoryValue{
			Epoch: e.Epoch, From: l.before.node, To: l.cfg.Node, Why: or(l.before.why, "first tenure"),
			GapMS: l.gap(), At: l.since.UTC().Truncate(time.Millisecond),
		})
	}
}

// gap is the time from the last sign of the tenure before to our announcement,
// as far as this node could see it.
func (l *Loop) gap() float64 {
	if l.before.seen == 0 {
		return 0
	}
	return float64(l.hands.Now().Sub(l.before.seen).Microseconds()) / 1000
}

// whyOf is the reason of a change of role, for people.
func (l *Loop) whyOf(f Facts, next Role, do []Action) string {
	for _, a := range do {
		if a.Why != "" {
			return a.Why
		}
	}
	switch {
	case next == Holder && f.Copies > 0:
		return "the tenure of the last run is still ours"
	case next == Holder:
		return "took over"
	case next == Candidate:
		return "the VIP is free"
	}
	if f.HeldUntil != 0 && f.VRRP {
		return or(l.hands.Router.State().Waits(), l.memory.duplicate)
	}
	return or(f.unfit(), "another node holds")
}

// tell puts the role in words for the service manager.
func (l *Loop) tell(f Facts) {
	if l.hooks.Role == nil {
		return
	}
	e := l.elect.State()
	switch {
	case l.role == Holder && f.Paused:
		l.hooks.Role(l.cfg.Service, fmt.Sprintf("holder, epoch %d, HA paused", e.Epoch))
	case l.role == Holder:
		l.hooks.Role(l.cfg.Service, fmt.Sprintf("holder, epoch %d", e.Epoch))
	default:
		l.hooks.Role(l.cfg.Service, l.role.String()+": "+or(l.standing(f, e), "waiting"))
	}
}

// standing says what a node that does not hold waits for.
func (l *Loop) standing(f Facts, e election.State) string {
	switch {
	case f.unfit() != "":
		return f.unfit()
	case !e.Known:
		return "etcd was not reached yet"
	case f.HeldUntil != 0 && !f.speaks():
		return "the tenure is held and nothing is bound: " + l.hands.Router.State().Waits()
	case f.Now.Before(f.RetryBind):
		return "the tenure is held and nothing is bound: " + l.memory.duplicate
	case f.Paused:
		return "HA is paused"
	case e.View.Holder != nil:
		return e.View.Holder.Node + " holds"
	case f.FreeAt != 0 && f.Now.Before(f.FreeAt):
		return fmt.Sprintf("the last tenure may run for another %s", f.FreeAt.Sub(f.Now).Round(time.Millisecond))
	}
	return ""
}
