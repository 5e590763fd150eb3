package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lateness = time.Second // of the kernel, as package vip says it
	ttl      = 3 * time.Second
	margin   = 50 * time.Millisecond
)

// usable is what the loop has of a tenure that was renewed this moment.
var usable = election.Deadline(0, ttl, margin).Sub(0) - lateness

// did is one effect of the loop on its world.
type did struct {
	At   time.Duration // since the test began
	What string        // "bind 1.89s": with how long from then on
}

func (c did) String() string { return fmt.Sprintf("%v %s", c.At, c.What) }

// world is etcd, the kernel and the checks of one host in virtual time. It
// writes down what the loop does to them, in order.
type world struct {
	t      *testing.T
	start  time.Time
	loop   *Loop
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	elect   election.State
	addrs   vip.State
	health  health.State
	fail    map[string]error // by the first word of the call
	hang    chan struct{}    // Bind does not return before it is closed
	stir    bool             // a Bind that fails has changed addresses all the same
	calls   []did
	said    []election.MemberValue // without what is said again
	history []election.HistoryValue
	alive   []time.Duration
	decided int
	status  []string

	router  vrrpcompat.RouterState
	fellows []netip.Addr

	electChanged, addrsChanged, healthChanged, routerChanged chan struct{}
}

type (
	fakeElector   struct{ *world }
	fakeAddresses struct{ *world }
	fakeChecks    struct{ *world }
	fakeRouter    struct{ *world }
)

// inWorld runs a test in a bubble of virtual time, with a host that is well,
// has no VIP, and knows of an etcd without a tenure.
func inWorld(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, start: time.Now(), ended: make(chan struct{}), fail: map[string]error{},
			elect:        election.State{Known: true, Synced: true},
			addrs:        vip.State{Known: true, LinkUp: true},
			health:       health.State{Known: true, Healthy: true},
			electChanged: make(chan struct{}, 1), addrsChanged: make(chan struct{}, 1), healthChanged: make(chan struct{}, 1), routerChanged: make(chan struct{}, 1),
		}
		w.loop = New(Config{Service: "mysql", Node: "db20-024", Priority: 100, Version: "1.0"},
			fakeElector{w}, fakeAddresses{w}, fakeChecks{w}, nil, Hooks{
				Decided: func(string) { w.mu.Lock(); defer w.mu.Unlock(); w.decided++ },
				Alive:   func(string) { w.mu.Lock(); defer w.mu.Unlock(); w.alive = append(w.alive, w.since()) },
				Role:    func(_, s string) { w.mu.Lock(); defer w.mu.Unlock(); w.status = append(w.status, s) },
			}, hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: t.Output()}))
		w.loop.hands.Now = w.now
		test(w)
	})
}

func (w *world) since() time.Duration  { return time.Since(w.start) }
func (w *world) now() boottime.Instant { return t0.Add(w.since()) }

// run starts the loop, which the end of the test stops.
func (w *world) run() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() {
		defer close(w.ended)
		if err := w.loop.Run(ctx); err != nil {
			w.t.Errorf("Run() = %v; want nil", err)
		}
	}()
	w.t.Cleanup(func() {
		w.set(func() { w.fail, w.elect = map[string]error{}, election.State{} })
		cancel()
		<-w.ended
	})
	synctest.Wait()
}

// set changes what the world is, without telling the loop.
func (w *world) set(edit func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	edit()
}

