package vip

import (
	"fmt"
	"net/netip"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// A FenceMode says whether the VIPs' frames pass a fence: an eBPF program in
// the kernel that lets them through before a deadline, see package fence.
type FenceMode uint8

const (
	// FenceAuto is a fence where bpf is to be had, else kernel lifetimes alone.
	FenceAuto FenceMode = iota
	// FenceOff is kernel lifetimes alone.
	FenceOff
	// FenceRequired binds nothing without a fence, see State.NoGuard.
	FenceRequired
)

// String returns the word that the config has for it.
func (m FenceMode) String() string {
	switch m {
	case FenceAuto:
		return "auto"
	case FenceOff:
		return "off"
	case FenceRequired:
		return "required"
	}
	return fmt.Sprintf("FenceMode(%d)", uint8(m))
}

// MarshalText implements encoding.TextMarshaler.
func (m FenceMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText takes auto, off and required.
func (m *FenceMode) UnmarshalText(text []byte) error {
	for _, known := range []FenceMode{FenceAuto, FenceOff, FenceRequired} {
		if string(text) == known.String() {
			*m = known
			return nil
		}
	}
	return fmt.Errorf("fence %q: write auto (a fence where the kernel has one), off or required", text)
}

// Fence is what the kernel shows of the fences of a Set's VIPs.
type Fence struct {
	Kind    string           // "tcx" or "clsact"; empty: there is none
	Why     string           // why there is none
	Until   boottime.Instant // the earliest deadline of the VIPs; zero when one is shut
	Claimed bool             // the kernel shut one because another host claimed its VIP
	Missing string           // what of it was found missing and is not put back yet
}

// Claim is the last claim of another host to a VIP while it was ours.
type Claim struct {
	// Count is how many there were. The frames of one announcement count once.
	Count uint64
	// At is when the last one was seen, at or after the moment that it came.
	// Defended is when the claims before it were settled: Defend answered them, or
	// Release gave way.
	At, Defended boottime.Instant
	MAC          string // of who claims it
	Addr         netip.Addr
	Device       string
}

// ErrClaimed says that the kernel shut the fence of a VIP because another host
// claimed it. Only Defend opens it again.
var ErrClaimed = fence.ErrClaimed

// A DuplicateError says that another host answers for a VIP.
type DuplicateError struct {
	Addr        netip.Addr
	Device, MAC string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("%s is in use on %s by the host with MAC %s: two hosts would answer for it; take it off there", e.Addr, e.Device, e.MAC)
}
