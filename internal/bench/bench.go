// Package bench measures Leasehold and Debian's keepalived side by side on the
// test network: for how long a client is without service after each fault, and
// what the daemons cost while nothing happens.
//
// Times are seen from outside, as in package cases. Between two faults all is
// repaired and the VIP is put back; that is not measured.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"leasehold/internal/cases"
	"leasehold/internal/lab"
)

// Options say what to measure.
type Options struct {
	Binary string        // the leasehold binary; must be static or findable
	Rounds int           // per fault and system, default 10
	Quiet  time.Duration // how long the cost is measured, default 30s
	Quick  bool          // two faults, once each, keepalived as set only the first, nothing worth quoting: for tests
	Log    io.Writer     // a line per round; default none
}

// ttl is Leasehold's default.
const ttl = 3 * time.Second

// contender is one column of the table.
type contender struct {
	name string
	slow bool // takes seconds to settle
	system
	faults map[string][]Round // by the fault's name; none where there is no such thing
	cost   cost
}

// Round is what one fault did.
type Round struct {
	Outage time.Duration // time without service
	Two    bool          // two hosts answered
	Path   string        // who answered: "a → b"
}

// cost is what a system used while nothing happened.
type cost struct {
	holder, standby usage
	etcd            usage // of the etcd member on the holder's host; zero where etcd is not used
}

// bench is one run.
type bench struct {
	Options
	site *cases.Site
}

// Run measures and returns what was measured, which it prints nowhere but in
// Log. It needs what package lab needs, and builds one test network that is gone
// when it returns. Commands and tests must have called Relay before.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	if o.Quick {
		o.Rounds, o.Quiet = 1, 2*time.Second
	}
	if o.Rounds == 0 {
		o.Rounds = 10
	}
	if o.Quiet == 0 {
		o.Quiet = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	l, err := lab.New(ctx, lab.Config{})
	if err != nil {
		return nil, err
	}
	// Closed before the relay, which waits for the programs under it.
	closed := false
	closeLab := func() error {
		if closed {
			return nil
		}
		closed = true
		return l.Close()
	}
	r, err := newRelay(filepath.Join(l.Dir(), "relay.sock"))
	if err != nil {
		return nil, errors.Join(err, closeLab())
	}
	serving, stopServing := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- r.Run(serving) }()
	defer func() {
		closeErr := closeLab()
		stopServing()
		err = errors.Join(err, closeErr, <-served)
	}()
	b := &bench{Options: o}
	result, err := b.run(ctx, l, r)
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, l.Logs(15))
	}
	return result, err
}

func (b *bench) run(ctx context.Context, l *lab.Lab, r *relay) (*Result, error) {
	contenders, err := b.open(ctx, l, r)
	if err != nil {
		return nil, err
	}
	for i, f := range faults() {
		// All systems meet one fault before the next, so that a machine that
		// grows busier does not favour the first.
		for _, c := range contenders {
			if f.name == "switchover" && c.Switchover() == nil || b.Quick && (!f.quick || c.slow && i > 0) {
				continue
			}
			if err := b.faults(ctx, c, f); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.name, f.name, err)
			}
		}
	}
	for _, c := range contenders {
		if err := b.quiet(ctx, c); err != nil {
			return nil, fmt.Errorf("%s: quiet: %w", c.name, err)
		}
	}
	return &Result{Options: b.Options, contenders: contenders, machine: machine(ctx, b.Binary)}, nil
}

// open builds the site and the systems on it, none of them running.
func (b *bench) open(ctx context.Context, l *lab.Lab, r *relay) ([]*contender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	script, err := leaseholdBinary(l, r, self, b.Binary)
	if err != nil {
		return nil, err
	}
	if b.site, err = cases.Open(ctx, l, cases.Options{Binary: script, TTL: ttl}); err != nil {
		return nil, err
	}
	ours := &leasehold{b.site}
	if err := errors.Join(ours.Settle(ctx), ours.Stop(ctx)); err != nil {
		return nil, fmt.Errorf("leasehold: %w", err)
	}
	if _, err := b.site.Obs.Stop(); err != nil {
		return nil, err
	}
	vrrp := func(name string, config func(lab.KeepalivedConfig, *cases.Site, string) (string, error)) *contender {
		return newContender(name, &keepalived{
			site: b.site, relay: r, self: self, config: config, daemons: map[string]*lab.Process{},
		})
	}
	asSet := vrrp("keepalived as set", configured)
	asSet.slow = true
	return []*contender{newContender("Leasehold", ours), asSet, vrrp("keepalived fast", fast)}, nil
}

