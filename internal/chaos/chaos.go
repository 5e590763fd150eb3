// Package chaos runs the real daemons, three members of etcd and a mysqld for
// each node under a random schedule of faults that a seed repeats, and judges
// from outside whether the promises were kept: who spoke as the VIP on the wire,
// which kernels had it, how long nobody answered and why, what etcd said.
//
// The rules: two never speak as the VIP (J1), nor do two kernels have it where
// there is no fence (J2); every time without service has a cause and ends within
// a bound (J3); when all faults have ended, the VIP is answered by the one host
// that etcd names (J4); while HA is paused the VIP stays (J5); no daemon ends by
// itself, complains of a bug of its own or leaves anything behind (J6).
//
// There is no netem on the kernels that it was made for. Frames are lost by
// nftables at the switch, and delayed by a detour through this process.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"leasehold/internal/lab"
)

// Options say what to run. The zero values are filled in by Run.
type Options struct {
	Binary   string // the leasehold binary
	Duration time.Duration
	Seed     uint64 // 0: one is drawn
	Round    int    // only this round, from 1; 0: all
	Nodes    int    // 2 or 3; 0: by the seed
	TTL      time.Duration
	Fence    string    // the value of the config key; default auto
	Out      io.Writer // what happens, line by line
	Keep     string    // where what is left of a failed run goes; default os.TempDir

	plan Plan // of every round, instead of one by the seed
}

