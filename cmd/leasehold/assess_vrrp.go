package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"leasehold/internal/node"
	"leasehold/vrrpcompat"
)

// LoopVRRP is the daemon's word on the virtual router that the holder is beside
// keepalived.
type LoopVRRP struct {
	Mode     string `json:"mode"`
	State    string `json:"state"` // RFC 9568's
	Cause    string `json:"cause"`
	Priority uint8  `json:"priority"`
	Source   string `json:"source,omitempty"` // where its adverts come from
	Waits    string `json:"waits,omitempty"`  // why the VIP is not here although the tenure is
	// QuietSeconds is for how long no other router takes over even if this one says
	// no more; 0 when it is not Active, or does not speak.
	QuietSeconds float64           `json:"quiet_seconds,omitempty"`
	Notices      []VRRPNotice      `json:"notices,omitempty"`
	Packets      map[string]uint64 `json:"packets,omitempty"` // heard, by what became of them
}

// VRRPNotice is something about another router that a person should put right.
type VRRPNotice struct {
	Name  string `json:"name"`
	From  string `json:"from,omitempty"`
	What  string `json:"what"`
	Times int    `json:"times"`
}

func loopVRRP(s *node.VRRPSnapshot) *LoopVRRP {
	if s == nil {
		return nil
	}
	v := &LoopVRRP{
		Mode: s.Mode, State: s.State, Cause: s.Cause, Priority: s.Priority, Source: s.Source, Waits: s.Waits,
		QuietSeconds: max(0, s.Quiet.Seconds()), Packets: s.Heard,
	}
	for _, n := range s.Notices {
		v.Notices = append(v.Notices, VRRPNotice(n))
	}
	return v
}

// vrrpHere is the router of a service on this host; nil: there is none, or no
// daemon to ask.
func vrrpHere(f facts) *LoopVRRP {
	if f.daemonErr != nil || f.daemon == nil {
		return nil
	}
	return f.daemon.Services[f.service.Name].Loop.VRRP
}

// yieldsHere reports whether this host may lack the VIP although it is the holder:
// its router is not Active, or another host answers.
func yieldsHere(f facts) bool {
	v := vrrpHere(f)
	return v != nil && v.Waits != ""
}

// wrongVRRP names what is wrong with other routers, in the words of the daemon.
func wrongVRRP(f facts) []string {
	var wrong []string
	if v := vrrpHere(f); v != nil {
		if v.State == vrrpcompat.Active.String() && v.Waits != "" {
			wrong = append(wrong, "this host is the holder, and does not answer for the VIP, because another does: "+v.Waits)
		}
		for _, n := range v.Notices {
			wrong = append(wrong, fmt.Sprintf("VRRP, %s: %s", n.Name, n.What))
		}
	}
	return wrong
}

// yields tells whom the holder waits for: its own daemon's words, or, of another
// host, what its member key says.
func yields(f facts) string {
	if f.view.Holder.Node == f.node {
		if v := vrrpHere(f); v != nil {
			return v.Waits
		}
		return ""
	}
	m := f.view.Member(f.view.Holder.Node)
	if m == nil || m.VRRP == "" || vrrpcompat.ParseStation(m.VRRP).State == vrrpcompat.Active {
		return ""
	}
	return "a foreign router has the VIP, or may have it; leasehold status on that host says which"
}

// vrrpText is the line of status; "" where there is no router.
func (s ServiceStatus) vrrpText() string {
	v := s.Daemon.Loop.VRRP
	if v == nil {
		return ""
	}
	parts := []string{v.State + ", priority " + fmt.Sprint(v.Priority)}
	if v.Source != "" {
		parts[0] += ", from " + v.Source
	}
	if v.Mode != vrrpcompat.ModeFull.String() {
		parts = append(parts, "mode "+v.Mode)
	}
	if v.Waits != "" {
		parts = append(parts, v.Waits)
	} else {
		parts = append(parts, v.Cause)
	}
	if v.QuietSeconds > 0 {
		parts = append(parts, "nobody else takes over for "+tenths(v.QuietSeconds))
	}
	var heard []string
	for _, why := range slices.Sorted(maps.Keys(v.Packets)) {
		heard = append(heard, fmt.Sprintf("%s %d", why, v.Packets[why]))
	}
	if len(heard) > 0 {
		parts = append(parts, "heard: "+strings.Join(heard, ", "))
	}
	return strings.Join(parts, "; ")
}
