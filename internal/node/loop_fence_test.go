package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
)

const (
	briefTTL    = 500 * time.Millisecond
	briefMargin = 5 * time.Millisecond
)

// fencedAddresses are the addresses behind a fence: exact, and shut by a foreign
// claim until they are defended.
type fencedAddresses struct{ fakeAddresses }

func (a fencedAddresses) Lateness() time.Duration { return 0 }

func (a fencedAddresses) Bind(_ context.Context, until boottime.Instant, probe bool) error {
	what := "bind"
	if probe {
		what = "probe and bind"
	}
	err := a.note(what, until)
	if err == nil {
		a.open(until)
		signal(a.addrsChanged)
	}
	return err
}

func (a fencedAddresses) Extend(_ context.Context, until boottime.Instant) error {
	err := a.note("extend", until)
	if err == nil {
		a.open(until)
	}
	return err
}

func (a fencedAddresses) Defend(_ context.Context, until boottime.Instant) error {
	err := a.note("defend", until)
	if err == nil {
		a.open(until)
		a.set(func() { a.addrs.Claim.Defended = a.now() })
	}
	return err
}

func (a fencedAddresses) open(until boottime.Instant) {
	a.set(func() {
		a.addrs.Bound, a.addrs.Copies, a.addrs.KernelUntil = true, []vip.Copy{{Right: true}}, until.Add(time.Second)
		a.addrs.Fence.Until, a.addrs.Fence.Claimed = until, false
	})
}

// inFencedWorld is inWorld with a fence and a ttl of 500 ms.
func inFencedWorld(t *testing.T, test func(*world)) {
	t.Helper()
	inWorld(t, func(w *world) {
		a := fencedAddresses{fakeAddresses{w}}
		w.loop.addrs, w.loop.hands.Addrs = a, a
		w.loop.cfg.TTL, w.loop.memory.cfg.TTL = briefTTL, briefTTL
		w.addrs.Fence = vip.Fence{Kind: "tcx"}
		test(w)
	})
}

// renewed is a renewal of the short ttl that succeeded this moment.
func (w *world) renewed() {
	w.tell(w.electChanged, func() {
		w.elect.HeldUntil, w.elect.Renewed = election.Deadline(w.now(), briefTTL, briefMargin), w.now()
	})
}

// takeOver brings the loop into office behind a fence.
func (w *world) takeOver() {
	w.t.Helper()
	w.set(func() { w.elect.FreeAt = w.now() })
	w.run()
	w.set(func() { w.elect.FreeAt, w.elect.Epoch = 0, 1 })
	w.renewed()
	w.want(did{0, "campaign"}, did{0, "withdraw"}, did{0, "bind 485.099009ms"}, did{0, "announce"})
	w.pass(again)
	w.want()
}

// claimed is the claim of another host, which the kernel shuts the fence for.
func (w *world) claimed() {
	w.tell(w.addrsChanged, func() {
		w.addrs.Fence.Until, w.addrs.Fence.Claimed = 0, true
		w.addrs.Claim.Count++
		w.addrs.Claim.At = w.now()
	})
}

// TestLoopArmsPerRenewal: the fence follows every renewal of a ttl of 500 ms, and
// the VIP is let go in time when there are none.
func TestLoopArmsPerRenewal(t *testing.T) {
	inFencedWorld(t, func(w *world) {
		w.takeOver()
		const renewals = 50
		for range renewals {
			w.pass(briefTTL / 5)
			w.renewed()
			if s := get(w, &w.addrs); s.Fence.Until != get(w, &w.elect).HeldUntil {
				t.Fatalf("at %v the fence is open for %v, the tenure held for %v", w.since(), s.Fence.Until.Sub(w.now()), get(w, &w.elect).HeldUntil.Sub(w.now()))
			}
		}
		if calls := w.take(); len(calls) != renewals || calls[0].What != "extend 485.099009ms" {
			t.Errorf("%d renewals led to %d calls, first %v", renewals, len(calls), calls[0])
		}
		at := w.since() + 485099009*time.Nanosecond - letGo
		w.pass(briefTTL)
		w.want(did{at, "remove 70ms"}, did{at, "resign epoch 1: the tenure could not be renewed"})
	})
}

