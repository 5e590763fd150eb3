package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/vip"
)

// tenths prints seconds as 2.1s while tenths matter.
func tenths(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1fs", max(0, seconds))
	}
	return short(time.Duration(seconds * float64(time.Second)))
}

// fenceText says whether the VIPs' frames pass, and what decides that. The
// kernel's word comes first; the daemon's where the kernel cannot be read, or
// where it knows why.
func (s ServiceStatus) fenceText() string {
	f, d := s.Fence, s.Daemon
	switch {
	case len(f.VIPs) > 0:
		return f.text(s.At)
	case f.Error != "" && d.OK && d.Loop.Fence.Kind != "":
		return fmt.Sprintf("the daemon says: %s (the kernel cannot be read: %s)", d.Loop.Fence.text(), f.Error)
	case f.Error != "":
		return "cannot be read: " + f.Error
	case f.Mode == vip.FenceOff.String():
		return noFence("turned off")
	case d.OK && d.Loop.Fence.Why == "turned off":
		return noFence("turned off, as the daemon was started")
	case d.OK && d.Loop.Fence.NoGuard != "" && s.saysWhy(reason(d.Loop.Fence.NoGuard)):
		return "no fence, and this host may not hold without: see why"
	case d.OK && d.Loop.Fence.NoGuard != "":
		return "no fence, and this host may not hold without: " + reason(d.Loop.Fence.NoGuard)
	case d.OK && d.Loop.Fence.Why != "":
		return noFence("bpf refused (" + reason(d.Loop.Fence.Why) + ")")
	}
	return "no fence: the daemon makes it when it starts"
}

// saysWhy reports whether the line of this host has a reason already.
func (s ServiceStatus) saysWhy(reason string) bool {
	return slices.ContainsFunc(s.Members, func(m MemberStatus) bool { return m.Here && strings.Contains(m.Why, reason) })
}

// noFence says what guards instead.
func noFence(why string) string {
	return fmt.Sprintf("no fence: %s, lifetimes only, ttl >= %s", why, shortestTTL())
}

func (l LoopFence) text() string {
	switch {
	case l.Claimed:
		return "shut by a claim"
	case l.LeftSeconds > 0:
		return fmt.Sprintf("open, %s left (%s)", tenths(l.LeftSeconds), l.Kind)
	}
	return fmt.Sprintf("shut (%s)", l.Kind)
}

// text says it once where all VIPs are alike, as they are but for moments.
func (f FenceStatus) text(now time.Time) string {
	texts := make([]string, len(f.VIPs))
	for i, v := range f.VIPs {
		texts[i] = v.text(now)
	}
	if len(slices.Compact(slices.Clone(texts))) == 1 {
		return texts[0]
	}
	for i, v := range f.VIPs {
		texts[i] = v.VIP.String() + " " + texts[i]
	}
	return strings.Join(texts, "; ")
}

func (v VIPFenceStatus) text(now time.Time) string {
	switch v.State {
	case fenceOpen:
		return fmt.Sprintf("open, %s left (%s)", tenths(v.LeftSeconds), v.Kind)
	case fenceClaimed:
		return fmt.Sprintf("shut by a claim of %s, %s ago (%s)", v.ClaimMAC, tenths(now.Sub(v.ClaimedAt).Seconds()), v.Kind)
	case fenceShut:
		return fmt.Sprintf("shut (%s)", v.Kind)
	}
	return "none"
}

// claimsText says who else claims a VIP; empty: nobody has. The daemon hears
// every claim, the kernel counts those that shut a fence.
func (s ServiceStatus) claimsText() string {
	if c := s.Daemon.Loop.Claims; s.Daemon.OK && c != nil {
		answered := "not answered yet"
		if c.Answered {
			answered = "answered"
		}
		return fmt.Sprintf("%s, last %s ago from %s on %s for %s, %s", claimCount(c.Count), tenths(s.At.Sub(c.At).Seconds()), c.MAC, c.Device, c.Addr, answered)
	}
	var parts []string
	for _, v := range s.Fence.VIPs {
		if v.Claims > 0 {
			parts = append(parts, fmt.Sprintf("%s for %s, last %s ago from %s", claimCount(v.Claims), v.VIP, tenths(s.At.Sub(v.ClaimedAt).Seconds()), v.ClaimMAC))
		}
	}
	return strings.Join(parts, "; ")
}

func claimCount(n uint64) string {
	if n == 1 {
		return "1 foreign claim"
	}
	return fmt.Sprintf("%d foreign claims", n)
}
