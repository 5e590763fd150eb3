package sim

import (
	"fmt"
	"strings"

	"leasehold/election"
	"leasehold/internal/node"
)

// point is something that must happen in a simulation that deserves the name.
type point int

// The points, for counting.
const (
	leaseEarly point = iota
	leaseLate
	leaseRanOut
	requestLost
	requestDoubled
	replyLost
	replySlow
	watchEnded
	watchCompacted
	watchHole
	lifetimeEnded
	fenceArmed
	fenceClaimed
	fenceRebuilt
	bindBegun
	probed
	duplicate
	announced
	heldUp
	actionFailed
	startedWithState
	adopted
	becameHolder
	letGoOf
	tookFirst
	tookReleased
	tookVanished
	tookStanding
	trapped
	ambushed
	trappedInThread
	killedWhileHolding
	frozenWhileHolding
	thawedTooLate
	bothGuards
	boundFailover
	boundHeal
	boundLull
	pauseCovered
	pauseSurvived
	points
)

func (p point) String() string {
	return [points]string{
		"lease ended early", "lease ended late", "lease ran out", "request lost", "request doubled", "reply lost", "reply slow",
		"watch ended", "watch met a compaction", "watch left an event out", "address ended by its lifetime", "fence armed",
		"fence shut by a claim", "fence rebuilt", "bind begun", "probe sent", "probe answered", "announced",
		"lifetime set too late, noticed", "action failed", "started with saved state", "tenure adopted", "became holder", "let go",
		"take-over: first", "take-over: after a release", "take-over: holder key vanished", "take-over: holder key stands",
		"struck between two instructions", "ambushed at what matters", "struck within an action", "killed while holding", "frozen while holding",
		"thawed when another held", "fence and lifetimes in one cluster",
		"bound checked: one fault", "bound checked: after healing", "bound checked: others stay broken",
		"tenure covers a pause", "pause survived",
	}[p]
}

// Coverage counts what happened.
type Coverage struct {
	hits     [points]uint64
	verbs    [node.DefendVIP + 1]uint64
	requests [election.KindHistory + 1]uint64
	faults   [faults]uint64
	trials   map[string]uint64
}

// NewCoverage counts from nothing.
func NewCoverage() *Coverage { return &Coverage{trials: map[string]uint64{}} }

func (c *Coverage) hit(p point) { c.hits[p]++ }

// Add takes the counts of another in.
func (c *Coverage) Add(o *Coverage) {
	for i, n := range o.hits {
		c.hits[i] += n
	}
	for i, n := range o.verbs {
		c.verbs[i] += n
	}
	for i, n := range o.requests {
		c.requests[i] += n
	}
	for i, n := range o.faults {
		c.faults[i] += n
	}
	for what, n := range o.trials {
		c.trials[what] += n
	}
}

// each calls f with every counter.
func (c *Coverage) each(f func(group, name string, n uint64)) {
	for i, n := range c.faults {
		f("fault", fault(i).String(), n)
	}
	for _, t := range allTrials() {
		f("trial", t.what, c.trials[t.what])
	}
	for i, n := range c.verbs {
		f("action", node.Verb(i).String(), n)
	}
	for i, n := range c.requests {
		if k := election.Kind(i); k != election.KindHistory { // the simulation writes none
			f("request", k.String(), n)
		}
	}
	for i, n := range c.hits {
		f("event", point(i).String(), n)
	}
}

// Missing names what never happened.
func (c *Coverage) Missing() []string {
	var missing []string
	c.each(func(group, name string, n uint64) {
		if n == 0 {
			missing = append(missing, group+": "+name)
		}
	})
	return missing
}

// String lists every counter.
func (c *Coverage) String() string {
	var b strings.Builder
	last := ""
	c.each(func(group, name string, n uint64) {
		if group != last {
			fmt.Fprintf(&b, "%ss:\n", group)
			last = group
		}
		fmt.Fprintf(&b, "  %12d  %s\n", n, name)
	})
	return b.String()
}
