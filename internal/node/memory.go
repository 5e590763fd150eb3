package node

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

const (
	// heartbeat is the longest that a node rests: the watchdog is fed by it.
	heartbeat = 500 * time.Millisecond

	// again is the pause after actions, whose effects the kernel tells us of, and
	// after one that failed.
	again = 20 * time.Millisecond

	// giveUp is how long a node tries to bind the VIP before it lets another try:
	// what passes by itself (an interface that is being set up) takes less.
	giveUp = time.Second

	// barFor is how long it then leaves the VIP to others. Long against giveUp, so
	// that two nodes that cannot bind it do not pass it to and fro.
	barFor = time.Minute

	// claimWait is how long a stop in a pause waits for etcd to confirm a tenure
	// that somebody else claims: one try at each of several endpoints.
	claimWait = 2 * time.Second
)

// Memory is what a node remembers from turn to turn beside its role: how the
// actions before ended, and what it last said of itself. It has no clock and does
// nothing.
type Memory struct {
	cfg Config

	failing boottime.Instant // since when binding fails; zero: it does not
	until   boottime.Instant // barred until then
	why     string

	retry     boottime.Instant
	answers   int    // how often in a row somebody else answered for the VIP
	duplicate string // who answered for the VIP when it was to be bound; empty: nobody
	asked     boottime.Instant
	claimed   boottime.Instant // when a claim last shut the fence under an action

	member election.MemberValue

	ours      bool   // another of our nodes held last, and its router was Active
	announced uint64 // of the router's wishes
	settled   uint64 // of its contests
}

// NewMemory returns that of a node that has done nothing yet.
func NewMemory(cfg Config) *Memory { return &Memory{cfg: cfg} }

// Fill adds to a reading what the node remembers.
func (m *Memory) Fill(r *Reading) {
	r.LastStanding, r.RetryBind, r.Asked, r.Barred = m.cfg.LastStanding, m.retry, m.asked, ""
	if r.Now.Before(m.until) {
		r.Barred = m.why
	}
	m.fillBeside(r)
	if r.Strained = ""; m.cfg.Strain != nil {
		r.Strained = m.cfg.Strain()
	}
}

// Note books how a turn ended: what Step wanted for these facts, and the error of
// the action that failed. It returns whether the next turn need not wait: a foreign
// claim that shut the fence under an action is no failure, but that turn's fact.
func (m *Memory) Note(f Facts, do []Action, err error) (ok bool) {
	if has(do, ConfirmTenure) {
		m.asked = f.Now
	}
	if f.HeldUntil == 0 || err == nil && (has(do, BindVIP) || has(do, AskVIP)) {
		m.retry, m.duplicate, m.answers = 0, "", 0
	}
	if err == nil && (has(do, RemoveVIP) || has(do, BindVIP)) {
		m.settled = f.Contests
	}
	if has(do, LeaveVRRP) {
		m.ours = false
	}
	if err == nil && has(do, AnnounceVIP) {
		m.announced = f.Announce
	}
	switch dup := (*vip.DuplicateError)(nil); {
	case err == nil:
		m.failing = 0
	case !has(do, BindVIP) && !has(do, AskVIP), errors.Is(err, vip.ErrClaimed):
	case errors.As(err, &dup) && f.VRRP:
		m.failing, m.retry, m.duplicate = 0, f.Now.Add(m.patience()), dup.Error()
		m.answers++
	case errors.As(err, &dup):
		// It is no fault of this host, and any other of ours would find the same:
		// to bar it would send the tenure round and round. Whoever answers may hold
		// a tenure of the configured ttl that he believes in; then it is over.
		m.failing, m.retry, m.duplicate = 0, f.Now.Add(m.cfg.TTL), dup.Error()
	case m.failing == 0:
		m.failing = f.Now
	case f.Now.Sub(m.failing) >= giveUp && f.OthersEligible && !f.Paused:
		// A host with IPv6 turned off, say, whose tenure would keep the VIP from
		// everybody.
		m.failing, m.until, m.why = 0, f.Now.Add(barFor), "the VIP cannot be had here: "+err.Error()
	}
	if errors.Is(err, vip.ErrClaimed) { // once: a claim that no turn settles must not make the loop spin
		ok = f.Now.Sub(m.claimed) >= again
		m.claimed = f.Now
	}
	return ok || err == nil
}

