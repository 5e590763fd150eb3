// Package demo shows Leasehold at work on one machine: two MySQL hosts, a witness
// and a client on a test network, the faults that operators fear one after the
// other, what a client saw of each, and the verdict.
//
// Every node is what a user would run, one process of this very binary; only the
// network is a test's (package lab). All that is made has the demo's name: its
// namespaces, and /run/NAME with everything that is written.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"leasehold/vip/fence"
)

// Options say what to show.
type Options struct {
	Binary  string // the leasehold binary that the nodes run
	Command string // how a person calls it
	Name    string // of the network, DefaultName by default
	NoMySQL bool   // stand-ins in the place of mysqld
	NoStory bool   // no faults: only the start
	Out     io.Writer
	Err     io.Writer
	Getenv  func(string) string // for TERM and NO_COLOR
}

// down is the command that removes the demo.
func (o Options) down() string {
	command := o.Command + " demo --down"
	if o.Name != DefaultName {
		command += " --name " + o.Name
	}
	return command
}

// ErrFailed says that something did not hold that must. What it was has been said.
var ErrFailed = errors.New("not everything held that must, see above")

// ErrInterrupted says that the demo was ended before its end, and that everything
// is removed.
var ErrInterrupted = errors.New("interrupted; everything is removed")

// Run shows it, and removes everything before it returns. It fails with ErrFailed
// when a step did not hold what it must, and with ErrInterrupted when ctx ends.
func Run(ctx context.Context, o Options) error { return run(ctx, o, nil) }

// keeping is what is done between the story and the end, with what came of the
// story.
type keeping func(ctx context.Context, n *network, shown error) error

// run is Run, with a keeping or nil.
func run(ctx context.Context, o Options, keep keeping) error {
	p := place{o.Name}
	if err := missing(o); err != nil {
		return err
	}
	lock, err := p.lock()
	if errors.Is(err, errBusy) {
		return fmt.Errorf("one runs here or is kept (pid %d); remove it with: %s, or give this one another --name", p.owner(), o.down())
	}
	if err != nil {
		return err
	}
	b := newBoard(o, time.Now())
	shown, left := p.use(ctx, o, b, keep)
	if left = errors.Join(left, p.unlock(lock)); left != nil {
		return errors.Join(shown, fmt.Errorf("not everything is removed, %s tries again: %w", o.down(), left))
	}
	if ctx.Err() != nil {
		return ErrInterrupted
	}
	if shown == nil || errors.Is(shown, ErrFailed) {
		b.print(fmt.Sprintf("%s in all. Nothing is left behind.\n", time.Since(b.start).Round(time.Second)))
	}
	return errors.Join(shown, b.err())
}

// use shows the demo in a place that is locked, and clears it. left says what could
// not be removed.
func (p place) use(ctx context.Context, o Options, b *board, keep keeping) (shown, left error) {
	if _, err := p.clear(); err != nil { // of one that was killed
		return nil, err
	}
	if err := p.mount(); err != nil {
		return err, nil
	}
	defer func() {
		_, err := p.clear()
		left = errors.Join(left, err)
	}()
	_, unfenced := fence.Probe()
	b.introduce(o, unfenced)
	n, err := build(ctx, p, o, unfenced == nil)
	if err != nil {
		return err, nil
	}
	shown = b.show(ctx, n, o)
	if keep != nil && (shown == nil || errors.Is(shown, ErrFailed)) {
		shown = keep(ctx, n, shown)
	}
	if ctx.Err() != nil {
		b.print("\nremoving everything …\n")
	}
	return shown, n.close()
}

// show tells the story on the board, and prints the table.
func (b *board) show(ctx context.Context, n *network, o Options) error {
	telling, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	b.onTrouble(stop)
	var story []*step
	if !o.NoStory {
		story = steps(n.ttl)
	}
	stopDrawing := b.drawing(telling, n)
	rows, err := n.tell(telling, b, story)
	stopDrawing()
	switch {
	case telling.Err() != nil:
		return context.Cause(telling)
	case err != nil:
		return fmt.Errorf("%w\n%s", err, n.lab.Logs(10))
	}
	if _, err := n.obs.Stop(); err != nil { // what it may have missed nobody can judge
		return err
	}
	if o.NoStory {
		return nil
	}
	return b.finish(rows)
}

// finish prints the table, and says whether everything held.
func (b *board) finish(rows []row) error {
	b.print("\n")
	if err := writeTable(b.out, rows, b.on); err != nil {
		return err
	}
	b.print("\ngap: the longest time without an answer; lost: probes without one, of one every\n" +
		"2 ms; two: questions that two hosts answered. a is " + hostA + ", b is " + hostB + ".\n")
	if slices.ContainsFunc(rows, func(r row) bool { return strings.HasPrefix(r.gap(), "~") }) {
		b.print("~: this machine was too busy to ask each 2 ms; the gap was no longer than that.\n")
	}
	b.print("\n")
	if err := b.err(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.err != nil {
			return ErrFailed
		}
	}
	return nil
}
