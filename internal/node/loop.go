package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/vip"
)

// elector is what the loop needs of package election; *election.Candidate is one.
// None of its methods blocks.
type elector interface {
	State() election.State
	Changed() <-chan struct{}
	Campaign(want bool)
	Say(election.MemberValue)
	Release(epoch int64, why string)
	Shorten(epoch int64, until boottime.Instant)
	ShortDeadline() boottime.Instant
	Record(election.HistoryValue)
	Leave()
}

// addresses is what the loop needs of package vip; *vip.Set is one. Its methods
// wait for the kernel, because the order of effects is the safety property.
type addresses interface {
	State() vip.State
	Changed() <-chan struct{}
	Bind(ctx context.Context, until boottime.Instant, probe bool) error
	Extend(ctx context.Context, until boottime.Instant) error
	Release(ctx context.Context, by boottime.Instant) error
	Sweep(ctx context.Context, keepRight bool) error
	Announce(ctx context.Context) error
	Lateness() time.Duration
}

// checks is what the loop needs of package health; *health.Checks is one.
type checks interface {
	State() health.State
	Changed() <-chan struct{}
	Restart()
}

// Config is one service on one node.
type Config struct {
	Service      string
	Node         string
	Priority     int
	Preempt      bool
	LastStanding bool // keep the VIP on the last holder when nobody is healthy
	Version      string
}

// Hooks tell the process about a loop. They are called from the loop's own
// goroutine and must not block.
type Hooks struct {
	Decided func(service string)         // the first decision is carried out
	Alive   func(service string)         // each turn
	Role    func(service, status string) // the role in words, when it changes
}

// Loop is the thin shell around Step for one service.
type Loop struct {
	cfg    Config
	hooks  Hooks
	log    hclog.Logger
	elect  elector
	addrs  addresses
	checks checks
	now    func() boottime.Instant

	role     Role
	since    time.Time
	why      string
	failing  string // the action that failed last turn; empty: none
	decided  bool
	memory   Memory
	member   election.MemberValue
	before   predecessor
	snapshot atomic.Pointer[Snapshot]
}

// New returns a loop that does nothing yet.
func New(cfg Config, e elector, a addresses, c checks, hooks Hooks, log hclog.Logger) *Loop {
	return &Loop{cfg: cfg, hooks: hooks, log: log, elect: e, addrs: a, checks: c, now: boottime.Now, since: time.Now(), why: "started"}
}

const (
	// heartbeat is the longest that the loop sleeps: the watchdog is fed by it.
	heartbeat = 500 * time.Millisecond
	// again is the pause after actions, whose effects the kernel tells us of, and
	// after one that failed.
	again = 20 * time.Millisecond
)

// Run decides and acts until stopping is done and the VIP is let go, or left
// where it is because HA is paused. It returns nil.
func (l *Loop) Run(stopping context.Context) error {
	work := context.WithoutCancel(stopping)
	stop := stopping.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		f := l.facts(stopping.Err() != nil)
		acted, ok := l.turn(work, f)
		if ok && !acted && l.finished(f) {
			return nil
		}
		timer.Reset(l.memory.Pause(l.role, f, l.now(), acted, ok))
		elect, addrs, checks := l.elect.Changed(), l.addrs.Changed(), l.checks.Changed()
		if !ok { // what the failed action has stirred up must not be what starts the next try
			elect, addrs, checks = nil, nil, nil
		}
		select {
		case <-stop:
			stop = nil
		case <-timer.C:
		case <-elect:
		case <-addrs:
		case <-checks:
		}
	}
}

// turn takes one decision and carries it out.
func (l *Loop) turn(ctx context.Context, f Facts) (acted, ok bool) {
	next, do := Step(l.role, f)
	started := l.now()
	err := l.perform(ctx, f, do)
	l.memory.Note(f, do, err)
	if err != nil {
		if msg := err.Error(); msg != l.failing {
			l.log.Error("action failed, tried again", "role", l.role, "err", err)
			l.failing = msg
		}
		next = l.role
	} else {
		l.failing = ""
	}
	if next != l.role {
		l.changed(f, next, do, l.now().Sub(started))
	}
	l.say(f)
	l.publish(f)
	if f.KernelKnown && err == nil && !l.decided {
		l.decided = true
		call(l.hooks.Decided, l.cfg.Service)
		l.tell(f)
	}
	call(l.hooks.Alive, l.cfg.Service)
	return len(do) > 0, err == nil
}

// finished reports whether a stopping loop has nothing left to do. While HA is
// paused the VIP is left where it is, once the tenure covers the pause.
func (l *Loop) finished(f Facts) bool {
	switch {
	case !f.Stopping:
		return false
	case f.Paused && f.Long:
		l.log.Info("HA is paused: the VIP stays on this host without a daemon", "epoch", l.elect.State().Epoch)
		l.elect.Leave()
		return true
	}
	return l.role == Standby && (!f.KernelKnown || !f.Now.Before(f.HeldUntil))
}

// perform carries out actions in their order, and none after one that failed.
func (l *Loop) perform(ctx context.Context, f Facts, do []Action) error {
	for _, a := range do {
		if err := l.act(ctx, f, a); err != nil {
			return fmt.Errorf("%s: %w", a.Verb, err)
		}
	}
	return nil
}

func (l *Loop) act(ctx context.Context, f Facts, a Action) error {
	switch a.Verb {
	case BindVIP:
		return l.addrs.Bind(ctx, a.Until, false)
	case AnnounceVIP:
		return l.addrs.Announce(ctx)
	case ExtendVIP:
		return l.addrs.Extend(ctx, a.Until)
	case RemoveVIP:
		return l.addrs.Release(ctx, a.Until)
	case SweepStrays:
		l.log.Warn("copies of the VIP that should not be there are removed", "copies", fmt.Sprint(l.addrs.State().Copies))
		return l.addrs.Sweep(ctx, true)
	case Campaign:
		l.elect.Campaign(true)
	case Withdraw:
		l.elect.Campaign(false)
	case Resign:
		l.elect.Say(l.memberValue(Standby, f))
		l.elect.Release(l.elect.State().Epoch, a.Why)
	case Shorten:
		l.elect.Shorten(l.elect.State().Epoch, a.Until.Add(l.addrs.Lateness()))
	case RestartChecks:
		l.checks.Restart()
	}
	return nil
}

func call(f func(string), s string) {
	if f != nil {
		f(s)
	}
}
