package node

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"leasehold/election"
	"leasehold/vip"
)

func TestLoopTakesOverWhenFree(t *testing.T) {
	inWorld(t, func(w *world) {
		const free = 1234567891 * time.Nanosecond // between two heartbeats
		w.set(func() { w.elect.FreeAt = w.now().Add(free) })
		w.run()
		w.pass(free)
		w.want(did{free, "campaign"})
		w.pass(3 * time.Millisecond) // the transaction
		w.tell(w.electChanged, func() {
			w.elect.FreeAt, w.elect.Epoch, w.elect.HeldUntil = 0, 7, election.Deadline(w.now().Add(-3*time.Millisecond), ttl, margin)
		})
		at := free + 3*time.Millisecond
		w.want(did{at, "withdraw"}, did{at, "bind 1.887594059s"}, did{at, "announce"})
		if s := w.loop.Snapshot(); s.Role != "holder" || s.Epoch != 7 || s.Waiting != "" || s.Left != usable-3*time.Millisecond {
			t.Errorf("Snapshot() = %+v; want the holder of epoch 7", s)
		}
		if status := get(w, &w.status); status[len(status)-1] != "holder, epoch 7" {
			t.Errorf("status %q", status)
		}
	})
}

func TestLoopWithdrawsFromFasterNode(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set(func() { w.elect.FreeAt = w.now() })
		w.run()
		w.want(did{0, "campaign"})
		w.tell(w.electChanged, func() { w.elect.FreeAt = w.now().Add(ttl) })
		w.want(did{0, "withdraw"})
		w.pass(ttl)
		w.want(did{ttl, "campaign"})
	})
}

func TestLoopLetsGoBeforeTheEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hold()
		w.pass(usable - letGo - again - 1)
		for _, c := range w.take() {
			if !strings.HasPrefix(c.What, "extend") {
				t.Errorf("before the end: %v", c)
			}
		}
		w.pass(1)
		// by is the end of the tenure, so that no reset of clients is cut short.
		w.want(did{usable - letGo, "remove 70ms"}, did{usable - letGo, "resign epoch 1: the tenure could not be renewed"})
	})
}

// TestLoopUsesLastSecond: lifetimes are whole seconds, and the fake kernel takes
// the VIP at the end of one. It must be there until it is let go.
func TestLoopUsesLastSecond(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hold()
		w.pass(usable - letGo - again - 1)
		if !get(w, &w.addrs).Bound {
			t.Errorf("the VIP is gone %v before it is let go", letGo)
		}
		var extends []time.Duration
		for _, c := range w.take() {
			extends = append(extends, c.At)
		}
		t.Logf("lifetime set anew at %v, of a tenure that ends at %v", extends, usable)
		if len(extends) > 2 || len(extends) == 0 || extends[len(extends)-1] != usable-time.Second-renewSoon {
			t.Errorf("lifetime set anew at %v; want at most twice, last %v after the renewal", extends, usable-time.Second-renewSoon)
		}
	})
}

// TestLoopExtendsPerRenewal: each change of a lifetime is told to every listener
// of the kernel (systemd-networkd, NetworkManager), so there is one for a
// renewal, however often the loop wakes up.
func TestLoopExtendsPerRenewal(t *testing.T) {
	for name, noise := range map[string]time.Duration{"quiet": ttl, "checks speak all the time": 50 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.hold()
				const renewals = 50
				for range renewals {
					for d := time.Duration(0); d < ttl/5; d += min(noise, ttl/5) {
						w.pass(min(noise, ttl/5))
						signal(w.healthChanged)
					}
					w.renew()
				}
				calls := w.take()
				t.Logf("%d renewals, %d calls", renewals, len(calls))
				for _, c := range calls {
					if !strings.HasPrefix(c.What, "extend ") {
						t.Errorf("%v; want the VIP left alone but for its lifetime", c)
					}
				}
				if n := len(calls); n < renewals || n > renewals+1 {
					t.Errorf("%d renewals led to %d refreshes", renewals, n)
				}
			})
		})
	}
}

func TestLoopRepairs(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*vip.State)
		want []string
	}{
		"deleted by hand": {func(s *vip.State) { s.Bound, s.Copies, s.KernelUntil = false, nil, 0 }, []string{"bind 1.870594059s", "announce"}},
		"stray beside it": {func(s *vip.State) { s.Copies = append(slices.Clone(s.Copies), vip.Copy{}) }, []string{"sweep true"}},
		"made permanent":  {func(s *vip.State) { s.Bound, s.Permanent = false, true }, []string{"extend 1.870594059s"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.hold()
				w.tell(w.addrsChanged, func() { c.edit(&w.addrs) })
				var want []did
				for _, what := range c.want {
					want = append(want, did{again, what})
				}
				w.want(want...)
			})
		})
	}
}

