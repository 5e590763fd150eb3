// Package sim runs clusters in virtual time: the real decision (node.Step, with
// its Facts, Memory and Hands) and the real election (election.Core) of two to
// five hosts with clocks of their own, on models of etcd, of the kernel and of
// what lies between, which do everything that the real ones may do.
//
// A world comes from its seed alone: what a seed has shown once, it shows again.
// After every event the world is judged: at most one host answers on the wire,
// and more, see judge.go.
package sim

import (
	"fmt"
	"strings"
	"time"
)

// Result is what came of one world.
type Result struct {
	Options Options
	Bad     string // what must not have happened; empty: all was as it must be
	Story   string // with Options.Trace: the timeline
	Events  uint64
	Time    time.Duration // that passed in the world
}

// Run lets one world live. What happens in it is counted in cov.
func Run(o Options, cov *Coverage) Result {
	w := newWorld(o.Seed, cov, o.Trace)
	defer w.close()
	w.live(o.profile())
	r := Result{Options: o, Bad: w.bad, Events: w.events, Time: w.now}
	if o.Trace {
		r.Story = w.tell()
	}
	return r
}

// tell is the timeline, its end and what the hosts and etcd look like.
func (w *world) tell() string {
	var b strings.Builder
	for _, l := range w.story {
		fmt.Fprintln(&b, l)
	}
	for _, h := range w.hosts {
		fmt.Fprintln(&b, h)
	}
	for _, kv := range w.etcd.kvs {
		fmt.Fprintf(&b, "%s@%d on %x: %s\n", kv.Key, kv.ModRevision, kv.Lease, kv.Value)
	}
	return b.String()
}
