package keepalived

import (
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Secret is a password; no format shows it. Reveal is the only way to it.
type Secret struct{ text string }

// Reveal returns the password itself.
func (s Secret) Reveal() string { return s.text }

// Format hides the password from every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(hidden)") }

// Setting is a value and the statement that sets it; At is nil where keepalived's
// default stands.
type Setting[T any] struct {
	Value T
	At    *Statement
}

// Config is what keepalived would run with, as far as Leasehold has a use for it.
type Config struct {
	Global    Global
	Scripts   []*Script
	Processes []*Process
	Instances []*Instance
	Groups    []*Group
}

// Global is global_defs.
type Global struct {
	Version      Setting[int]
	Strict       Setting[bool]
	ChecksumV2   Setting[bool] // v3_checksum_as_v2, since 2.2.8
	Group4       Setting[netip.Addr]
	Group6       Setting[netip.Addr]
	StartupDelay Setting[time.Duration]
	Garp         Garp
	MinGarp      Setting[bool]
	Timers       Timers
	ScriptUser   *Statement
	Secure       *Statement // enable_script_security
	router       []*Statement
}

// Garp is how a new master announces its addresses, in whole seconds.
type Garp struct{ Delay, Repeat, Refresh, RefreshRepeat Setting[int] }

// Timers is how a router deviates from RFC 3768 and 5798.
type Timers struct {
	Down       Setting[int] // down_timer_adverts
	NoAdvert   Setting[bool]
	SendAdvert Setting[bool]
}

// Script is a vrrp_script.
type Script struct {
	Name       string
	At         *Statement
	Command    Setting[[]string]
	Interval   Setting[int] // seconds
	Timeout    Setting[int] // seconds; 0 is the interval
	Weight     Setting[int]
	Reverse    bool
	Rise, Fall Setting[int]
	InitFail   *Statement
	User       *Statement
}

// Process is a vrrp_track_process.
type Process struct {
	Name    string
	At      *Statement
	Command Setting[[]string]
	Weight  Setting[int]
	Reverse bool
	rest    []*Statement
}

// Track is one line of track_script or track_process.
type Track struct {
	At      *Statement
	Name    string
	Weight  Setting[int] // At is nil where the script's own counts
	Reverse bool
}

// Instance is a vrrp_instance.
type Instance struct {
	Name         string
	At           *Statement
	Interface    Setting[string]
	Master       Setting[bool]
	RouterID     Setting[int]
	Priority     Setting[int] // 0: not set
	Interval     Setting[time.Duration]
	Version      Setting[int] // 0: not set
	NoPreempt    Setting[bool]
	PreemptDelay Setting[time.Duration]
	Auth         Auth
	VIPs         []*Statement
	Excluded     []*Statement
	Unicast      Unicast
	Group        Setting[netip.Addr] // mcast_dst_ip
	VMAC         Setting[string]     // the name of its interface, may be empty
	Strict       Setting[bool]
	ChecksumV2   Setting[bool]
	Garp         Garp
	Timers       Timers
	Tracks       Tracks
	blocks       []*Statement // the heads of VIPs and Excluded
	router       []*Statement // all that is about adverts, and nothing else
}

// Auth is the authentication block.
type Auth struct {
	At   *Statement
	Type Setting[string] // PASS or AH
	Pass Setting[Secret] // not cut
}

// Unicast is who is spoken to, and as whom.
type Unicast struct {
	Source Setting[netip.Addr] // mcast_src_ip as well
	Peers  []Setting[netip.Addr]
	TTL    Setting[int]
	block  []*Statement
}

// Tracks is what an instance, or a group, watches.
type Tracks struct {
	Scripts, Processes []Track
	Interfaces         []Track
	blocks             []*Statement
}

// Group is a vrrp_sync_group.
type Group struct {
	Name    string
	At      *Statement
	Members []*Statement // of the group block: names
	Tracks  Tracks
	block   *Statement
}

// Family is 4 or 6: that of the first address (alloc_vrrp_vip in
// vrrp/vrrp_data.c).
func (in *Instance) Family() int {
	if len(in.VIPs) > 0 {
		if p, ok := address(in.VIPs[0].keyword()); ok && p.Addr().Is6() {
			return 6
		}
	}
	return 4
}

// BasePriority is the priority with keepalived's default: 255 for state MASTER,
// else 100 (vrrp_complete_instance in vrrp/vrrp.c).
func (in *Instance) BasePriority() int {
	switch {
	case in.Priority.Value != 0:
		return in.Priority.Value
	case in.Master.Value:
		return 255
	}
	return 100
}

// address reads an address with or without a prefix length, which is then that of
// the address alone, as keepalived takes it.
func address(word string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(word)
	return p, err == nil
}
