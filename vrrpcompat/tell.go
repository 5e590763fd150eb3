package vrrpcompat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"leasehold/internal/boottime"
)

// RouterState is what a Router knows at one moment.
type RouterState struct {
	// Trouble is why there are no sockets, once there have been none for as long as a
	// Backup waits; empty: there are. Until then it is not too late: an interface that is
	// set up anew takes no longer.
	Trouble  string
	State    State
	Cause    Cause
	Mode     Mode
	Priority uint8
	Interval time.Duration // between our adverts
	// Quiet is how long after an advert of ours the quickest Backup takes over.
	Quiet  time.Duration
	Source netip.Addr // where our adverts come from

	// Told is the end of the tenure as the node told it last; zero: none.
	Told boottime.Instant
	// QuietUntil is how long no Backup of this VRID takes over even if we say no more:
	// the kernel must answer for the VIP no longer than that. It is zero unless the
	// router is Active, and endless where it does not speak.
	QuietUntil boottime.Instant
	// Announce counts how often the VIP was to be announced; one more is one more time.
	Announce uint64
	// Contests counts how often a router made itself Active beside this one: then who
	// has the VIP is to be asked on the network.
	Contests uint64

	Better  Rival // whom a Backup waits for; no Adverts: nobody
	Notices []Notice
	Heard   map[string]uint64 // packets by what became of them, see Reason.String
}

// Endless is a QuietUntil that no time reaches.
const Endless = boottime.Instant(1<<63 - 1)

// State returns what is known now.
func (r *Router) State() RouterState {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	s := RouterState{
		State: r.machine.State(), Cause: r.machine.Cause(), Mode: r.cfg.Mode, Priority: r.machine.Priority(), Interval: r.full.Interval, Quiet: r.quiet,
		Source: r.own, Told: r.until, Announce: r.announce, Contests: r.contests, Notices: r.board.list(), Heard: r.board.counters(),
	}
	s.Better, _ = r.machine.Better()
	if r.trouble != "" && now.Sub(r.broke) >= r.quiet {
		s.Trouble = r.trouble
	}
	switch {
	case s.State != Active || !now.Before(r.until):
	case r.cfg.Mode == ModeGate:
		s.QuietUntil = Endless
	case r.spoken != 0:
		s.QuietUntil = r.spoken.Add(r.quiet)
	}
	return s
}

// Speak gives the router the tenure until a moment, or more of it. succeeds: the
// VIP was one of our nodes' until now, and that one was Active. The router is
// Active as soon as the protocol lets it be, and its State tells.
func (r *Router) Speak(until boottime.Instant, succeeds bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = until
	if r.held || !r.now().Before(until) {
		return
	}
	r.held, r.follows = true, 0
	if succeeds {
		r.follows = r.now()
	}
	r.apply(TenureGained{Succeeds: succeeds})
	if succeeds && !r.started && r.conn != nil {
		r.start()
	}
	r.tell()
	signal(r.poke)
}

// Leave takes the tenure away, once the VIP is gone from this host. invite: none
// of our nodes can take over, so that keepalived is asked to, by priority 0
// (RFC 9568 section 5.2.4). What is to be said is sent when it returns.
func (r *Router) Leave(invite bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held {
		r.held = false
		r.do(r.now(), TenureLost{Successor: !invite})
	}
	r.until, r.spoken, r.follows = 0, 0, 0
	r.tell()
	signal(r.poke)
}

// Fellows says where the adverts of our other nodes come from.
func (r *Router) Fellows(sources []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(r.fellows, sources) {
		return
	}
	r.fellows = slices.Clone(sources)
	if b, ok := r.machine.Better(); ok && slices.Contains(r.fellows, b.Source) {
		r.apply(Recognised{b.Source})
		signal(r.poke)
	}
}

// A Station is what a node tells the others of its router.
type Station struct {
	State  State
	Source netip.Addr
}

// Station returns the state in short.
func (s RouterState) Station() Station { return Station{s.State, s.Source} }

// String returns "Active 10.20.8.50".
func (s Station) String() string {
	if !s.Source.IsValid() {
		return s.State.String()
	}
	return s.State.String() + " " + s.Source.String()
}

// ParseStation is the reverse of String. What is no station is the zero one.
func ParseStation(text string) Station {
	word, addr, _ := strings.Cut(text, " ")
	var s Station
	for _, st := range []State{Backup, Active} {
		if st.String() == word {
			s.State = st
		}
	}
	if a, err := netip.ParseAddr(addr); err == nil {
		s.Source = a.WithZone("")
	}
	return s
}

// key is what of a rival is worth telling.
func (r Rival) key() Rival {
	return Rival{Source: r.Source, Priority: r.Priority, Interval: r.Interval, Adverts: min(r.Adverts, 1)}
}

// quiet is for how long after an Active router's last advert the quickest Backup
// waits: one of priority 255, and of keepalived's three adverts where ours are
// more.
func (m Machine) quiet() time.Duration {
	return ActiveDownInterval(m.rules.version, PriorityOwner, m.rules.interval, min(m.rules.adverts, defaultAdverts))
}

// Waits says to a person why the router is not Active; "" when it is.
func (s RouterState) Waits() string {
	switch {
	case s.Trouble != "":
		return "VRRP does not work: " + s.Trouble
	case s.State == Active:
		return ""
	case s.Better.Adverts > 0 && s.Mode == ModeGate:
		return "waits behind the gate: " + s.Better.Source.String() + " is Active"
	case s.Better.Adverts > 0:
		return fmt.Sprintf("yields to %s, priority %d", s.Better.Source, s.Better.Priority)
	case s.State == Backup:
		return "listens whether another router is Active"
	}
	return "VRRP has not started yet"
}
