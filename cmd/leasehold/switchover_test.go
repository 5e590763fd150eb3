package main

import (
	"strings"
	"testing"
	"time"

	"leasehold/election"
)

func TestRefuseSwitchover(t *testing.T) {
	for name, tc := range map[string]struct {
		to   string
		edit func(*election.View)
		want string // in the refusal; empty: it is not refused
	}{
		"to the best":     {"", func(*election.View) {}, ""},
		"to a node":       {"db20-025", func(*election.View) {}, ""},
		"paused":          {"", func(v *election.View) { v.Pause = &election.PauseKey{} }, "leasehold resume mysql"},
		"nobody holds":    {"", func(v *election.View) { v.Holder = nil }, "nobody can hand it over"},
		"nobody eligible": {"", func(v *election.View) { v.Members[1].Eligible = false }, "the VIP stays on db20-024"},
		"unknown node":    {"db20-26", func(*election.View) {}, `no node "db20-26" is registered (did you mean "db20-025"?); eligible: db20-025`},
		"node not eligible": {"db20-025", func(v *election.View) {
			v.Members[1].Eligible, v.Members[1].Why = false, "mysql: read_only"
		}, "db20-025 is not eligible: mysql: read_only"},
	} {
		t.Run(name, func(t *testing.T) {
			v := testFacts(t).view
			tc.edit(&v)
			err := refuseSwitchover(v, "mysql", tc.to)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestParseUntil(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 22, 20, 30, 0, 0, berlin)
	for text, want := range map[string]time.Time{
		"21:00":                now.Add(30 * time.Minute),
		"20:30":                now.AddDate(0, 0, 1),
		"06:00":                time.Date(2026, 11, 23, 6, 0, 0, 0, berlin),
		"2026-11-24 18:30":     time.Date(2026, 11, 24, 18, 30, 0, 0, berlin),
		"2026-11-22T20:00:00Z": now.Add(30 * time.Minute),
	} {
		got, err := parseUntil(text, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: got %s, %v; want %s", text, got, err, want)
		}
	}
	if _, err := pauseLength(pauseFlags{until: "2026-11-21 18:30"}, now); err == nil {
		t.Error("a pause that ended yesterday is accepted")
	}
	if d, err := pauseLength(pauseFlags{until: "21:00"}, now); d != 30*time.Minute || err != nil {
		t.Errorf("got %s, %v", d, err)
	}
}