// tell changes what the world is and has all that follows at once happen.
func (w *world) tell(changed chan struct{}, edit func()) {
	w.set(edit)
	signal(changed)
	synctest.Wait()
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// renew is a renewal that succeeded this moment.
func (w *world) renew() {
	w.tell(w.electChanged, func() { w.elect.HeldUntil = election.Deadline(w.now(), ttl, margin) })
}

// hold brings the loop into office, one tenure of its own old, and forgets how.
func (w *world) hold() {
	w.t.Helper()
	w.set(func() { w.elect.FreeAt = w.now() })
	w.run()
	w.want(did{0, "campaign"})
	w.tell(w.electChanged, func() {
		w.elect.FreeAt, w.elect.Epoch, w.elect.HeldUntil = 0, 1, election.Deadline(w.now(), ttl, margin)
	})
	w.want(did{0, "withdraw"}, did{0, "bind 1.890594059s"}, did{0, "announce"})
	w.pass(again)
	w.want()
}

// take returns the calls since the last take.
func (w *world) take() []did {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

// want holds that since the last look the loop did this and nothing else.
func (w *world) want(want ...did) {
	w.t.Helper()
	if got := w.take(); !slices.Equal(got, want) {
		w.t.Fatalf("at %v the loop has done\n  %v\nwant\n  %v", w.since(), got, want)
	}
}

// wantEnd holds that Run has returned, or that it has not.
func (w *world) wantEnd(want bool) {
	w.t.Helper()
	ended := false
	select {
	case <-w.ended:
		ended = true
	default:
	}
	if ended != want {
		w.t.Fatalf("at %v: Run has ended: %t; want %t", w.since(), ended, want)
	}
}

// note writes a call down. until is zero where the call has none.
func (w *world) note(what string, until boottime.Instant) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if until != 0 {
		what += " " + until.Sub(w.now()).String()
	}
	w.calls = append(w.calls, did{w.since(), what})
	word, _, _ := strings.Cut(what, " ")
	return w.fail[word]
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func get[T any](w *world, what *T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *what
}

func (e fakeElector) State() election.State    { return get(e.world, &e.elect) }
func (e fakeElector) Changed() <-chan struct{} { return e.electChanged }
func (e fakeElector) Leave()                   { _ = e.note("leave", 0) }

func (e fakeElector) Campaign(want bool) {
	_ = e.note(map[bool]string{true: "campaign", false: "withdraw"}[want], 0)
}

func (e fakeElector) Say(m election.MemberValue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.said); n == 0 || e.said[n-1] != m {
		e.said = append(e.said, m)
	}
}

func (e fakeElector) Release(epoch int64, why string) {
	_ = e.note(fmt.Sprintf("resign epoch %d: %s", epoch, why), 0)
	e.set(func() { e.elect.HeldUntil = 0 })
}

func (e fakeElector) Shorten(epoch int64, until boottime.Instant) {
	_ = e.note(fmt.Sprintf("shorten epoch %d", epoch), until)
	e.set(func() { e.elect.HeldUntil, e.elect.Long, e.elect.PauseOver = until, false, false })
}

func (e fakeElector) Confirm(after boottime.Instant) {
	_ = e.note(fmt.Sprintf("confirm after %v", after.Sub(t0)), 0)
}

func (e fakeElector) ShortDeadline() boottime.Instant { return election.Deadline(e.now(), ttl, margin) }

func (e fakeElector) Record(h election.HistoryValue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.history = append(e.history, h)
}

func (a fakeAddresses) State() vip.State         { return get(a.world, &a.addrs) }
func (a fakeAddresses) Changed() <-chan struct{} { return a.addrsChanged }
func (a fakeAddresses) Lateness() time.Duration  { return lateness }

func (a fakeAddresses) Announce(context.Context) error { return a.note("announce", 0) }
func (a fakeAddresses) Ask(context.Context) error      { return a.note("ask", 0) }

func (r fakeRouter) State() vrrpcompat.RouterState { return get(r.world, &r.router) }
func (r fakeRouter) Changed() <-chan struct{}      { return r.routerChanged }

func (r fakeRouter) Speak(until boottime.Instant, succeeds bool) {
	_ = r.note(fmt.Sprintf("speak, succeeds %t", succeeds), until)
	r.set(func() { r.router.Told = until })
}

func (r fakeRouter) Leave(invite bool) {
	_ = r.note(fmt.Sprintf("leave, invite %t", invite), 0)
	r.set(func() { r.router.Told, r.router.QuietUntil, r.router.State = 0, 0, vrrpcompat.Backup })
}

func (r fakeRouter) Fellows(sources []netip.Addr) {
	r.set(func() { r.fellows = sources })
}

// Bind is the kernel's: the VIP is there, and goes by itself at the end of its
// lifetime of whole seconds, at the earliest moment that it may.
func (a fakeAddresses) Bind(_ context.Context, until boottime.Instant, _ bool) error {
	err := a.note("bind", until)
	if hang := get(a.world, &a.hang); hang != nil {
		<-hang
	}
	if err == nil {
		err = a.lives(until)
		signal(a.addrsChanged)
	} else if get(a.world, &a.stir) {
		signal(a.addrsChanged)
	}
	return err
}

func (a fakeAddresses) Defend(_ context.Context, until boottime.Instant) error {
	return a.note("defend", until)
}

func (a fakeAddresses) Extend(_ context.Context, until boottime.Instant) error {
	err := a.note("extend", until)
	if err == nil {
		err = a.lives(until)
	}
	return err
}

func (a fakeAddresses) lives(until boottime.Instant) error {
	seconds, ok := vip.Lifetime(a.now(), until)
	if !ok {
		return vip.ErrNoRoom
	}
	end := a.now().Add(time.Duration(seconds) * time.Second)
	a.set(func() { a.addrs.Bound, a.addrs.Copies, a.addrs.KernelUntil = true, []vip.Copy{{Right: true}}, end })
	time.AfterFunc(end.Sub(a.now()), func() {
		a.set(func() {
			if a.addrs.KernelUntil == end {
				a.addrs.Bound, a.addrs.Copies, a.addrs.KernelUntil = false, nil, 0
			}
		})
		signal(a.addrsChanged)
	})
	return nil
}

func (a fakeAddresses) Release(_ context.Context, by boottime.Instant) error {
	err := a.note("remove", by)
	if err == nil {
		a.set(func() { a.addrs.Bound, a.addrs.Copies, a.addrs.KernelUntil = false, nil, 0 })
		signal(a.addrsChanged)
	}
	return err
}

func (a fakeAddresses) Sweep(_ context.Context, keepRight bool) error {
	err := a.note(fmt.Sprintf("sweep %t", keepRight), 0)
	if err == nil {
		a.set(func() {
			a.addrs.Copies = slices.DeleteFunc(slices.Clone(a.addrs.Copies), func(c vip.Copy) bool { return !c.Right })
		})
		signal(a.addrsChanged)
	}
	return err
}

func (c fakeChecks) State() health.State      { return get(c.world, &c.health) }
func (c fakeChecks) Changed() <-chan struct{} { return c.healthChanged }
func (c fakeChecks) Restart()                 { _ = c.note("restart checks", 0) }