// Rest is how long a node in this role does nothing after a turn unless something
// happens: acted when Step wanted anything, ok when all of it was done.
func (m *Memory) Rest(r Role, f Facts, now boottime.Instant, acted, ok bool) time.Duration {
	d := heartbeat
	if at := Wake(r, f); at != 0 {
		d = min(d, max(at.Sub(now), time.Millisecond))
	}
	switch {
	case !ok && m.failing != 0 && f.Now.Sub(m.failing) >= giveUp:
		d = min(d, 10*again) // nobody else can have it: go on, but not in everybody's log
	case acted || !ok:
		d = min(d, again)
	}
	return d
}

// Member is what this node says of itself in a role, at that time of day.
func (m *Memory) Member(r Role, f Facts, wall time.Time) election.MemberValue {
	v := election.MemberValue{
		Node: m.cfg.Node, Priority: m.cfg.Priority, Preempt: m.cfg.Preempt, Version: m.cfg.Version, Since: m.member.Since,
	}
	v.Eligible, v.Why = Eligible(r, f)
	v.VRRP = f.Station
	if v.Eligible != m.member.Eligible || v.Why != m.member.Why || v.Since.IsZero() {
		v.Since = wall.UTC().Truncate(time.Millisecond)
	}
	m.member = v
	return v
}

// Finished reports whether a stopping node in this role has nothing left to do,
// and whether it leaves the VIP where it is: while HA is paused, once the tenure
// covers the pause.
func Finished(r Role, f Facts) (done, leave bool) {
	switch {
	case !f.Stopping:
		return false, false
	case f.Paused && f.Long:
		// Nobody would open it again before the end of the pause.
		wait := f.Claimed && f.Now.Before(f.ClaimedAt.Add(claimWait))
		return !wait, !wait
	}
	return r == Standby && (!f.KernelKnown || !f.Now.Before(f.HeldUntil)), false
}

func has(do []Action, v Verb) bool {
	return slices.ContainsFunc(do, func(a Action) bool { return a.Verb == v })
}

// fillBeside follows whether the VIP was one of ours.
func (m *Memory) fillBeside(r *Reading) {
	if r.Router == nil {
		return
	}
	// What was known of the holder before stays when this node is the next one.
	if h := r.Election.View.Holder; h != nil && h.Node != m.cfg.Node {
		for _, v := range r.Election.View.Members {
			if v.Node == h.Node {
				m.ours = vrrpcompat.ParseStation(v.VRRP).State == vrrpcompat.Active
			}
		}
	}
	r.Succeeds, r.Announced, r.Settled = m.ours, m.announced, m.settled
}

// askAgain is how soon somebody who answered for the VIP is asked again: a
// keepalived that gives way has let go within milliseconds.
const askAgain = 20 * time.Millisecond

// givingWay is how many answers in a row are nothing to alarm anybody about.
const givingWay = 3

// askSeldom is how seldom he is asked who goes on answering: when he stops, nobody has
// the VIP for up to that long.
const askSeldom = 500 * time.Millisecond

// patience is how long the next question waits: less and less is asked.
func (m *Memory) patience() time.Duration { return min(askAgain<<min(m.answers, 10), askSeldom) }

// fellows returns where the routers of our other nodes speak from.
func (m *Memory) fellows(members []election.Member) []netip.Addr {
	var all []netip.Addr
	for _, v := range members {
		if s := vrrpcompat.ParseStation(v.VRRP); v.Node != m.cfg.Node && s.Source.IsValid() {
			all = append(all, s.Source)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}
