package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vip/fence"
)

// FenceStatus is what this host's kernel has of the fences of a service, which
// pass the frames of a VIP before its deadline and none after.
type FenceStatus struct {
	Mode string           `json:"mode"` // of the configuration
	VIPs []VIPFenceStatus `json:"vips"` // empty: there is none
	// Error says why the kernel could not be read.
	Error string `json:"error,omitempty"`
}

// The states of a fence.
const (
	fenceOpen    = "open"
	fenceShut    = "shut"
	fenceClaimed = "claimed" // shut by the kernel, because another host announced the VIP
	fenceNone    = "none"
)

// VIPFenceStatus is the fence of one VIP.
type VIPFenceStatus struct {
	VIP         netip.Addr `json:"vip"`
	State       string     `json:"state"`
	Kind        string     `json:"kind,omitempty"` // tcx or clsact
	LeftSeconds float64    `json:"left_seconds,omitempty"`
	Devices     []string   `json:"devices,omitempty"`
	Claims      uint64     `json:"claims,omitempty"` // that shut it
	ClaimMAC    string     `json:"claim_mac,omitempty"`
	ClaimedAt   time.Time  `json:"claimed_at,omitzero"`
}

// LoopFence is the daemon's word on its fence.
type LoopFence struct {
	Kind        string  `json:"kind,omitempty"`
	Why         string  `json:"why,omitempty"` // why there is none
	LeftSeconds float64 `json:"left_seconds,omitempty"`
	Claimed     bool    `json:"claimed,omitempty"`
	Missing     string  `json:"missing,omitempty"`
	NoGuard     string  `json:"no_guard,omitempty"` // why this host may not hold
}

// LoopClaims is what the daemon has seen of other hosts that claim a VIP which
// was its own.
type LoopClaims struct {
	Count    uint64     `json:"count"`
	At       time.Time  `json:"at,omitzero"` // of the last
	MAC      string     `json:"mac"`
	Addr     netip.Addr `json:"addr"`
	Device   string     `json:"device"`
	Answered bool       `json:"answered"` // by an announcement of ours
}

func loopFence(s vip.State, now boottime.Instant) LoopFence {
	f := LoopFence{Kind: s.Fence.Kind, Why: s.Fence.Why, Claimed: s.Fence.Claimed, Missing: s.Fence.Missing, NoGuard: s.NoGuard}
	if now.Before(s.Fence.Until) {
		f.LeftSeconds = s.Fence.Until.Sub(now).Seconds()
	}
	return f
}

// loopClaims is nil while nobody has claimed a VIP.
func loopClaims(c vip.Claim, now boottime.Instant, wall time.Time) *LoopClaims {
	if c.Count == 0 {
		return nil
	}
	return &LoopClaims{
		Count: c.Count, At: wall.Add(-now.Sub(c.At)), MAC: c.MAC, Addr: c.Addr, Device: c.Device, Answered: c.At.Before(c.Defended),
	}
}

// fenceOf is the fence of one VIP, or why it could not be read.
type fenceOf struct {
	addr  netip.Addr
	state fence.State
	err   error
}

func readFences(dir string, s *Service, read func(string, netip.Addr) (fence.State, error)) []fenceOf {
	var all []fenceOf
	for _, v := range s.VIPs {
		f := fenceOf{addr: v.Spec.Prefix.Addr()}
		f.state, f.err = read(dir, f.addr)
		all = append(all, f)
	}
	return all
}

func assessFence(f facts) FenceStatus {
	s := FenceStatus{Mode: f.service.Fence.String(), VIPs: []VIPFenceStatus{}}
	for _, v := range f.fences {
		switch {
		case errors.Is(v.err, fs.ErrNotExist):
			s.VIPs = append(s.VIPs, VIPFenceStatus{VIP: v.addr, State: fenceNone})
		case v.err != nil:
			s.Error = v.err.Error()
		default:
			s.VIPs = append(s.VIPs, vipFence(v, f))
		}
	}
	if !slices.ContainsFunc(s.VIPs, func(v VIPFenceStatus) bool { return v.State != fenceNone }) {
		s.VIPs = []VIPFenceStatus{}
	}
	return s
}

func vipFence(v fenceOf, f facts) VIPFenceStatus {
	s := VIPFenceStatus{VIP: v.addr, State: fenceShut, Kind: string(v.state.Kind), Devices: v.state.Devices, Claims: v.state.Claims}
	switch {
	case v.state.Claimed:
		s.State = fenceClaimed
	case f.nowBoot.Before(v.state.Until):
		s.State, s.LeftSeconds = fenceOpen, v.state.Until.Sub(f.nowBoot).Seconds()
	}
	if v.state.Claims > 0 {
		s.ClaimMAC = net.HardwareAddr(v.state.ClaimMAC[:]).String()
		s.ClaimedAt = f.now.Add(-f.nowBoot.Sub(v.state.ClaimedAt))
	}
	return s
}

// silent reports whether a VIP that is on this host answers nobody, because its
// fence is not open.
func (s FenceStatus) silent(a netip.Addr) bool {
	return slices.ContainsFunc(s.VIPs, func(v VIPFenceStatus) bool {
		return v.VIP == a && (v.State == fenceShut || v.State == fenceClaimed)
	})
}

// wrongFence compares the fences with etcd and with what the configuration asks.
func wrongFence(f facts, s FenceStatus) []string {
	var wrong []string
	mine := f.etcdErr == nil && holds(f.view) && f.view.Holder.Node == f.node
	others := f.etcdErr == nil && holds(f.view) && !mine
	for _, v := range s.VIPs {
		switch {
		case v.State == fenceClaimed && mine:
			wrong = append(wrong, fmt.Sprintf("another host, with the MAC %s, announces %s; the fence is shut until etcd has confirmed that it is ours. "+
				"Take the VIP off that host (its switch port: the MAC table)", v.ClaimMAC, v.VIP))
		case v.State == fenceShut && mine && yieldsHere(f):
		case v.State == fenceShut && mine:
			cure := "see the daemon's log"
			if errors.Is(f.daemonErr, errNoDaemon) {
				cure = "its daemon is not running: systemctl start leasehold"
			}
			wrong = append(wrong, fmt.Sprintf("this host is the holder, and the fence of %s is shut: nobody answers for it; %s", v.VIP, cure))
		case v.State == fenceNone && mine && len(s.VIPs) > 0:
			wrong = append(wrong, fmt.Sprintf("this host is the holder, and %s has no fence, though other VIPs of the service do; restart the daemon", v.VIP))
		case v.State == fenceOpen && others && !onHost(f, v.VIP): // else the address is what is to be taken off
			wrong = append(wrong, fmt.Sprintf("the fence of %s is open here for another %s, and %s is the holder; take it off: leasehold release, or start the daemon",
				v.VIP, tenths(v.LeftSeconds), f.view.Holder.Node))
		}
	}
	if f.daemonErr == nil && f.daemon != nil {
		if missing := f.daemon.Services[f.service.Name].Loop.Fence.Missing; missing != "" {
			wrong = append(wrong, "the fence is not whole: "+missing)
		}
	}
	return wrong
}

func onHost(f facts, a netip.Addr) bool {
	return slices.ContainsFunc(f.copies, func(c vip.Copy) bool { return c.Prefix.Addr() == a })
}
