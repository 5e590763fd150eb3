package main

import (
	"strings"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
)

func TestShortestTTL(t *testing.T) {
	if got := shortestTTL(); got != 3*time.Second {
		t.Errorf("shortest ttl without a fence = %s, want the 3s that the documents promise", got)
	}
	for ttl := shortestTTL(); ttl <= longestTTL; ttl += 59 * time.Second {
		if spare(ttl, lifetimeLateness) < lifetimeUnit {
			t.Errorf("ttl %s leaves %s", ttl, spare(ttl, lifetimeLateness))
		}
	}
}

// At the shortest ttl behind a fence a try that hangs leaves time for another.
func TestShortestFenced(t *testing.T) {
	const letGo = 70 * time.Millisecond
	ttl := shortestFenced
	if left := spare(ttl, fenceLateness) - letGo - try(ttl); left < try(ttl) {
		t.Errorf("ttl %s: %s are left after one try, and another takes %s", ttl, left, try(ttl))
	}
}

func TestCheckTTL(t *testing.T) {
	for name, tc := range map[string]struct {
		ttl  time.Duration
		mode vip.FenceMode
		want []string // none: good
	}{
		"default":             {defaultTTL, vip.FenceAuto, nil},
		"shortest, auto":      {500 * time.Millisecond, vip.FenceAuto, nil},
		"shortest, required":  {500 * time.Millisecond, vip.FenceRequired, nil},
		"shortest, off":       {3 * time.Second, vip.FenceOff, nil},
		"longest":             {time.Hour, vip.FenceAuto, nil},
		"under it, auto":      {499 * time.Millisecond, vip.FenceAuto, []string{"499ms is too short even behind a fence", "99.8ms", "write ttl: 500ms or more"}},
		"under it, off":       {2999 * time.Millisecond, vip.FenceOff, []string{"fence: off", "write ttl: 3s or more, or fence: auto"}},
		"far under it, off":   {100 * time.Millisecond, vip.FenceOff, []string{"write ttl: 3s or more"}},
		"0":                   {0, vip.FenceAuto, []string{"write ttl: 500ms or more"}},
		"over it":             {time.Hour + 1, vip.FenceRequired, []string{"leasehold pause"}},
		"over it, off":        {2 * time.Hour, vip.FenceOff, []string{"write ttl: 3s"}},
		"with numbers, off":   {2 * time.Second, vip.FenceOff, []string{"50ms (margin)", "1s (the kernel", "= 910ms", "less 400ms", "leaves 510ms"}},
		"with numbers, fence": {400 * time.Millisecond, vip.FenceAuto, []string{"every 80ms", "100ms for each try"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := checkTTL(tc.ttl, tc.mode)
			if (got == "") != (tc.want == nil) || !containsAll(got, tc.want) {
				t.Errorf("checkTTL(%s, %s) = %q, want %q", tc.ttl, tc.mode, got, tc.want)
			}
		})
	}
}

// What is checked here is what the election counts with.
func TestUsableIsTheElections(t *testing.T) {
	sent := boottime.Instant(time.Hour)
	for _, late := range []time.Duration{fenceLateness, lifetimeLateness} {
		for _, ttl := range []time.Duration{500 * time.Millisecond, 3 * time.Second, 4 * time.Second, time.Minute, time.Hour} {
			want := election.Deadline(sent, ttl, tenureMargin).Sub(sent) - late
			if d := usable(ttl, late) - want; d < -time.Microsecond || d > time.Microsecond {
				t.Errorf("usable(%s, %s) = %s, the election has %s", ttl, late, usable(ttl, late), want)
			}
		}
	}
}

func TestTTLForElectionTimeout(t *testing.T) {
	for election, want := range map[time.Duration]time.Duration{
		time.Second: 3700 * time.Millisecond, 500 * time.Millisecond: 1900 * time.Millisecond, 250 * time.Millisecond: time.Second,
	} {
		if got := ttlFor(election); got != want {
			t.Errorf("ttlFor(%s) = %s, want %s", election, got, want)
		}
	}
}

func TestNotesTTL(t *testing.T) {
	for name, tc := range map[string]struct {
		ttl  time.Duration
		mode vip.FenceMode
		want []string // each in one note, in this order
	}{
		"default":                  {3 * time.Second, vip.FenceAuto, []string{"from 3.7s, 1.9s and 1s on (twice the timeout, a renewal, a try), and 3s rides out 2.34s"}},
		"all of etcd's leaders":    {3700 * time.Millisecond, vip.FenceAuto, nil},
		"short, auto":              {time.Second, vip.FenceAuto, []string{"this node takes no VIP", "1s rides out 780ms"}},
		"short, required":          {time.Second, vip.FenceRequired, []string{"1s rides out 780ms"}},
		"off":                      {3 * time.Second, vip.FenceOff, []string{"3s rides out 1.29s: the VIP would be away for a moment; write ttl: 4s"}},
		"off, all of etcd's votes": {4 * time.Second, vip.FenceOff, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := notesTTL(tc.ttl, tc.mode, nil)
			if len(got) != len(tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
			for i := range got {
				if !strings.Contains(got[i], tc.want[i]) {
					t.Errorf("got %q, want %q", got[i], tc.want[i])
				}
			}
		})
	}
}
