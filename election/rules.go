package election

import (
	"fmt"
	"time"

	"leasehold/internal/boottime"
)

const (
	// rho bounds how far a node's clock may run from real time: 1 %, twenty times
	// what the kernel and ntpd slew (500 ppm); chrony needs maxslewrate lowered
	// (adjtimex(2), chrony.conf(5)).
	rho = 0.01

	// stagger is what each further standby waits after a better one. It covers a
	// take-over transaction (1 to 10 ms on a LAN, by etcd's fsync) and a wake-up.
	stagger = 50 * time.Millisecond

	// switchoverHead is how long the others leave the way free for the node that
	// a switchover names.
	switchoverHead = time.Second

	// pauseRest is what a paused tenure outlasts its pause by, so that the holder
	// can end it in order.
	pauseRest = time.Minute

	// endlessPause is the tenure under a pause that has no end. It is renewed.
	endlessPause = 24 * time.Hour

	// leaseSlack covers that etcd says what is left of a lease in whole seconds,
	// cut down (etcd server/lease: TimeToLive).
	leaseSlack = 2 * time.Second
)

// Deadline is when a tenure ends on the clock that sent was read from, given
// that a renewal which was sent then has succeeded:
// sent + ttl(1-ρ)/(1+ρ) - margin. Whoever saw that renewal waits a full ttl on
// its own clock, counted from when it saw it, so the two never overlap while
// both clocks run within ρ of real time.
func Deadline(sent boottime.Instant, ttl, margin time.Duration) boottime.Instant {
	return sent.Add(usable(ttl) - margin)
}

// usable is the part of a ttl that is left when both clocks err against us.
func usable(ttl time.Duration) time.Duration {
	return time.Duration(float64(ttl) * (1 - rho) / (1 + rho))
}

// longTTL is the ttl of a tenure that has to outlast left, the rest of a pause;
// left of 0 means that the pause has no end. Grown by what usable takes off, in
// whole seconds, as etcd grants them.
func longTTL(left time.Duration) time.Duration {
	if left == 0 {
		return endlessPause
	}
	d := time.Duration(float64(left+pauseRest) * (1 + rho) / (1 - rho))
	return d.Truncate(time.Second) + time.Second
}

// wait is how long after the last sign of the holder its tenure may still run:
// the longest ttl that anybody of ours may have promised it.
func (v *View) wait(own time.Duration) time.Duration { return max(own, v.term) }

// released reports whether the latest tenure ended in order, so that nobody has
// to wait for it. A release deletes the holder key in the same transaction: the
// record beside a holder key was written by somebody else, and that holder may
// well be there.
func (v *View) released() bool {
	return v.Holder == nil && v.Tenure != nil && v.Tenure.Bad == "" && v.Tenure.State == TenureReleased
}

// rank is this node's place among those that may take over: 0 goes first. The
// node whose tenure ended goes last: it had its reason to let go.
func (v *View) rank(me string) int {
	n, last := 0, ""
	if v.Tenure != nil {
		last = v.Tenure.Node
	}
	before := true
	for _, m := range v.Members {
		switch {
		case m.Node == me:
			before = false
		case m.Eligible && m.Node != last && (before || me == last):
			n++
		}
	}
	return n
}

// turn is how long this node leaves the way to others once the VIP is free.
func (v *View) turn(me string) time.Duration {
	d := time.Duration(v.rank(me)) * stagger
	if s := v.Switchover; s != nil && s.To != "" {
		if s.To == me {
			return 0
		}
		if m := v.Member(s.To); m != nil && m.Eligible {
			d += switchoverHead
		}
	}
	return d
}

// othersEligible reports whether somebody else could take over.
func (v *View) othersEligible(me string) bool {
	for _, m := range v.Members {
		if m.Node != me && m.Eligible {
			return true
		}
	}
	return false
}

// yield says why the holder me should hand over although it is well; empty: it
// should not. held is how long others that pre-empt must have been eligible.
func (v *View) yield(me string, held time.Duration, now boottime.Instant) string {
	if s := v.Switchover; s != nil {
		switch m := v.Member(s.To); {
		case s.To == "" && v.othersEligible(me):
			return fmt.Sprintf("switchover asked for by %s", orUnknown(s.By))
		case m != nil && m.Eligible && s.To != me:
			return fmt.Sprintf("switchover to %s asked for by %s", s.To, orUnknown(s.By))
		}
	}
	mine := v.Member(me)
	if mine == nil {
		return ""
	}
	for _, m := range v.Members {
		if m.Preempt && m.Eligible && m.Priority > mine.Priority && now.Sub(m.Seen) >= held {
			return fmt.Sprintf("pre-empted by %s, priority %d", m.Node, m.Priority)
		}
	}
	return ""
}

func orUnknown(s string) string {
	if s == "" {
		return "somebody"
	}
	return s
}
