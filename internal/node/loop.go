package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/boottime"
	"leasehold/vip"
)

// Config is one service on one node.
type Config struct {
	Service      string
	Node         string
	Priority     int
	Preempt      bool
	LastStanding bool // keep the VIP on the last holder when nobody is healthy
	Version      string
	TTL          time.Duration // of a tenure outside a pause

	// Strain says why another host should rather hold; empty: it need not. It is
	// called each turn and must not block; nil means never.
	Strain func() string
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
	elect  Elector
	addrs  Addresses
	checks Checks
	hands  Hands
	memory *Memory

	role     Role
	since    time.Time
	why      string
	failing  string // the action that failed last turn; empty: none
	alarmed  string // the MAC that was last complained of
	decided  bool
	before   predecessor
	snapshot atomic.Pointer[Snapshot]
}

// New returns a loop that does nothing yet.
// r is nil where there is no keepalived to live beside.
func New(cfg Config, e Elector, a Addresses, c Checks, r Router, hooks Hooks, log hclog.Logger) *Loop {
	l := &Loop{
		cfg: cfg, hooks: hooks, log: log, elect: e, addrs: a, checks: c, memory: NewMemory(cfg),
		since: time.Now(), why: "started",
	}
	l.hands = Hands{Elect: e, Addrs: a, Checks: c, Router: r, Memory: l.memory, Log: log, Now: boottime.Now, Wall: time.Now}
	return l
}

// Run decides and acts until stopping is done and the VIP is let go, or left
// where it is because HA is paused. It returns nil.
//
// It is not locked to a thread of its own, which was not seen to help: with twelve
// runnable processes on two cores, the 99th percentile from a timer through a reply
// on a socket to a loop like this was 44, 69 and 103 ms, locked 40, 98 and 149 ms
// (three times 1000, both at once).
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
		timer.Reset(l.memory.Rest(l.role, f, l.hands.Now(), acted, ok))
		elect, addrs, checks, router := l.elect.Changed(), l.addrs.Changed(), l.checks.Changed(), l.routerChanged()
		if !ok { // what the failed action has stirred up must not be what starts the next try
			elect, addrs, checks, router = nil, nil, nil, nil
		}
		select {
		case <-stop:
			stop = nil
		case <-timer.C:
		case <-elect:
		case <-addrs:
		case <-checks:
		case <-router:
		}
	}
}

// routerChanged is never ready where there is no router.
func (l *Loop) routerChanged() <-chan struct{} {
	if l.hands.Router == nil {
		return nil
	}
	return l.hands.Router.Changed()
}

// facts reads what is known at this moment.
func (l *Loop) facts(stopping bool) Facts {
	r := l.hands.Read(stopping)
	if l.role != Holder {
		l.before.note(r.Election)
	}
	return r.Facts()
}

// turn takes one decision and carries it out.
func (l *Loop) turn(ctx context.Context, f Facts) (acted, ok bool) {
	next, do := Step(l.role, f)
	started := l.hands.Now()
	err := l.perform(ctx, f, do)
	ok = l.memory.Note(f, do, err)
	if err == nil {
		l.failing = ""
		if next != l.role {
			l.changed(f, next, do, l.hands.Now().Sub(started))
		}
	} else {
		l.complain(err)
	}
	l.hands.Say(l.role, f)
	l.publish(f)
	if f.KernelKnown && err == nil && !l.decided {
		l.decided = true
		call(l.hooks.Decided, l.cfg.Service)
		l.tell(f)
	}
	call(l.hooks.Alive, l.cfg.Service)
	return len(do) > 0, ok
}

// complain logs an action that failed, once for as long as it fails the same way.
func (l *Loop) complain(err error) {
	var dup *vip.DuplicateError
	switch {
	case errors.Is(err, vip.ErrClaimed):
		return
	case errors.As(err, &dup):
		// Beside keepalived the first answers are those of one that gives way.
		if dup.MAC != l.alarmed && (l.hands.Router == nil || l.memory.answers > givingWay) {
			l.log.Error("VIP not bound, the tenure is kept and the VIP tried again", "err", err)
			l.alarmed = dup.MAC
		}
	case err.Error() != l.failing:
		l.log.Error("action failed, tried again", "role", l.role, "err", err)
	}
	l.failing = err.Error()
}

// finished reports whether a stopping loop has nothing left to do.
func (l *Loop) finished(f Facts) bool {
	done, leave := Finished(l.role, f)
	if leave {
		l.log.Info("HA is paused: the VIP stays on this host without a daemon", "epoch", l.elect.State().Epoch)
		if f.Claimed {
			l.log.Error("another host claims the VIP and etcd did not confirm that it is ours: the VIP stays shut until a daemon runs again")
		}
		l.elect.Leave()
	}
	return done
}

// perform carries out actions in their order, and none after one that failed.
func (l *Loop) perform(ctx context.Context, f Facts, do []Action) error {
	for _, a := range do {
		if err := l.hands.Do(ctx, f, a); err != nil {
			return err
		}
	}
	return nil
}

func call(f func(string), s string) {
	if f != nil {
		f(s)
	}
}
