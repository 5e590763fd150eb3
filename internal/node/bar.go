package node

import (
	"slices"
	"time"

	"leasehold/internal/boottime"
)

const (
	// giveUp is how long a node tries to bind the VIP before it lets another try:
	// what passes by itself (an interface that is being set up) takes less.
	giveUp = time.Second

	// barFor is how long it then leaves the VIP to others. Long against giveUp, so
	// that two nodes that cannot bind it do not pass it to and fro.
	barFor = time.Minute
)

// bar keeps a node on which the VIP cannot be bound from holding it: a host
// with IPv6 turned off, say, whose tenure would keep the VIP from everybody.
type bar struct {
	failing boottime.Instant // since when binding fails; zero: it does not
	until   boottime.Instant
	why     string
}

// note books how a turn ended.
func (b *bar) note(f Facts, do []Action, err error) {
	switch {
	case err == nil:
		b.failing = 0
	case !slices.ContainsFunc(do, func(a Action) bool { return a.Verb == BindVIP }):
	case b.failing == 0:
		b.failing = f.Now
	case f.Now.Sub(b.failing) >= giveUp && f.OthersEligible && !f.Paused:
		*b = bar{until: f.Now.Add(barFor), why: "the VIP cannot be had here: " + err.Error()}
	}
}

// lasting reports that binding has failed for longer than what passes by itself.
func (b *bar) lasting(now boottime.Instant) bool {
	return b.failing != 0 && now.Sub(b.failing) >= giveUp
}