func (o *Options) fill() {
	if o.Seed == 0 {
		o.Seed = uint64(rand.Uint32()) //nolint:gosec // any will do
	}
	if o.Nodes == 0 {
		o.Nodes = 2 + int(o.Seed%2)
	}
	if o.Fence == "" {
		o.Fence = "auto"
	}
	if o.TTL == 0 {
		o.TTL = time.Second
		if !o.fenced() {
			o.TTL = 3 * time.Second
		}
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Keep == "" {
		o.Keep = os.TempDir()
	}
}

// fenced reports whether the daemons have a fence.
func (o Options) fenced() bool { return o.Fence != "off" }

// Failure is a run in which promises were not kept.
type Failure struct {
	Seed       uint64
	Violations []Violation
	Dir        string // with the report, the schedule and the logs
}

func (f *Failure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d promises were not kept; report and logs: %s", f.Seed, len(f.Violations), f.Dir)
	for _, v := range f.Violations[:min(len(f.Violations), 10)] {
		fmt.Fprintf(&b, "\n%s", v)
	}
	return b.String()
}

// Run runs rounds of faults until the time is over, and judges. The error is a
// *Failure when promises were not kept; another one says that there was no
// verdict. The lab must be empty; it is closed.
func Run(ctx context.Context, l *lab.Lab, o Options) (err error) {
	o.fill()
	defer func() { err = errors.Join(err, l.Close()) }()
	if o.Binary, err = filepath.Abs(o.Binary); err != nil { // it is started from the hosts' directories
		return fmt.Errorf("find the binary: %w", err)
	}
	began := time.Now()
	w, err := openWorld(ctx, l, o)
	if err != nil {
		return fmt.Errorf("build the network: %w\n%s", err, l.Logs(10))
	}
	defer w.close()
	fmt.Fprintf(o.Out, "seed %d, %d nodes, ttl %v, fence: %s; up after %v\n", o.Seed, o.Nodes, o.TTL, o.Fence, round(time.Since(began)))
	t := &Trace{Nodes: w.nodes, Start: time.Now(), TTL: o.TTL, Fenced: o.fenced()}
	for n := 1; time.Since(t.Start) < o.Duration && ctx.Err() == nil; n++ {
		if o.Round != 0 {
			n = o.Round
		}
		plan := o.plan
		if plan == nil {
			plan = NewPlan(o.Seed, n, w.nodes, roundLength)
		}
		fmt.Fprintf(o.Out, "round %d: %d faults\n", n, len(plan))
		if err := w.round(ctx, plan); err != nil {
			return err
		}
		c := w.calm(ctx)
		t.Calms = append(t.Calms, c)
		if c.Err != "" {
			break // the next round would begin on ruins
		}
	}
	w.collect(ctx, t)
	return w.verdict(t)
}

// round carries out a plan and returns when all its faults have ended.
func (w *world) round(ctx context.Context, plan Plan) error {
	start := time.Now()
	var wg sync.WaitGroup
	for _, f := range plan {
		wg.Go(func() { w.act(ctx, start, f) })
	}
	wg.Wait()
	return ctx.Err()
}

// patience bounds each step of a fault: an operator's command hangs when etcd is
// not there.
const patience = 5 * time.Second

// act lets one fault begin and end at its times.
func (w *world) act(ctx context.Context, start time.Time, f Fault) {
	if lab.Pass(ctx, time.Until(start.Add(f.At))) != nil {
		return
	}
	e := &Event{Fault: f, From: time.Now()}
	k, err := kindOf(f.Kind)
	var over end
	if err == nil {
		step, cancel := context.WithTimeout(ctx, patience)
		over, err = k.begin(step, w, e)
		cancel()
	}
	w.mu.Lock()
	w.journal = append(w.journal, e)
	w.mu.Unlock()
	if over != nil {
		_ = lab.Pass(ctx, time.Until(start.Add(f.At+f.For))) // cut short by the end of the run
		step, cancel := context.WithTimeout(context.WithoutCancel(ctx), generous)
		err = errors.Join(err, over(step))
		cancel()
	}
	if err != nil {
		e.Err = firstLine(err)
	}
	e.To = time.Now()
	fmt.Fprintf(w.o.Out, "  %6.2f–%5.2f s  %s\n", e.From.Sub(start).Seconds(), e.To.Sub(start).Seconds(), e)
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func kindOf(name string) (kind, error) {
	for _, k := range kinds() {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("there is no fault %q", name)
}

// calm waits until all is well and looks who has the VIP then.
func (w *world) calm(ctx context.Context) (c Calm) {
	c.From = time.Now()
	err := w.tidy(ctx)
	if err == nil {
		err = w.back(ctx)
	}
	if err == nil {
		err = w.obs.Prober.Watch(ctx, 1500*time.Millisecond)
	}
	c.To = time.Now()
	if err != nil {
		c.Err = err.Error()
		fmt.Fprintf(w.o.Out, "  NOT calm: %s\n", c.Err)
		return c
	}
	for _, m := range w.obs.Report(c.To.Add(-time.Second), c.To).Moves {
		c.By = append(c.By, m.To)
	}
	c.Holder = w.ledger.now().Holder
	if c.Kernels, err = w.Holders(w.nodes...); err != nil {
		c.Err = err.Error()
	}
	w.measure()
	fmt.Fprintf(w.o.Out, "  calm after %v: %s holds, epoch %d\n", round(time.Since(c.From)), c.Holder, w.ledger.now().Epoch)
	return c
}

// tidy does what the operator does after an outage: no pause, no alarm.
func (w *world) tidy(ctx context.Context) error {
	if err := w.etcd.WaitReady(ctx); err != nil {
		return err
	}
	return lab.Wait(ctx, generous, "etcd to take commands", func() (bool, error) {
		_, err := w.ctl(ctx, "del", serviceKeys+"pause")
		for _, h := range members() {
			err = errors.Join(err, w.etcd.NoSpace(ctx, h, false))
		}
		return err == nil, err
	})
}

// back waits until the VIP is answered and all nodes are eligible. After a host
// with a paused tenure lost its power that takes what the tenure has left.
func (w *world) back(ctx context.Context) error {
	if p := w.ledger.now(); p.long(w.o.TTL) {
		limit := p.Promise + generous
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		if _, at := w.obs.Prober.Answering(); time.Since(at) > w.o.TTL {
			fmt.Fprintf(w.o.Out, "  a tenure of %v stands on %s\n", p.Promise, p.Owner)
		}
		if err := w.obs.Prober.WaitAnswer(ctx, "", limit); err != nil {
			return err
		}
	}
	return w.settled(ctx)
}

// keepDir makes the directory of a failed run.
func (o Options) keepDir() (string, error) {
	dir, err := os.MkdirTemp(o.Keep, fmt.Sprintf("leasehold-chaos-%d-", o.Seed))
	if err != nil {
		return "", fmt.Errorf("keep what is left of the run: %w", err)
	}
	return dir, nil
}

// keepLogs copies the daemons' logs to a directory.
func (w *world) keepLogs(dir string) error {
	var errs []error
	for _, u := range w.units {
		text, err := os.ReadFile(u.process().Log)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(u.name, " ", "-")+".log"), text, 0o600)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
