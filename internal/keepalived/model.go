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

// setting is a value and the statement that sets it; At is nil where keepalived's
// default stands.
type setting[T any] struct {
	Value T
	At    *statement
}

// config is what keepalived would run with, as far as Leasehold has a use for it.
type config struct {
	Global    global
	Scripts   []*script
	Processes []*process
	Instances []*instance
	Groups    []*group
}

// global is global_defs.
type global struct {
	Version      setting[int]
	Strict       setting[bool]
	ChecksumV2   setting[bool] // v3_checksum_as_v2, since 2.2.8
	Group4       setting[netip.Addr]
	Group6       setting[netip.Addr]
	StartupDelay setting[time.Duration]
	Garp         garp
	MinGarp      setting[bool]
	Timers       timers
	ScriptUser   *statement
	Secure       *statement // enable_script_security
	router       []*statement
}

// garp is how a new master announces its addresses, in whole seconds.
type garp struct{ Delay, Repeat, Refresh, RefreshRepeat setting[int] }

// timers is how a router deviates from RFC 3768 and 5798.
type timers struct {
	Down       setting[int] // down_timer_adverts
	NoAdvert   setting[bool]
	SendAdvert setting[bool]
}

// script is a vrrp_script.
type script struct {
	Name       string
	At         *statement
	Command    setting[[]string]
	Interval   setting[int] // seconds
	Timeout    setting[int] // seconds; 0 is the interval
	Weight     setting[int]
	Reverse    bool
	Rise, Fall setting[int]
	InitFail   *statement
	User       *statement
}

// process is a vrrp_track_process.
type process struct {
	Name    string
	At      *statement
	Command setting[[]string]
	Weight  setting[int]
	Reverse bool
	rest    []*statement
}

// track is one line of track_script or track_process.
type track struct {
	At      *statement
	Name    string
	Weight  setting[int] // At is nil where the script's own counts
	Reverse bool
}

// instance is a vrrp_instance.
type instance struct {
	Name         string
	At           *statement
	Interface    setting[string]
	Master       setting[bool]
	RouterID     setting[int]
	Priority     setting[int] // 0: not set
	Interval     setting[time.Duration]
	Version      setting[int] // 0: not set
	NoPreempt    setting[bool]
	PreemptDelay setting[time.Duration]
	Auth         auth
	VIPs         []*statement
	Excluded     []*statement
	Unicast      unicast
	Group        setting[netip.Addr] // mcast_dst_ip
	VMAC         setting[string]     // the name of its interface, may be empty
	Strict       setting[bool]
	ChecksumV2   setting[bool]
	Garp         garp
	Timers       timers
	Tracks       tracks
	blocks       []*statement // the heads of VIPs and Excluded
	router       []*statement // all that is about adverts, and nothing else
}

// auth is the authentication block.
type auth struct {
	At   *statement
	Type setting[string] // PASS or AH
	Pass setting[Secret] // not cut
}

// unicast is who is spoken to, and as whom.
type unicast struct {
	Source setting[netip.Addr] // mcast_src_ip as well
	Peers  []setting[netip.Addr]
	TTL    setting[int]
	block  []*statement
}

// tracks is what an instance, or a group, watches.
type tracks struct {
	Scripts, Processes []track
	Interfaces         []track
	blocks             []*statement
}

// group is a vrrp_sync_group.
type group struct {
	Name    string
	At      *statement
	Members []*statement // of the group block: names
	Tracks  tracks
	block   *statement
}

// family is 4 or 6: that of the first address (alloc_vrrp_vip in
// vrrp/vrrp_data.c).
func (in *instance) family() int {
	if len(in.VIPs) > 0 {
		if p, ok := address(in.VIPs[0].keyword()); ok && p.Addr().Is6() {
			return 6
		}
	}
	return 4
}

// basePriority is the priority with keepalived's default: 255 for state MASTER,
// else 100 (vrrp_complete_instance in vrrp/vrrp.c).
func (in *instance) basePriority() int {
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
