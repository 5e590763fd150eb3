// Package interop lives in one VRRP router with Debian's keepalived: it builds
// networks on which the real daemons of both kinds share a VIP, brings every
// take-over about in both directions, and judges from the wire. Migrations from
// keepalived to Leasehold and back are walked step by step, as the documentation
// says.
//
// At no instant may two hosts answer where one of them is ours. Beside the mixed
// pairs it shows what two keepaliveds do on their own.
//
// What is brought about is data: see the files called rows.
package interop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"leasehold/internal/lab"
)

// Options say what to run.
type Options struct {
	Binary   string    // the leasehold binary
	Trials   []Trial   // default All
	Parallel int       // networks at once; default 4
	Log      io.Writer // a line for each step; default none
}

// Result is what was seen, in the order of the trials.
type Result struct {
	Trials []Outcome
	Took   time.Duration
}

// Outcome is one trial and what became of it.
type Outcome struct {
	Trial
	Lines []Line
	Err   error // it could not be carried out, from the step after the last line on
	// Timeline is all that happened around what failed; empty when nothing did.
	Timeline string
}

// Line is one step and what was seen of it.
type Line struct {
	Step
	Seen  Seen
	Wrong []string // what was not as it must be
}

// generous is the limit for what is waited for and not judged.
const generous = 20 * time.Second

// Run carries out the trials, each on a network of its own that is gone when it
// returns, and returns what was seen. The error says that there is no result; what
// failed is in the result, see Err. It needs what package lab needs.
func Run(ctx context.Context, o Options) (*Result, error) {
	var err error
	if o.Binary, err = filepath.Abs(o.Binary); err != nil { // it is started from the hosts' directories
		return nil, fmt.Errorf("find the binary: %w", err)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	o.Log = &lines{to: o.Log}
	began := time.Now()
	r := &Result{Trials: make([]Outcome, len(o.Trials))}
	next := make(chan int)
	var wg sync.WaitGroup
	for range cmp.Or(o.Parallel, 4) {
		wg.Go(func() {
			for i := range next {
				r.Trials[i] = run(ctx, o, o.Trials[i])
			}
		})
	}
	for i := range o.Trials {
		next <- i
	}
	close(next)
	wg.Wait()
	r.Took = time.Since(began)
	return r, ctx.Err()
}

// run carries out one trial.
func run(ctx context.Context, o Options, t Trial) (out Outcome) {
	out.Trial = t
	l, err := lab.New(ctx, lab.Config{Hosts: t.hosts(), VIP: t.watched(), IPv6: t.watched().Addr().Is6()})
	if err != nil {
		out.Err = err
		return out
	}
	s := &stage{Lab: l, trial: t, binary: o.Binary, log: o.Log}
	defer func() {
		if err := l.Close(); err != nil {
			out.Err = errors.Join(out.Err, fmt.Errorf("close the network: %w", err))
		}
	}()
	if err := s.open(ctx); err != nil {
		out.Err = fmt.Errorf("build the network: %w\n%s", err, l.Logs(10))
		return out
	}
	for _, step := range t.Steps {
		line, err := s.step(ctx, step)
		if err != nil {
			out.Err = fmt.Errorf("%s: %w\n%s", step.What, err, l.Logs(15))
			break
		}
		if step.What != "" {
			out.Lines = append(out.Lines, line)
		}
	}
	if err := s.stopInstruments(); err != nil {
		out.Err = errors.Join(out.Err, err)
	}
	out.Timeline = s.timeline(out)
	return out
}

// Err says what was not as it must be.
func (r *Result) Err() error {
	var errs []error
	for _, o := range r.Trials {
		if o.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", o.Name, o.Err))
		}
		for _, l := range o.Lines {
			if len(l.Wrong) > 0 {
				errs = append(errs, fmt.Errorf("%s: %s: %s", o.Name, l.What, strings.Join(l.Wrong, "; ")))
			}
		}
	}
	return errors.Join(errs...)
}

// lines lets several write whole lines.
type lines struct {
	mu sync.Mutex
	to io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}