func newContender(name string, s system) *contender {
	return &contender{name: name, system: s, faults: map[string][]Round{}}
}

// findProgram finds what is in sbin too, which not everybody's PATH has.
func findProgram(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(filepath.Join("/usr/sbin", name))
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return path, nil
}

// faults brings a fault about as often as it was asked for.
func (b *bench) faults(ctx context.Context, c *contender, f fault) (err error) {
	// New instruments: what a report reads grows with their age.
	if b.site.Obs, err = b.site.Observe(hosts()...); err != nil {
		return err
	}
	defer func() {
		_, stopErr := b.site.Obs.Stop()
		err = errors.Join(err, stopErr)
	}()
	for i := range b.Rounds {
		if err := c.Settle(ctx); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		if f.before != nil {
			if err := f.before(ctx, b.site, i); err != nil {
				return err
			}
		}
		// Both have periods of up to a second: script, renewals, advertisements.
		// The faults are spread over it, as chance would.
		if !b.Quick {
			if err := lab.Pass(ctx, 500*time.Millisecond+time.Duration(i)*time.Second/time.Duration(b.Rounds)); err != nil {
				return err
			}
		}
		r, err := b.round(ctx, c, f)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Fprintf(b.Log, "%-18s %-14s %2d/%d %8.1f ms  %s, two hosts: %t\n",
			c.name, f.name, i+1, b.Rounds, ms(r.Outage), r.Path, r.Two)
		c.faults[f.name] = append(c.faults[f.name], r)
		if f.after == nil {
			continue
		}
		if err := f.after(ctx, c); err != nil {
			return err
		}
	}
	return c.Stop(ctx)
}

// late is how long a round is watched after the VIP is up on host b: a second
// host, or an address that comes back, counts as well.
const late = 500 * time.Millisecond

// round brings a fault about once. Host b takes the VIP in the end, whatever the
// fault.
func (b *bench) round(ctx context.Context, c *contender, f fault) (Round, error) {
	b.site.Obs.Wire.Take()
	from := time.Now()
	if err := f.do(ctx, c, b.site); err != nil {
		return Round{}, fmt.Errorf("bring the fault about: %w", err)
	}
	err := lab.Wait(ctx, generous, "host b to have the VIP", func() (bool, error) {
		held, err := b.site.Holders(lab.B)
		return len(held) > 0, err
	})
	if err != nil {
		return Round{}, err
	}
	if err := b.site.Obs.Prober.WaitAnswer(ctx, "", generous); err != nil {
		return Round{}, err
	}
	if err := lab.Pass(ctx, late); err != nil {
		return Round{}, err
	}
	report := b.site.Obs.Report(from, time.Now())
	round := Round{
		Outage: report.Gap.Length(), Path: report.Path(),
		Two: answeredTwice(b.site.Obs.Wire.Take(), b.site.VIP.Addr()),
	}
	if f.process {
		i := slices.IndexFunc(report.Moves, func(m lab.Move) bool { return m.To == lab.B })
		if i < 0 {
			return round, fmt.Errorf("answered by %s, want host b in the end", report.Path())
		}
		round.Outage = report.Moves[i].At.Sub(from)
	}
	return round, nil
}

// quiet measures what a system uses while nothing happens and nobody asks.
func (b *bench) quiet(ctx context.Context, c *contender) (err error) {
	if b.site.Obs, err = b.site.Observe(hosts()...); err != nil {
		return err
	}
	err = c.Settle(ctx)
	_, stopErr := b.site.Obs.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	if !b.Quick {
		if err := lab.Pass(ctx, 3*time.Second); err != nil { // what a start costs is over
			return err
		}
	}
	_, ours := c.system.(*leasehold)
	read := func() (cost, error) {
		var k cost
		var errs [3]error
		k.holder, errs[0] = usageOf(c.Daemon(lab.A).Pid())
		k.standby, errs[1] = usageOf(c.Daemon(lab.B).Pid())
		if ours {
			k.etcd, errs[2] = usageOf(b.site.Etcd.Process(lab.A).Pid())
		}
		return k, errors.Join(errs[:]...)
	}
	before, err := read()
	if err != nil {
		return err
	}
	if err := lab.Pass(ctx, b.Quiet); err != nil {
		return err
	}
	if c.cost, err = read(); err != nil {
		return err
	}
	c.cost.holder.cpu -= before.holder.cpu
	c.cost.standby.cpu -= before.standby.cpu
	c.cost.etcd.cpu -= before.etcd.cpu
	if err := b.site.WaitHeld(ctx, time.Second, lab.A); err != nil {
		return fmt.Errorf("the VIP moved in a time of quiet: %w", err)
	}
	return c.Stop(ctx)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
