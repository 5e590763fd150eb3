// Package health answers one question: is the service on this host well enough
// to be sent clients? It runs the configured checks and adds up their verdicts.
//
// It owns the ways to look (a process, mysqld's own answer, a TCP port, a
// program) and the rules by which single results become a verdict. It knows no
// roles, no addresses and no etcd: what follows from a verdict is decided
// elsewhere.
//
// # How results become a verdict
//
// The mysql, tcp and exec checks run in rounds, one every Interval, each bounded
// by Timeout and never beside another round of the same check. A check is known
// from its first result on, good or bad. A check that has never passed is OK
// with its first success: there is nothing to flap from, and a host that comes
// up should not wait. From then on Fall failures in a row take it down and Rise
// successes in a row bring it back. A service that hangs is therefore noticed
// within Fall × Interval + Timeout.
//
// The process check is different: the end of a process is a fact that the kernel
// reports, not a probe that can err, and counts at once. So it does when mysqld
// hangs up on the mysql check and takes no new connection: that is how a shutdown
// begins, whose end can be minutes away.
package health

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// State is what all checks together say. It does not change once returned.
type State struct {
	// Known: every check has a verdict. It is false at the start and after
	// Restart, until each check has completed a round.
	Known bool
	// Healthy: every check is OK. Never true while Known is false.
	Healthy bool
	// Why is for people: the first check that is not OK and what it found
	// ("mysql: no greeting within 1s"), the first that has no verdict yet, or
	// "all checks OK", or "no checks" where none is configured.
	Why string
	// Results has one entry per check, in the order of the configuration.
	Results []Result
}

// Result is the standing of one check.
type Result struct {
	Name   string        // Config.Name
	Known  bool          // has a verdict
	OK     bool          // the verdict; false while Known is false
	Detail string        // what the last result that counts found; one line, at most 300 bytes
	Since  time.Time     // when Known or OK last changed; zero before the first verdict
	At     time.Time     // when the last round ended; zero before the first
	Took   time.Duration // how long that round took; 0 for an event
}

// Checks runs the checks of one service. Make it with New.
type Checks struct {
	log     hclog.Logger
	checks  []*check
	changed chan struct{}

	mu         sync.Mutex
	generation uint64 // counts Restarts; a result begun in an older one is dropped
}

// check is one configured check with its standing.
type check struct {
	cfg     Config // defaults filled in
	probe   prober // nil for a process check
	process *processCheck
	wake    chan struct{} // one slot: Restart asks for a round now

	// The rest is guarded by Checks.mu.
	verdict verdict
	failure string // what the last failure found
	result  Result
}

// prober is one way to look: it returns what it saw when all is well, or an error
// that says what is wrong in words for an operator, by the deadline of ctx.
type prober interface {
	probe(ctx context.Context) (detail string, err error)
	close()
}

// New returns the checks described by configs, which are validated. Nothing runs
// before Run.
func New(configs []Config, log hclog.Logger) (*Checks, error) {
	return newChecks(configs, log, true)
}

// newChecks is New; connector false keeps the process checks from using the
// process connector, for tests of the other way.
func newChecks(configs []Config, log hclog.Logger, connector bool) (*Checks, error) {
	c := &Checks{log: log, changed: make(chan struct{}, 1)}
	names := make(map[string]bool, len(configs))
	for _, cfg := range configs {
		if err := cfg.Validate(); err != nil {
			return nil, err
		}
		if names[cfg.Name] {
			return nil, fmt.Errorf("check %q is configured twice: status could not tell them apart; give each check its own name", cfg.Name)
		}
		names[cfg.Name] = true
		cfg = cfg.withDefaults()
		ck := &check{cfg: cfg, wake: make(chan struct{}, 1), result: Result{Name: cfg.Name}}
		log := log.With("check", cfg.Name)
		switch {
		case cfg.Process != nil:
			ck.process = newProcessCheck(*cfg.Process, connector, log)
		case cfg.MySQL != nil:
			p, err := newMySQLProbe(*cfg.MySQL, log)
			if err != nil {
				return nil, fmt.Errorf("check %q: %w", cfg.Name, err)
			}
			ck.probe = p
		case cfg.TCP != nil:
			ck.probe = tcpProbe{address: cfg.TCP.Address}
		case cfg.Exec != nil:
			ck.probe = &execProbe{command: cfg.Exec.Command}
		}
		c.checks = append(c.checks, ck)
	}
	return c, nil
}

