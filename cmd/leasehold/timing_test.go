package main

import (
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
)

func TestShortestTTL(t *testing.T) {
	if got := shortestTTL(); got != 3*time.Second {
		t.Errorf("shortest ttl = %s, want the 3s that the documents promise", got)
	}
	if checkTTL(defaultTTL) != "" {
		t.Errorf("the default ttl is refused: %s", checkTTL(defaultTTL))
	}
	for ttl := shortestTTL(); ttl <= longestTTL; ttl += 59 * time.Second {
		if spare(ttl) < lifetimeUnit {
			t.Errorf("ttl %s leaves %s", ttl, spare(ttl))
		}
	}
}

// What is checked here is what the election counts with.
func TestUsableIsTheElections(t *testing.T) {
	sent := boottime.Instant(time.Hour)
	for _, ttl := range []time.Duration{3 * time.Second, 4 * time.Second, time.Minute, time.Hour} {
		want := election.Deadline(sent, ttl, kernelMargin).Sub(sent) - kernelLateness
		if d := usable(ttl) - want; d < -time.Microsecond || d > time.Microsecond {
			t.Errorf("usable(%s) = %s, the election has %s", ttl, usable(ttl), want)
		}
	}
}

func TestNoteTTL(t *testing.T) {
	if noteTTL(3*time.Second) == "" {
		t.Error("3s: no word on etcd's leader loss")
	}
	if note := noteTTL(4 * time.Second); note != "" {
		t.Errorf("4s: %s", note)
	}
}