func TestLoopRetriesRemoval(t *testing.T) {
	inWorld(t, func(w *world) {
		w.hold()
		w.set(func() { w.fail["remove"] = errors.New("device or resource busy") })
		w.tell(w.healthChanged, func() { w.health.Healthy, w.health.Why = false, "mysqld died" })
		w.want(did{again, "remove 250ms"})
		if s := w.loop.Snapshot(); s.Role != "holder" || s.Failing != "device or resource busy" {
			t.Errorf("role %s, failing %q; want a holder that says what fails", s.Role, s.Failing)
		}
		// Nobody is let in over an address that is still there.
		w.pass(2 * again)
		w.want(did{2 * again, "remove 250ms"}, did{3 * again, "remove 250ms"})
		w.set(func() { delete(w.fail, "remove") })
		w.pass(again)
		w.want(did{4 * again, "remove 250ms"}, did{4 * again, "resign epoch 1: mysqld died"})
		if s := w.loop.Snapshot(); s.Role != "standby" || s.Failing != "" || s.Why != "mysqld died" {
			t.Errorf("role %s because %q, failing %q", s.Role, s.Why, s.Failing)
		}
	})
}

func TestLoopRetriesTakeOver(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set(func() { w.elect.FreeAt = w.now(); w.fail["bind"] = vip.ErrNoLink })
		w.run()
		w.renew()
		w.want(did{0, "campaign"}, did{0, "withdraw"}, did{0, "bind 1.890594059s"})
		w.set(func() { delete(w.fail, "bind") })
		w.pass(again)
		w.want(did{again, "withdraw"}, did{again, "bind 1.870594059s"}, did{again, "announce"})
	})
}

// TestLoopLeavesWhatItCannotBind: a host that cannot bind the VIP must not keep
// it from the others, nor spin: each try changes addresses, and is told of them.
func TestLoopLeavesWhatItCannotBind(t *testing.T) {
	for name, c := range map[string]struct {
		begin  func(*world)
		others bool
		leaves bool
	}{
		"took over":                  {func(w *world) { w.set(func() { w.elect.FreeAt = w.now() }); w.run() }, true, true},
		"took over, nobody else can": {func(w *world) { w.set(func() { w.elect.FreeAt = w.now() }); w.run() }, false, false},
		"lost it while it held": {func(w *world) {
			w.hold()
			w.set(func() { w.addrs.Bound, w.addrs.Copies = false, nil })
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.set(func() {
					w.elect.OthersEligible = c.others
					w.fail = map[string]error{}
				})
				c.begin(w)
				w.take()
				w.set(func() { w.fail["bind"] = errors.New("permission denied"); w.stir = true; w.elect.Epoch = 1 })
				from := w.since()
				for w.since() < from+2*time.Second && (w.since() == from || get(w, &w.elect).HeldUntil != 0) {
					w.renew()
					w.pass(ttl / 30)
				}
				calls := w.take()
				binds := 0
				for _, c := range calls {
					if strings.HasPrefix(c.What, "bind") {
						binds++
					}
				}
				if limit := int((w.since() - from) / again); binds > limit+2 {
					t.Errorf("%d tries in %v; want one every %v", binds, w.since()-from, again)
				}
				last := calls[len(calls)-1].What
				if leaves := strings.HasPrefix(last, "resign epoch 1: the VIP cannot be had here"); leaves != c.leaves {
					t.Fatalf("the last of %d calls is %q; left: %t, want %t", len(calls), last, leaves, c.leaves)
				}
				if !c.leaves {
					return
				}
				if at := w.since() - from; at < giveUp || at > giveUp+200*time.Millisecond {
					t.Errorf("left after %v; want %v", at, giveUp)
				}
				said := get(w, &w.said)
				if m := said[len(said)-1]; m.Eligible || !strings.Contains(m.Why, "permission denied") {
					t.Errorf("says of itself %+v; want that it cannot", m)
				}
				w.tell(w.electChanged, func() { w.elect.FreeAt = w.now() })
				w.pass(barFor / 2)
				w.want()
				w.pass(barFor/2 + time.Second)
				if calls := w.take(); len(calls) != 1 || calls[0].What != "campaign" {
					t.Errorf("did %v after it was barred; want it to ask for the VIP", calls)
				}
			})
		})
	}
}

func TestLoopActsAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(*world)
		why     string
	}{
		"mysqld died": {func(w *world) { w.tell(w.healthChanged, func() { w.health.Healthy, w.health.Why = false, "exited" }) }, "exited"},
		"cable pulled": {func(w *world) {
			w.tell(w.addrsChanged, func() { w.addrs.LinkUp, w.addrs.LinkWhy = false, "no carrier" })
		}, "no carrier"},
		"switchover":    {func(w *world) { w.tell(w.electChanged, func() { w.elect.Yield = "asked for" }) }, "asked for"},
		"lease revoked": {func(w *world) { w.tell(w.electChanged, func() { w.elect.HeldUntil, w.elect.Over = 0, "revoked" }) }, "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.hold()
				const at = 333 * time.Millisecond // no heartbeat
				w.pass(at - again)
				w.want()
				c.happens(w)
				by := "remove 250ms"
				if name == "lease revoked" {
					by = "remove 70ms" // nothing is left of the tenure
				}
				w.want(did{at, by}, did{at, "resign epoch 1: " + c.why})
			})
		})
	}
}

func TestLoopRemovesStrayOnStandby(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(333 * time.Millisecond)
		w.want()
		w.tell(w.addrsChanged, func() { w.addrs.Copies = []vip.Copy{{}} })
		w.want(did{333 * time.Millisecond, "remove 70ms"})
	})
}

func TestLoopDoesNothingBlind(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set(func() { w.addrs, w.elect.FreeAt = vip.State{Copies: []vip.Copy{{}}}, w.now() })
		w.run()
		w.pass(10 * time.Second)
		w.want()
		if get(w, &w.decided) != 0 || len(get(w, &w.said)) != 0 {
			t.Errorf("decided %d times and said %v before the kernel was read", get(w, &w.decided), get(w, &w.said))
		}
		w.tell(w.addrsChanged, func() { w.addrs = vip.State{Known: true, LinkUp: true} })
		w.want(did{10 * time.Second, "campaign"})
		w.pass(10 * time.Second)
		if get(w, &w.decided) != 1 {
			t.Errorf("decided %d times; want once", get(w, &w.decided))
		}
	})
}

func TestLoopDecidedAfterItSucceeded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set(func() { w.addrs.Copies = []vip.Copy{{}}; w.fail["remove"] = errors.New("busy") })
		w.run()
		w.pass(time.Second)
		if get(w, &w.decided) != 0 {
			t.Error("the first decision is said to be carried out while its removal fails")
		}
		w.set(func() { delete(w.fail, "remove") })
		w.pass(time.Second)
		if get(w, &w.decided) != 1 {
			t.Errorf("decided %d times; want once", get(w, &w.decided))
		}
	})
}

func TestLoopIsAliveAndIdle(t *testing.T) {
	for name, begin := range map[string]func(*world){"standby": (*world).run, "holder": func(w *world) {
		w.hold()
		w.set(func() { w.elect.HeldUntil = w.now().Add(time.Hour) })
	}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				begin(w)
				w.pass(time.Second)
				from := len(get(w, &w.alive))
				w.pass(10 * time.Second)
				turns := get(w, &w.alive)[from:]
				t.Logf("%d turns in 10 s of quiet", len(turns))
				if len(turns) > 25 {
					t.Errorf("%d turns in 10 s in which nothing happened", len(turns))
				}
				for i, at := range turns[1:] {
					if at-turns[i] > heartbeat {
						t.Errorf("not alive from %v to %v", turns[i], at)
					}
				}
			})
		})
	}
}

// TestLoopHangsWithTheKernel: a loop that cannot act must not look alive, or
// the watchdog would not bite.
func TestLoopHangsWithTheKernel(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set(func() { w.elect.FreeAt = w.now(); w.hang = make(chan struct{}) })
		w.run()
		w.renew()
		turns := len(get(w, &w.alive))
		w.pass(10 * time.Second)
		if n := len(get(w, &w.alive)); n != turns {
			t.Errorf("alive %d times while a call to the kernel hangs", n-turns)
		}
		close(w.hang)
		synctest.Wait()
		if len(get(w, &w.alive)) == turns {
			t.Error("not alive after the kernel has answered")
		}
	})
}
