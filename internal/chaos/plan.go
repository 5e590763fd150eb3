package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is one entry of a plan.
type Fault struct {
	Kind string
	// On and Peer are hosts, or roles that are looked up when the fault begins:
	// holder, standby, leader (of etcd).
	On, Peer string
	Arg      int           // percent, milliseconds, a number, a prefix length: see the kind
	At       time.Duration // from the beginning of the round
	For      time.Duration // 0: it is over at once
}

func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6.2f s  %-14s", f.At.Seconds(), f.Kind)
	if f.On != "" {
		fmt.Fprintf(&b, " %s", f.On)
	}
	if f.Peer != "" {
		fmt.Fprintf(&b, " → %s", f.Peer)
	}
	if f.Arg != 0 {
		fmt.Fprintf(&b, " (%d)", f.Arg)
	}
	if f.For > 0 {
		fmt.Fprintf(&b, " for %.2f s", f.For.Seconds())
	}
	return b.String()
}

// Plan is what is done to the network in one round, in the order of beginning.
type Plan []Fault

func (p Plan) String() string {
	var b strings.Builder
	for _, f := range p {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	return b.String()
}

// roundLength is how long faults begin and last in one round; all of them have
// ended after it.
const roundLength = 16 * time.Second

// NewPlan returns the plan of one round. It depends on its arguments alone:
// the same seed and number give the same plan.
func NewPlan(seed uint64, round int, nodes []string, length time.Duration) Plan {
	r := source(seed, round)
	var plan Plan
	// From a few one after the other to several at any time.
	n := int(length/(4*time.Second)) + r.IntN(int(length/time.Second))
	for range n {
		k := draw(r)
		f := Fault{Kind: k.name, At: between(r, 0, length-500*time.Millisecond)}
		if k.most > 0 {
			f.For = min(between(r, k.least, k.most), length-f.At)
		}
		if k.choose != nil {
			k.choose(r, nodes, &f)
		}
		plan = append(plan, f)
	}
	slices.SortStableFunc(plan, func(x, y Fault) int { return int(x.At - y.At) })
	return plan
}

func source(seed uint64, round int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(round))) //nolint:gosec // to be repeated, not to be secret
}

// draw picks a kind by its weight.
func draw(r *rand.Rand) kind {
	all := kinds()
	sum := 0
	for _, k := range all {
		sum += k.weight
	}
	n := r.IntN(sum)
	for _, k := range all {
		if n -= k.weight; n < 0 {
			return k
		}
	}
	return all[0]
}

// between returns a duration, short ones as likely as long ones: the logarithm
// is what is drawn evenly, except from 0.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	const grain = 10 * time.Millisecond
	if least == 0 {
		return time.Duration(r.Int64N(int64(most))).Truncate(grain)
	}
	d := least
	for d < most && r.IntN(3) > 0 { // a third stays in each doubling
		d *= 2
	}
	d = d + time.Duration(r.Int64N(int64(d)))
	return min(d, most).Truncate(grain)
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// two picks two different hosts.
func two(r *rand.Rand, from []string) (string, string) {
	i := r.IntN(len(from))
	j := r.IntN(len(from) - 1)
	if j >= i {
		j++
	}
	return from[i], from[j]
}
