package vrrpcompat

import (
	"fmt"
	"net/netip"
	"time"

	"leasehold/internal/boottime"
)

// State is a router's state, RFC 9568 section 6.3.
type State uint8

const (
	// Initialize means: down. It hears nothing; keepalived's INIT and FAULT.
	Initialize State = iota
	// Backup listens to the Active router, and takes over when that is silent.
	Backup
	// Active has the VIPs.
	Active
)

// String returns RFC 9568's word.
func (s State) String() string {
	switch s {
	case Initialize:
		return "Initialize"
	case Backup:
		return "Backup"
	case Active:
		return "Active"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// A Cause is why a router is in its state.
type Cause uint8

// What makes a router change its state.
const (
	CauseNone      Cause = iota
	CauseStartup         // it came up
	CauseShutdown        // it was taken down
	CauseSilence         // no Active router was heard for the time it takes
	CauseOwner           // its priority is 255
	CauseSucceeds        // it follows one of our own nodes
	CauseBetter          // a router with a better claim is Active
	CauseForeign         // gate: a foreign router is Active
	CauseTenure          // the tenure is over
	CauseOverslept       // it was silent itself for as long as others wait
)

// String says it to a person.
func (c Cause) String() string {
	switch c {
	case CauseNone:
		return "not started"
	case CauseStartup:
		return "started"
	case CauseShutdown:
		return "taken down"
	case CauseSilence:
		return "no other router is Active"
	case CauseOwner:
		return "priority 255"
	case CauseSucceeds:
		return "the VIP was one of our nodes' until now"
	case CauseBetter:
		return "a router with a better claim is Active"
	case CauseForeign:
		return "a foreign router is Active"
	case CauseTenure:
		return "the tenure is over"
	case CauseOverslept:
		return "no advert was sent for so long that others may have taken over"
	}
	return fmt.Sprintf("cause %d", uint8(c))
}

// A Rival is a foreign router that was heard, as its last advert has it.
type Rival struct {
	Source   netip.Addr
	Priority uint8
	Interval time.Duration
	Since    boottime.Instant // the first of its adverts in a row
	Seen     boottime.Instant // the last
	Adverts  int              // how many in a row
}

// rules is the part of a Config that the machine goes by. It has no slices, so
// that machines can be compared.
type rules struct {
	gate          bool
	version       uint8
	base          uint8 // priority
	source        netip.Addr
	interval      time.Duration
	maxInterval   time.Duration
	adverts       int
	noPreempt     bool
	preemptDelay  time.Duration
	noLowAnswer   bool
	sayBeforeBack bool
}

// A Machine is one virtual router on one node: a value, changed only by Step.
type Machine struct {
	rules rules
	state State
	cause Cause

	tenure   bool
	succeeds bool             // until Startup: the tenure was handed over
	priority uint8            // effective
	learned  time.Duration    // Active_Adver_Interval
	downAt   boottime.Instant // Backup: Active_Down_Timer; zero: it has run out
	advertAt boottime.Instant // Active: Adver_Timer
	sentAt   boottime.Instant // Active: the last advert
	delayAt  boottime.Instant // Backup: the end of preempt_delay; zero: it does not run
	better   Rival            // Backup: who holds us back; zero: nobody
	rival    Rival            // heard last, whatever its claim
}

// NewMachine returns a machine in Initialize, without the tenure. c is valid; own
// is the address that its adverts come from.
func NewMachine(c Config, own netip.Addr) Machine {
	c = c.WithDefaults()
	return Machine{
		priority: c.Priority,
		learned:  c.Interval,
		rules: rules{
			gate: c.Mode == ModeGate, version: c.Version, base: c.Priority, source: own.WithZone(""),
			interval: c.Interval, maxInterval: c.MaxInterval, adverts: c.DownAdverts,
			noPreempt: c.NoPreempt, preemptDelay: c.PreemptDelay,
			noLowAnswer: c.LowerPrioNoAdvert, sayBeforeBack: c.HigherPrioSendAdvert,
		},
	}
}

// State returns the state.
func (m Machine) State() State { return m.state }

// Cause returns why it is in that state.
func (m Machine) Cause() Cause { return m.cause }

// Priority returns the effective priority.
func (m Machine) Priority() uint8 { return m.priority }

// Wake returns when Step wants a Tick; zero: not before something happens.
func (m Machine) Wake() boottime.Instant {
	switch m.state {
	case Backup:
		return m.downAt
	case Active:
		return m.advertAt
	case Initialize:
	}
	return 0
}

// Better returns the foreign router that a Backup waits for; false: there is none.
func (m Machine) Better() (Rival, bool) { return m.better, m.better.Adverts > 0 }

// Rival returns the foreign router that was heard last, and whether it still
// counts as Active. Beside our own Active one it should not be there: it has a
// lower priority and does not give way, because it does not hear us, or drops
// what it hears.
func (m Machine) Rival(now boottime.Instant) (Rival, bool) {
	return m.rival, m.rival.Adverts > 0 && now.Sub(m.rival.Seen) < m.longest(m.rival.Interval)
}

// down is Active_Down_Interval. Behind a gate it is that of the lowest priority:
// only when every foreign router would have spoken is there none.
func (m Machine) down() time.Duration {
	if m.rules.gate {
		return m.longest(m.learned)
	}
	return ActiveDownInterval(m.rules.version, m.priority, m.learned, m.rules.adverts)
}

// longest is the Active_Down_Interval of whoever waits longest, priority 1.
func (m Machine) longest(interval time.Duration) time.Duration {
	return ActiveDownInterval(m.rules.version, 1, interval, m.rules.adverts)
}

// skew is Skew_Time, behind a gate that of the lowest priority.
func (m Machine) skew() time.Duration {
	priority := m.priority
	if m.rules.gate {
		priority = 1
	}
	return SkewTime(m.rules.version, priority, m.learned)
}

// overslept reports that an Active router has sent no advert for as long as the
// quickest Backup waits: the host was suspended, or had no time for this process.
func (m Machine) overslept(now boottime.Instant) bool {
	return m.state == Active && !m.rules.gate && now.Sub(m.sentAt) >= m.quiet()
}
