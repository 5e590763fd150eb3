package vrrpcompat

import (
	"fmt"
	"net/netip"
	"time"
)

// An Event is what Step is told. There are those of this file and no others.
type Event interface{ event() }

// Startup brings a router up, at the start and after a Shutdown: it waits one
// whole Active_Down_Interval before it takes over.
type Startup struct{}

// Shutdown takes a router down: the daemon ends, or the host or its service is
// not fit for the VIP (keepalived's FAULT).
type Shutdown struct {
	// Successor: one of our nodes can take over, so that nobody else is invited by
	// an advert of priority 0.
	Successor bool
}

// Heard is an advert of another router, see Codec.Heard.
type Heard struct {
	Source   netip.Addr
	Priority uint8
	Interval time.Duration
	// Fellow: Source is one of our own nodes. Among those the tenure decides, so
	// what a fellow says is never heeded: it may have been under way when the tenure
	// passed on.
	Fellow bool
}

// Tick is time going by. A Tick that comes before Wake, or twice, does nothing.
type Tick struct{}

// TenureGained says that the tenure is this node's: it may be Active. Without, a
// router listens and its timers run, but it neither speaks nor takes over.
type TenureGained struct {
	// Succeeds: the node before was ours and Active. The tenure proves that it is
	// silent, so this one is Active at once, before keepalived's timers run out,
	// unless a foreign router with a better claim was heard.
	Succeeds bool
}

// TenureLost says that the tenure is over, or about to be.
type TenureLost struct {
	Successor bool // as in Shutdown
}

// Recognised says that the router at Source, which was taken for a foreign one, is
// one of our own nodes.
type Recognised struct{ Source netip.Addr }

// PriorityChanged is a new effective priority, see EffectivePriority.
type PriorityChanged struct{ Priority uint8 }

func (Startup) event()         {}
func (Shutdown) event()        {}
func (Heard) event()           {}
func (Tick) event()            {}
func (TenureGained) event()    {}
func (TenureLost) event()      {}
func (Recognised) event()      {}
func (PriorityChanged) event() {}

// A Verb is what is to be done.
type Verb uint8

const (
	// SendAdvert sends an advert of Action.Priority to each destination; 0 says that
	// the router leaves.
	SendAdvert Verb = iota + 1
	// BindVIP puts the VIPs on the host.
	BindVIP
	// AnnounceVIP says where they are, by gratuitous ARP and unsolicited NA.
	AnnounceVIP
	// RemoveVIP takes them away. It may come for VIPs that are not there.
	RemoveVIP
	// Warn tells a person of Action.Warning.
	Warn
)

// String returns the verb.
func (v Verb) String() string {
	switch v {
	case SendAdvert:
		return "send advert"
	case BindVIP:
		return "bind"
	case AnnounceVIP:
		return "announce"
	case RemoveVIP:
		return "remove"
	case Warn:
		return "warn"
	}
	return fmt.Sprintf("verb %d", uint8(v))
}

// An Action is one thing to be done. The order of actions is part of what Step
// decides: an advert goes out before the VIP is bound, so that the other side
// lets go, and the VIP is gone before anybody is invited.
type Action struct {
	Verb     Verb
	Priority uint8 // of SendAdvert
	// Overtake, of SendAdvert: it answers a lower priority; Codec.Overtake goes first.
	Overtake bool
	Warning  Warning // of Warn
}

// String returns the action in words, for a failed test and a debug log.
func (a Action) String() string {
	switch a.Verb {
	case SendAdvert:
		return fmt.Sprintf("%s %d", a.Verb, a.Priority)
	case Warn:
		return fmt.Sprintf("%s: %s", a.Verb, a.Warning)
	default:
		return a.Verb.String()
	}
}

// A Warning is something that a person should put right.
type Warning uint8

const (
	// WarnTwoOwners means: another router has priority 255 too.
	WarnTwoOwners Warning = iota + 1
	// WarnInterval means: version 3, and the Active router's interval is not ours; it was
	// learned.
	WarnInterval
	// WarnIntervalBound means: it is over MaxInterval, and only that was learned.
	WarnIntervalBound
	// WarnSameSource means: an advert of equal priority has our own address.
	WarnSameSource
)

// name is the word for it in a Notice.
func (w Warning) name() string {
	return map[Warning]string{
		WarnTwoOwners: "two_owners", WarnInterval: "interval_learned", WarnIntervalBound: "interval_too_long", WarnSameSource: "same_source",
	}[w]
}

// String says what is wrong and what to do.
func (w Warning) String() string {
	switch w {
	case WarnTwoOwners:
		return "another router has priority 255 too: one host owns an address; the one with the lower source address gives way; set a lower priority on one of the two"
	case WarnInterval:
		return "the Active router's advert_interval is not ours: a take-over takes 3 of its intervals; make them the same"
	case WarnIntervalBound:
		return "the Active router's advert_interval is over max_interval: it will be taken for dead between two adverts; shorten it there, or raise max_interval here"
	case WarnSameSource:
		return "another router sends adverts with our source address: give one of the two hosts another address"
	}
	return fmt.Sprintf("warning %d", uint8(w))
}
