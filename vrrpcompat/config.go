package vrrpcompat

import (
	"fmt"
	"net/netip"
	"time"
)

// The versions of VRRP that there are on a network.
const (
	Version2 uint8 = 2 // RFC 3768
	Version3 uint8 = 3 // RFC 5798, RFC 9568
)

// PriorityOwner is the priority of the router that owns the addresses: it is
// Active at once. 0 is no priority: it says that the Active router leaves
// (RFC 9568 section 5.2.4).
const PriorityOwner uint8 = 255

// A Mode is how a node lives beside keepalived.
type Mode uint8

const (
	// ModeFull is a VRRP router like any other: it hears, speaks and takes over.
	ModeFull Mode = iota
	// ModeGate only listens: it is never Active while a foreign router is, whatever
	// that one's priority, and never says a word.
	ModeGate
)

// String returns the word of the configuration.
func (m Mode) String() string {
	switch m {
	case ModeFull:
		return "full"
	case ModeGate:
		return "gate"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// AuthType is a version 2 advert's authentication, as it is numbered on the wire
// (RFC 2338 section 5.3.6).
type AuthType uint8

// Those that keepalived has.
const (
	AuthNone AuthType = 0
	AuthPass AuthType = 1 // a password in clear
	AuthAH   AuthType = 2 // an IPsec authentication header, RFC 2402, with HMAC-MD5-96
)

// String returns the word of the configuration, which is keepalived's.
func (t AuthType) String() string {
	switch t {
	case AuthNone:
		return "none"
	case AuthPass:
		return "PASS"
	case AuthAH:
		return "AH"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Auth is how version 2 adverts are authenticated. The zero Auth is not at all.
type Auth struct {
	Type AuthType
	// Password is 1 to 8 bytes long, the size of the field in the packet. For AH
	// it is the key.
	Password string `json:"-"`
}

// String hides the password.
func (a Auth) String() string { return "auth " + a.Type.String() }

// GoString hides the password, for %#v.
func (a Auth) GoString() string { return a.String() }

// Config is one virtual router as this node sees it. What must be the same on
// keepalived's side is: VRID, version, multicast or unicast, the VIPs (in any
// order), in version 2 the interval and the authentication, in version 3 the form
// of the checksum.
type Config struct {
	Mode Mode
	VRID uint8 // 1 to 255, keepalived's virtual_router_id
	// Version is 2 or 3. Zero means 2 for IPv4, as in keepalived, and 3 for IPv6.
	Version uint8
	// VIPs are advertised in this order, 1 to 255 of one family.
	VIPs []netip.Addr
	// Priority is 1 to 254, or 255 for the owner of the addresses. Zero means 100.
	Priority uint8
	// Interval is the time between two adverts: whole seconds to 255s in version
	// 2, 10ms to 40.95s in steps of 10ms in version 3. Zero means 1s.
	Interval time.Duration
	Auth     Auth

	// Source is the address that adverts come from. The invalid Addr means the
	// interface's own, which whoever has the socket finds out.
	Source netip.Addr
	// Group is the multicast group; the invalid Addr means 224.0.0.18 or ff02::12.
	Group netip.Addr
	// Peers are who is written to in unicast; empty means multicast.
	Peers []netip.Addr
	// AnySource accepts unicast adverts from others than the peers, as keepalived
	// does without check_unicast_src.
	AnySource bool
	// TTL is the TTL or hop limit of the unicast adverts that are sent; zero means
	// 255, which they always have in multicast.
	TTL uint8
	// MinTTL and MaxTTL bound the TTL or hop limit of a unicast advert; zero means
	// no bound. In multicast it must be 255.
	MinTTL, MaxTTL uint8

	// Checksum is the form that is sent in version 3 over IPv4; the zero form
	// means ChecksumPseudo, keepalived's.
	Checksum ChecksumForm
	// ExactChecksum accepts only the form that is sent, as keepalived 2.2.7 does.
	// Else also the other of keepalived's and RFC 9568's.
	ExactChecksum bool
	// ExactVIPs rejects adverts whose addresses are not ours, as keepalived 2.2.7
	// does: then both routers are Active, and each takes its own for right. Else
	// the difference is only told, as keepalived 2.3.3 and RFC 9568 section 7.1 do.
	ExactVIPs bool

	// NoPreempt leaves a lower priority alone that is Active already.
	NoPreempt bool
	// PreemptDelay is for how long it is left alone, to 1000s.
	PreemptDelay time.Duration
	// MaxInterval bounds the interval that a Backup learns from version 3 adverts,
	// and so the time to take over: 3 times it and a little. Zero means 40.95s,
	// what the packet can hold. A router that is Active and slower than the bound
	// is taken for dead each time that it runs out.
	MaxInterval time.Duration
	// DownAdverts is how many intervals make the Active_Down_Interval. Zero means
	// 3, keepalived's down_timer_adverts.
	DownAdverts int
	// LowerPrioNoAdvert leaves a lower priority's advert unanswered, as RFC 5798
	// does; HigherPrioSendAdvert answers a higher one's once before giving way, so
	// that the new Active announces the VIPs anew. Both are keepalived's words.
	LowerPrioNoAdvert, HigherPrioSendAdvert bool
}

// The bounds of Config's fields.
const (
	maxPassword     = 8                     // RFC 2338 section 5.3.10
	maxVIPs         = 255                   // an octet, RFC 9568 section 5.2.5
	maxV2Interval   = 255 * time.Second     // an octet, RFC 3768 section 5.3.7
	maxV3Interval   = 4095 * centisecond    // 12 bits, RFC 9568 section 5.2.7
	maxPreemptDelay = 1000 * time.Second    // keepalived.conf(5)
	maxDownAdverts  = 100                   // keepalived.conf(5)
	centisecond     = 10 * time.Millisecond // version 3's unit
	defaultInterval = time.Second           // RFC 9568 section 6.1
	defaultPriority = 100                   // RFC 9568 section 6.1
	defaultAdverts  = 3                     // RFC 9568 section 6.1
)

// groups of RFC 9568 sections 5.1.1.2 and 5.1.2.2.
func group4() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 0, 18}) }
func group6() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12}) }

// IPv6 reports whether the router is one of IPv6.
func (c Config) IPv6() bool { return len(c.VIPs) > 0 && c.VIPs[0].Is6() }

// Unicast reports whether adverts go to peers, and not to a group.
func (c Config) Unicast() bool { return len(c.Peers) > 0 }

// WithDefaults returns c with every zero replaced by its default.
func (c Config) WithDefaults() Config {
	if c.Version == 0 {
		c.Version = Version2
		if c.IPv6() {
			c.Version = Version3
		}
	}
	if c.Priority == 0 {
		c.Priority = defaultPriority
	}
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if !c.Group.IsValid() {
		c.Group = group4()
		if c.IPv6() {
			c.Group = group6()
		}
	}
	if c.Checksum == ChecksumNone {
		c.Checksum = ChecksumPseudo
		if c.Version == Version2 {
			c.Checksum = ChecksumMessage
		}
	}
	if c.TTL == 0 {
		c.TTL = maxTTL
	}
	if c.MaxInterval == 0 {
		c.MaxInterval = maxV3Interval
	}
	if c.DownAdverts == 0 {
		c.DownAdverts = defaultAdverts
	}
	return c
}
