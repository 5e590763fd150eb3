package main

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vip/fence"
)

// The line of the fence says what decides whether the VIP answers.
func TestFenceText(t *testing.T) {
	const boot = boottime.Instant(time.Hour)
	none := func(f *facts) { f.fences[0] = fenceOf{addr: f.fences[0].addr, err: fs.ErrNotExist} }
	loop := func(f *facts, l LoopFence) {
		d := f.daemon.Services["mysql"]
		d.Loop.Fence = l
		f.daemon.Services["mysql"] = d
	}
	gone := func(f *facts) { f.daemon, f.daemonErr = nil, errNoDaemon }
	for name, tc := range map[string]struct {
		edit func(*facts)
		want string
	}{
		"open":                  {func(*facts) {}, "open, 2.1s left (tcx)"},
		"open in a pause":       {func(f *facts) { f.fences[0].state.Until = boot.Add(61 * time.Minute) }, "open, 1h01m left (tcx)"},
		"shut":                  {func(f *facts) { f.fences[0].state.Until = 0 }, "shut (tcx)"},
		"over":                  {func(f *facts) { f.fences[0].state.Until = boot }, "shut (tcx)"},
		"clsact":                {func(f *facts) { f.fences[0].state.Kind = fence.Clsact }, "open, 2.1s left (clsact)"},
		"no daemon, open":       {gone, "open, 2.1s left (tcx)"},
		"no daemon, no fence":   {func(f *facts) { gone(f); none(f) }, "no fence: the daemon makes it when it starts"},
		"no daemon, turned off": {func(f *facts) { gone(f); none(f); f.service.Fence = vip.FenceOff }, "no fence: turned off, lifetimes only, ttl >= 3s"},
		"refused":               {func(f *facts) { none(f); loop(f, LoopFence{Why: "fence of 10.20.8.188: no fence: no CAP_BPF"}) }, "no fence: bpf refused (no CAP_BPF), lifetimes only, ttl >= 3s"},
		"refused and needed":    {func(f *facts) { none(f); loop(f, LoopFence{NoGuard: "fence of 10.20.8.188: no fence: bpf refused"}) }, "no fence, and this host may not hold without: bpf refused"},
		"kernel not for this user": {
			func(f *facts) { f.fences[0] = fenceOf{err: errors.New("permission denied")} },
			"the daemon says: open, 2.1s left (tcx) (the kernel cannot be read: permission denied)",
		},
		"refused and needed, said above": {func(f *facts) {
			none(f)
			loop(f, LoopFence{NoGuard: "no fence: bpf refused"})
			f.view.Members[0].Why = "fence of 10.20.8.188: no fence: bpf refused"
		}, "no fence, and this host may not hold without: see why"},
		"nobody can be asked": {func(f *facts) { gone(f); f.fences[0] = fenceOf{err: errors.New("permission denied")} }, "cannot be read: permission denied"},
		"two VIPs alike": {func(f *facts) {
			f.fences = append(f.fences, fenceOf{addr: netip.MustParseAddr("fd00::188"), state: f.fences[0].state})
		}, "open, 2.1s left (tcx)"},
		"two VIPs": {func(f *facts) {
			f.fences = append(f.fences, fenceOf{addr: netip.MustParseAddr("fd00::188"), state: fence.State{Kind: fence.TCX}})
		}, "10.20.8.188 open, 2.1s left (tcx); fd00::188 shut (tcx)"},
	} {
		t.Run(name, func(t *testing.T) {
			f := testFacts(t)
			tc.edit(&f)
			if got := assess(f).fenceText(); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func TestClaimsText(t *testing.T) {
	claim := vip.Claim{
		Count: 1, At: boottime.Instant(time.Minute), Defended: boottime.Instant(time.Minute + time.Second), MAC: "02:00:00:00:00:0b",
		Addr: netip.MustParseAddr("10.20.8.188"), Device: "eth0",
	}
	at := func(l LoopClaims) *LoopClaims { return &l }
	now := boottime.Instant(time.Minute + 3*time.Second)
	answered := loopClaims(claim, now, testNow)
	claim.Count, claim.Defended = 2, claim.At
	for name, tc := range map[string]struct {
		daemon *LoopClaims
		kernel fence.State
		want   string
	}{
		"none":     {nil, fence.State{}, ""},
		"answered": {answered, fence.State{}, "1 foreign claim, last 3.0s ago from 02:00:00:00:00:0b on eth0 for 10.20.8.188, answered"},
		"not yet":  {loopClaims(claim, now, testNow), fence.State{}, "2 foreign claims, last 3.0s ago from 02:00:00:00:00:0b on eth0 for 10.20.8.188, not answered yet"},
		"long ago": {at(LoopClaims{Count: 1, At: testNow.Add(-time.Hour)}), fence.State{}, "1 foreign claim, last 1h00m ago"},
		"kernel alone": {
			nil,
			fence.State{Claims: 1, ClaimedAt: boottime.Instant(time.Hour - 90*time.Second), ClaimMAC: [6]byte{2, 0, 0, 0, 0, 11}},
			"1 foreign claim for 10.20.8.188, last 1m30s ago from 02:00:00:00:00:0b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := testFacts(t)
			f.fences[0].state = tc.kernel
			d := f.daemon.Services["mysql"]
			d.Loop.Claims = tc.daemon
			f.daemon.Services["mysql"] = d
			if got := assess(f).claimsText(); !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// What the daemon says of its fence is of the moment that it is asked at.
func TestLoopFence(t *testing.T) {
	now := boottime.Instant(time.Minute)
	s := vip.State{Fence: vip.Fence{Kind: "tcx", Until: now.Add(2 * time.Second)}, NoGuard: "why"}
	if got := loopFence(s, now); got != (LoopFence{Kind: "tcx", LeftSeconds: 2, NoGuard: "why"}) {
		t.Errorf("got %+v", got)
	}
	s.Fence.Until = now.Add(-time.Second)
	if got := loopFence(s, now); got.LeftSeconds != 0 {
		t.Errorf("a deadline that is over: %+v", got)
	}
}