// Run runs the checks until ctx is cancelled, then returns nil, after all its
// goroutines and child processes have ended (an exec child that not even SIGKILL
// ends is left to the kernel). It can be called once. All checks begin at the
// same moment, so that equal intervals share their wake-ups.
func (c *Checks) Run(ctx context.Context) error {
	begin := time.Now()
	var wg sync.WaitGroup
	for _, ck := range c.checks {
		wg.Go(func() {
			if ck.process != nil {
				c.watchProcess(ctx, ck)
				return
			}
			c.runRounds(ctx, ck, begin)
		})
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}

// Changed receives after State has changed in anything but At and Took. It has
// one slot: several changes may arrive as one.
func (c *Checks) Changed() <-chan struct{} { return c.changed }

// State returns what the checks say now. It never blocks on a check.
func (c *Checks) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Known: true, Healthy: true, Why: "no checks"}
	if len(c.checks) > 0 {
		s.Why = "all checks OK"
	}
	for _, ck := range c.checks {
		r := ck.result
		s.Results = append(s.Results, r)
		switch {
		case !r.Known:
			if s.Healthy {
				s.Why = r.Name + ": not checked yet"
			}
			s.Known, s.Healthy = false, false
		case !r.OK:
			if s.Healthy || strings.HasSuffix(s.Why, ": not checked yet") {
				s.Why = r.Name + ": " + r.Detail // a failure says more than a gap
			}
			s.Healthy = false
		}
	}
	return s
}

// Restart forgets every verdict and has each check run a round at once. Known is
// false until each has completed a round that began after this call; the rule
// for the start applies again, so one result decides.
func (c *Checks) Restart() {
	c.mu.Lock()
	c.generation++
	for _, ck := range c.checks {
		ck.verdict, ck.failure = verdict{}, ""
		ck.result = Result{Name: ck.cfg.Name}
	}
	c.mu.Unlock()
	for _, ck := range c.checks {
		poke(ck.wake)
	}
	poke(c.changed)
}

// outcome is one result of a check.
type outcome struct {
	generation uint64 // in which the round began
	ok         bool
	fact       bool   // not a probe: counts at once
	detail     string // one line
	took       time.Duration
}

// report enters an outcome, and signals Changed when it changed the standing.
func (c *Checks) report(ck *check, o outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.generation != c.generation {
		return // begun before Restart: proves nothing about the time since
	}
	before := ck.result
	fall, rise := ck.cfg.Fall, ck.cfg.Rise
	if o.fact {
		fall, rise = 1, 1
	}
	ck.verdict = ck.verdict.add(o.ok, fall, rise)
	now := time.Now()
	r := &ck.result
	r.Known, r.OK, r.At, r.Took = true, ck.verdict.ok, now, o.took
	o.detail = oneLine(o.detail)
	switch {
	case o.ok == r.OK:
		r.Detail = o.detail
	case r.OK: // failing, but not often enough yet
		r.Detail = fmt.Sprintf("%s (failure %d of %d)", o.detail, ck.verdict.streak, fall)
	default: // passing again, but not often enough yet: the failure is still why
		r.Detail = fmt.Sprintf("%s (good again %d of %d times)", ck.failure, ck.verdict.streak, rise)
	}
	if !o.ok {
		ck.failure = o.detail
	}
	if before.Known != r.Known || before.OK != r.OK {
		r.Since = now
		if r.OK {
			c.log.Info("check passes", "check", r.Name, "detail", r.Detail)
		} else {
			c.log.Warn("check fails", "check", r.Name, "detail", r.Detail)
		}
	} else if before.Detail == r.Detail {
		return
	}
	poke(c.changed)
}

// begun returns the generation that a round starting now belongs to.
func (c *Checks) begun() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.generation
}

// poke puts a token into a one-slot channel, unless one is there already.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
