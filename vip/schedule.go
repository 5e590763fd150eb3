package vip

import (
	"fmt"
	"slices"
	"time"
)

// A Schedule says when a VIP is announced after Announce.
type Schedule struct {
	// Burst: times after the call. Default 0, 50 ms, 200 ms, 1 s. The first must
	// be 0, and they must grow.
	Burst []time.Duration
	// Refresh: how often after the burst. Default 30 s.
	Refresh time.Duration
}

func (s Schedule) withDefaults() (Schedule, error) {
	if len(s.Burst) == 0 {
		// A frame may be lost, and a client takes no gratuitous reply within 1 s
		// of the last change of its entry (locktime, arp(7)).
		s.Burst = []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}
	}
	if s.Refresh == 0 {
		s.Refresh = 30 * time.Second
	}
	s.Burst = slices.Clone(s.Burst)
	switch {
	case s.Burst[0] != 0:
		return s, fmt.Errorf("announce burst begins at %s: clients would go on to the old host until then; begin with 0s", s.Burst[0])
	case !slices.IsSorted(s.Burst) || len(slices.Compact(slices.Clone(s.Burst))) != len(s.Burst):
		return s, fmt.Errorf("announce burst %v must grow; sort it", s.Burst)
	case s.Refresh < time.Second:
		return s, fmt.Errorf("announce refresh %s would flood the network; set 1s or more", s.Refresh)
	}
	return s, nil
}

// due returns how long after the call announcement n is to be sent, n from 0.
func (s Schedule) due(n int) time.Duration {
	if n < len(s.Burst) {
		return s.Burst[n]
	}
	return s.Burst[len(s.Burst)-1] + time.Duration(n-len(s.Burst)+1)*s.Refresh
}
