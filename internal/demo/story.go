package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// step is one fault of the story, or one thing that an operator does.
type step struct {
	ID    string // of cases.md, or a word
	Fault string // what happens, in a sentence that the screen has room for
	Short string // the same for the table
	Noted string // what keepalived did, by the operators' notes
	Must  string // what must hold, in a few words

	prepare func(context.Context, *scene) error // right before it is measured
	run     func(context.Context, *scene) error
	holds   verdict
}

// scene is what a step has to do with.
type scene struct {
	*network
	board   *board
	holder  string // when the step begins
	standby string
}

// Pace of the telling.
const (
	toRead   = 2500 * time.Millisecond // between announcing a fault and bringing it about
	toSee    = time.Second             // between a measured result and the next
	onTheWay = 100 * time.Millisecond  // for the answers that are on their way
)

// tell tells the story, one step after the other, and returns a row for each that
// was begun. The last one is what was seen between the steps. It ends early, with a
// row that says why, when the network cannot be mended; it fails with ctx, and when
// the VIP does not come up at first.
func (n *network) tell(ctx context.Context, b *board, steps []*step) ([]row, error) {
	first, err := n.begin(ctx, b)
	if err != nil {
		return nil, err
	}
	rows := []row{first}
	from := first.report.To
	between := row{step: &step{ID: "rest", Short: "between the faults", Must: "none lost"}}
	for _, s := range steps {
		holder, err := n.ready(ctx)
		if err != nil {
			rows = append(rows, row{step: s, err: err})
			break
		}
		sc := &scene{network: n, board: b, holder: holder, standby: other(holder)}
		s = s.named(sc)
		b.announce(s)
		r := sc.perform(ctx, s)
		if ctx.Err() != nil {
			return rows, context.Cause(ctx)
		}
		rows = append(rows, r)
		b.judged(r)
		between.add(n.obs.Report(from, r.report.From))
		from = r.report.To
		if err := errors.Join(lab.Pass(ctx, toSee), n.mend()); err != nil {
			between.err = errors.Join(between.err, err)
			break
		}
	}
	between.add(n.obs.Report(from, time.Now().Add(-onTheWay)))
	between.err = errors.Join(between.err, quiet(between.report))
	return append(rows, between), ctx.Err()
}

// add counts what was seen in one more time between the steps.
func (r *row) add(seen lab.Report) {
	r.report.Sent += seen.Sent
	r.report.Lost += seen.Lost
	r.report.Duals = append(r.report.Duals, seen.Duals...)
	r.report.Overlaps = append(r.report.Overlaps, seen.Overlaps...)
	if seen.Gap.Length() > r.report.Gap.Length() {
		r.report.Gap = seen.Gap
	}
}

// perform does one step and judges what was seen meanwhile.
func (s *scene) perform(ctx context.Context, what *step) row {
	now := time.Now()
	r := row{step: what, report: lab.Report{From: now, To: now}} // until there is one
	if r.err = lab.Pass(ctx, toRead); r.err != nil {
		return r
	}
	if what.prepare != nil {
		if r.err = what.prepare(ctx, s); r.err != nil {
			return r
		}
	}
	from := time.Now().Add(-onTheWay) // a probe that the fault meets on its way is the fault's
	r.err = what.run(ctx, s)
	to := time.Now()
	r.err = errors.Join(r.err, lab.Pass(ctx, onTheWay))
	r.report = s.obs.Report(from, to)
	r.err = errors.Join(r.err, what.holds(r.report, s.holder))
	return r
}

// named fills in the names of the hosts, and what plays mysqld.
func (s *step) named(sc *scene) *step {
	t := *s
	names := strings.NewReplacer("HOLDER", sc.holder, "STANDBY", sc.standby, "MYSQLD", sc.mysqldName())
	t.Fault, t.Short = names.Replace(s.Fault), names.Replace(s.Short)
	return &t
}

// starting is the first step of every story.
func starting() *step {
	return &step{
		ID: "start", Fault: "first start of the three nodes, in any order", Short: "first start, any order",
		Noted: "not noted; the higher priority wins", Must: "up on one host",
	}
}

// begin starts the nodes, and waits until the VIP is up.
func (n *network) begin(ctx context.Context, b *board) (row, error) {
	r := row{step: starting()}
	b.announce(r.step)
	var started time.Time
	for _, host := range []string{hostB, witness, hostA} {
		b.tell("%s starts: leasehold run, with a member of etcd", host)
		started = time.Now()
		if r.err = errors.Join(n.startNode(host), lab.Pass(ctx, 500*time.Millisecond)); r.err != nil {
			return r, r.err
		}
	}
	b.tell("nobody can know that no other has the VIP, so one ttl (%s) is waited", n.ttl)
	if r.err = n.obs.Prober.WaitAnswer(ctx, "", patience); r.err == nil {
		_, r.err = n.ready(ctx)
	}
	if r.err != nil {
		return r, fmt.Errorf("the VIP does not come up: %w", r.err)
	}
	up, settled := firstAnswer(n.obs.Prober.Since(b.start)), time.Now()
	b.isUp(up)
	r.took = up.Sub(started)
	if r.err = lab.Pass(ctx, toSee); r.err != nil {
		return r, r.err
	}
	to := time.Now().Add(-onTheWay)
	// Of the probes that waited for the first answer in the client's kernel it may
	// have dropped some; that two hosts answer counts from the beginning.
	r.report = n.obs.Report(settled, to)
	r.err = errors.Join(quiet(r.report), never(n.obs.Report(b.start, to)))
	b.judged(r)
	return r, nil
}

// firstAnswer returns when the first probe was answered.
func firstAnswer(probes []lab.Probe) time.Time {
	for _, p := range probes {
		if !p.Answered.IsZero() {
			return p.Answered
		}
	}
	return time.Time{}
}