func TestLoopAnswersClaim(t *testing.T) {
	t.Run("ours still", func(t *testing.T) {
		inFencedWorld(t, func(w *world) {
			w.takeOver()
			w.pass(13 * time.Millisecond)
			w.claimed()
			at := w.since()
			w.want(did{at, fmt.Sprintf("confirm after %v", at)})
			// An answer to a request of before the claim says nothing.
			w.tell(w.electChanged, func() { w.elect.HeldUntil++ })
			w.want()
			w.pass(2 * time.Millisecond)
			w.renewed()
			w.want(did{at + 2*time.Millisecond, "defend 485.099009ms"})
			w.pass(again)
			w.want()
			if s := w.loop.Snapshot(); s.VIP.Claim.Count != 1 || s.VIP.Fence.Until == 0 || s.Role != "holder" {
				t.Errorf("Snapshot() = %+v; want the claim and an open fence", s)
			}
		})
	})
	t.Run("not ours any more", func(t *testing.T) {
		inFencedWorld(t, func(w *world) {
			w.takeOver()
			w.claimed()
			w.take()
			w.tell(w.electChanged, func() { w.elect.HeldUntil, w.elect.Over = 0, "overwritten" })
			w.want(did{again, "remove 70ms"}, did{again, "resign epoch 1: overwritten"})
		})
	})
	t.Run("in a pause, etcd gone", func(t *testing.T) {
		inFencedWorld(t, func(w *world) {
			w.takeOver()
			w.tell(w.electChanged, func() { w.elect.Paused, w.elect.Long, w.elect.HeldUntil = true, true, w.now().Add(time.Hour) })
			w.claimed()
			w.take()
			from := w.since()
			w.pass(time.Second)
			calls := w.take()
			for _, c := range calls {
				if !strings.HasPrefix(c.What, "confirm after ") {
					t.Errorf("%v; want etcd asked and nothing else", c)
				}
			}
			if n := int(time.Second / confirmEvery); len(calls) < n-1 || len(calls) > n+1 {
				t.Errorf("asked %d times in a second; want every %v", len(calls), confirmEvery)
			}
			// A stop waits for an answer, and not for ever.
			w.cancel()
			w.pass(0)
			w.wantEnd(false)
			w.pass(from + claimWait - w.since() + confirmEvery)
			w.wantEnd(true)
			if calls := w.take(); calls[len(calls)-1].What != "leave" || get(w, &w.addrs).Fence.Until != 0 {
				t.Errorf("did %v; want the VIP left, and shut", calls)
			}
		})
	})
	t.Run("under an extension", func(t *testing.T) {
		inFencedWorld(t, func(w *world) {
			w.takeOver()
			// The kernel has shut it, and the report is still on its way.
			w.set(func() { w.fail["extend"] = fmt.Errorf("extend: %w", vip.ErrClaimed) })
			w.renewed()
			w.claimed()
			w.want(did{again, "extend 485.099009ms"}, did{again, "confirm after 20ms"})
			if s := w.loop.Snapshot(); s.Failing != "" {
				t.Errorf("failing: %q; want a claim to be no failure", s.Failing)
			}
		})
	})
}

func TestLoopFindsDuplicate(t *testing.T) {
	inFencedWorld(t, func(w *world) {
		rival := &vip.DuplicateError{Device: "eth0", MAC: "02:00:0a:14:08:63"}
		w.set(func() {
			w.elect.Unclean, w.elect.OthersEligible, w.elect.FreeAt = true, true, w.now()
			w.fail["probe"] = fmt.Errorf("bind: %w", rival)
		})
		w.run()
		w.take()
		w.set(func() { w.elect.FreeAt, w.elect.Epoch = 0, 1 })
		hour := w.now().Add(time.Hour)
		w.tell(w.electChanged, func() { w.elect.HeldUntil = hour })
		w.pass(5*briefTTL - 1)
		var tries []time.Duration
		for _, c := range w.take() {
			if strings.HasPrefix(c.What, "probe and bind") {
				tries = append(tries, c.At)
			} else if c.What != "withdraw" {
				t.Errorf("%v; want the tenure kept and nothing bound", c)
			}
		}
		if want := []time.Duration{0, briefTTL, 2 * briefTTL, 3 * briefTTL, 4 * briefTTL}; !slices.Equal(tries, want) {
			t.Errorf("tried at %v; want %v", tries, want)
		}
		s, said := w.loop.Snapshot(), get(w, &w.said)
		if !strings.Contains(s.Failing, rival.MAC) || !strings.Contains(s.Waiting, rival.MAC) || !s.Eligible {
			t.Errorf("failing %q, waiting %q, eligible %t; want the MAC of who answers, and no bar", s.Failing, s.Waiting, s.Eligible)
		}
		if len(said) != 1 || !said[0].Eligible {
			t.Errorf("said %+v; want eligible throughout: another node would find the same", said)
		}
		w.set(func() { w.fail = map[string]error{} })
		w.pass(1)
		at := 5 * briefTTL
		w.want(did{at, "withdraw"}, did{at, "probe and bind " + hour.Sub(t0.Add(at)).String()}, did{at, "announce"})
		if s := w.loop.Snapshot(); s.Role != "holder" || s.Failing != "" || s.Waiting != "" {
			t.Errorf("%s, failing %q, waiting %q", s.Role, s.Failing, s.Waiting)
		}
	})
}

// TestLoopForgetsDuplicate: a tenure that is over takes with it that somebody
// answered, or a clean one after it would begin with a wait.
func TestLoopForgetsDuplicate(t *testing.T) {
	inFencedWorld(t, func(w *world) {
		w.set(func() {
			w.elect.Unclean = true
			w.fail["probe"] = &vip.DuplicateError{Device: "eth0", MAC: "02:00:0a:14:08:63"}
		})
		w.run()
		w.set(func() { w.elect.Epoch = 1 })
		w.renewed()
		w.take()
		w.tell(w.healthChanged, func() { w.health.Healthy, w.health.Why = false, "mysqld died" })
		w.pass(again)
		w.want(did{again, "withdraw"}, did{again, "remove 250ms"}, did{again, "resign epoch 1: mysqld died"})
		w.tell(w.healthChanged, func() { w.health.Healthy = true })
		w.set(func() { w.elect.Unclean, w.elect.Epoch = false, 2 })
		w.pass(again)
		at := w.since()
		w.renewed()
		w.want(did{at, "withdraw"}, did{at, "bind 485.099009ms"}, did{at, "announce"})
	})
}

// TestLoopLosesGuard: where the config requires a fence, a node without one lets
// go and does not ask for the VIP.
func TestLoopLosesGuard(t *testing.T) {
	inFencedWorld(t, func(w *world) {
		w.takeOver()
		w.tell(w.addrsChanged, func() { w.addrs.NoGuard = "bpf refused" })
		w.want(did{again, "remove 250ms"}, did{again, "resign epoch 1: bpf refused"})
		said := get(w, &w.said)
		if m := said[len(said)-1]; m.Eligible || m.Why != "bpf refused" {
			t.Errorf("says of itself %+v", m)
		}
		w.tell(w.electChanged, func() { w.elect.FreeAt = w.now() })
		w.pass(time.Second)
		w.want()
	})
}
