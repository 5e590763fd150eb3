package node

import (
	"errors"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/health"
	"leasehold/vip"
)

func (w *world) stop() {
	w.cancel()
	w.pass(0)
}

func TestLoopStops(t *testing.T) {
	t.Run("standby", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.run()
			w.stop()
			w.wantEnd(true)
			w.want()
		})
	})
	t.Run("candidate", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { w.elect.FreeAt = w.now() })
			w.run()
			w.take()
			w.stop()
			w.want(did{0, "withdraw"})
			w.pass(again)
			w.wantEnd(true)
		})
	})
	t.Run("candidate whose take-over is late", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { w.elect.FreeAt = w.now() })
			w.run()
			w.take()
			w.set(func() { w.elect.Epoch, w.elect.HeldUntil = 1, election.Deadline(w.now(), ttl, margin) })
			w.stop()
			w.want(did{0, "withdraw"}, did{0, "remove 250ms"}, did{0, "resign epoch 1: stopping"})
			w.pass(again)
			w.wantEnd(true)
		})
	})
	t.Run("holder", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.hold()
			w.stop()
			w.want(did{again, "remove 250ms"}, did{again, "resign epoch 1: stopped"})
			w.pass(again)
			w.wantEnd(true)
			w.want()
		})
	})
	t.Run("holder whose VIP cannot be removed", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.hold()
			w.set(func() { w.fail["remove"] = errors.New("busy") })
			w.stop()
			w.pass(time.Second)
			w.wantEnd(false)
			for _, c := range w.take() {
				if c.What != "remove 250ms" {
					t.Errorf("%v; want nothing but the removal tried again", c)
				}
			}
		})
	})
	t.Run("before the kernel was read", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { w.addrs = vip.State{} })
			w.run()
			w.stop()
			w.wantEnd(true)
			w.want()
		})
	})
}

// paused brings a holder into a pause whose tenure covers it.
func (w *world) paused() {
	w.hold()
	w.tell(w.electChanged, func() { w.elect.Paused, w.elect.Long, w.elect.HeldUntil = true, true, w.now().Add(time.Hour) })
	w.pass(2 * time.Second) // its lifetime has been set to the long one
	w.take()
}

func TestLoopStopsInPause(t *testing.T) {
	t.Run("holder", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.paused()
			w.stop()
			w.want(did{w.since(), "leave"})
			w.wantEnd(true)
		})
	})
	t.Run("holder whose tenure is not long yet", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.hold()
			w.tell(w.electChanged, func() { w.elect.Paused = true })
			w.stop()
			for range 10 { // etcd is slow: the short tenure is renewed, and the VIP must live as long
				w.pass(ttl / 5)
				w.renew()
				if !get(w, &w.addrs).Bound {
					w.t.Fatalf("at %v: the paused VIP is gone", w.since())
				}
			}
			w.wantEnd(false)
			w.tell(w.electChanged, func() { w.elect.Long, w.elect.HeldUntil = true, w.now().Add(time.Hour) })
			w.pass(again)
			w.wantEnd(true)
			// What the kernel was promised last is a second: without the long lifetime
			// the VIP would be gone before the pause is.
			calls, lifetime := w.take(), get(w, &w.addrs).KernelUntil.Sub(w.now())
			if len(calls) == 0 || calls[len(calls)-1].What != "leave" || lifetime < time.Hour-2*time.Second {
				t.Errorf("did %v and left the VIP a lifetime of %v", calls, lifetime)
			}
		})
	})
	t.Run("holder whose tenure never gets long", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.hold()
			w.tell(w.electChanged, func() { w.elect.Paused = true })
			w.stop()
			w.pass(usable)
			w.wantEnd(true)
			calls := w.take()
			if n := len(calls); n < 2 || calls[n-2] != (did{usable - letGo, "remove 70ms"}) {
				t.Errorf("did %v; want the VIP removed before the end of the tenure", calls)
			}
		})
	})
	t.Run("standby", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { w.elect.Paused = true })
			w.run()
			w.stop()
			w.want()
			w.wantEnd(true)
		})
	})
}

func TestLoopEndsPause(t *testing.T) {
	inWorld(t, func(w *world) {
		w.paused()
		w.tell(w.healthChanged, func() { w.health = health.State{Known: true, Why: "mysqld restarts"} })
		w.want()
		at := w.since()
		w.tell(w.electChanged, func() { w.elect.Paused, w.elect.PauseOver = false, true })
		// The kernel's deadline first, then the key, which counts its lateness in.
		w.want(did{at, "extend 1.890594059s"}, did{at, "shorten epoch 1 2.890594059s"}, did{at, "restart checks"})
	})
}

func TestLoopAdopts(t *testing.T) {
	left := func(w *world) {
		w.addrs = vip.State{Known: true, LinkUp: true, Bound: true, Copies: []vip.Copy{{Right: true}}, KernelUntil: w.now().Add(time.Second)}
		w.elect = election.State{AdoptUntil: w.now().Add(time.Second)}
		w.health = health.State{}
	}
	t.Run("the tenure still stands", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { left(w) })
			w.run()
			w.pass(123 * time.Millisecond)
			w.want() // etcd has not spoken, nor have the checks
			w.tell(w.electChanged, func() {
				w.elect.Known, w.elect.AdoptUntil, w.elect.Epoch, w.elect.HeldUntil = true, 0, 4, election.Deadline(w.now(), ttl, margin)
			})
			at := 123 * time.Millisecond
			w.want(did{at, "withdraw"}, did{at, "bind 1.890594059s"}, did{at, "announce"})
			if s := w.loop.Snapshot(); s.Role != "holder" || s.Why != "the tenure of the last run is still ours" {
				t.Errorf("%s because %q", s.Role, s.Why)
			}
		})
	})
	t.Run("etcd does not answer", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { left(w); w.addrs.KernelUntil = w.now().Add(2 * time.Second) })
			w.run()
			w.pass(time.Second - 1)
			w.want()
			w.pass(1)
			w.want(did{time.Second, "remove 70ms"})
		})
	})
	t.Run("another node holds by now", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { left(w) })
			w.run()
			w.tell(w.electChanged, func() { w.elect = election.State{Known: true, Synced: true} })
			w.want(did{0, "remove 70ms"})
		})
	})
	t.Run("stopped again before etcd has answered", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { left(w) })
			w.run()
			w.stop()
			w.want(did{0, "remove 70ms"})
			w.pass(again)
			w.wantEnd(true)
		})
	})
	t.Run("stopped again in a pause", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.set(func() { left(w); w.elect.Paused, w.elect.Long = true, true })
			w.run()
			w.stop()
			w.want(did{0, "leave"})
			w.wantEnd(true)
		})
	})
}

func TestLoopSaysWhatChanged(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.pass(10 * time.Second)
		if said := get(w, &w.said); len(said) != 1 || !said[0].Eligible || said[0].Node != "db20-024" || said[0].Priority != 100 {
			w.t.Fatalf("said %+v in 10 s in which nothing changed; want one value", said)
		}
		ill := func(why string) { w.tell(w.healthChanged, func() { w.health.Healthy, w.health.Why = false, why }) }
		ill("no greeting")
		w.pass(time.Second)
		ill("read only")
		w.pass(time.Second)
		w.tell(w.healthChanged, func() { w.health.Healthy, w.health.Why = true, "all checks OK" })
		want := []struct {
			why   string
			since time.Duration
		}{{"", 0}, {"no greeting", 10 * time.Second}, {"read only", 11 * time.Second}, {"", 12 * time.Second}}
		said := get(w, &w.said)
		if len(said) != len(want) {
			w.t.Fatalf("said %+v", said)
		}
		for i, m := range said {
			if m.Why != want[i].why || m.Eligible != (want[i].why == "") || m.Since.Sub(w.start) != want[i].since {
				t.Errorf("said %+v; want %q since %v", m, want[i].why, want[i].since)
			}
		}
	})
}

func TestLoopRecordsTenures(t *testing.T) {
	for name, c := range map[string]struct {
		view func(*world) election.View
		want election.HistoryValue
	}{
		"first of all": {func(*world) election.View { return election.View{} }, election.HistoryValue{Why: "first tenure"}},
		"released": {func(w *world) election.View {
			return election.View{Tenure: &election.TenureKey{TenureValue: election.TenureValue{Epoch: 6, Node: "db20-025", State: election.TenureReleased, Why: "stopped"}, Seen: w.now()}}
		}, election.HistoryValue{From: "db20-025", Why: "stopped", GapMS: 12}},
		"ran out": {func(w *world) election.View {
			return election.View{
				Tenure: &election.TenureKey{TenureValue: election.TenureValue{Epoch: 6, Node: "db20-025", State: election.TenureHeld}, Seen: w.now().Add(-time.Hour)},
				Holder: &election.HolderKey{Seen: w.now().Add(-time.Second)},
			}
		}, election.HistoryValue{From: "db20-025", Why: "lease of db20-025 ran out", GapMS: 1012}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.set(func() { w.elect.View = c.view(w); w.elect.FreeAt = w.now() })
				w.run()
				w.pass(12 * time.Millisecond)
				w.tell(w.electChanged, func() {
					w.elect.Epoch, w.elect.FreeAt = 7, 0
					w.elect.View.Tenure = &election.TenureKey{TenureValue: election.TenureValue{Epoch: 7, Node: "db20-024", State: election.TenureHeld}, Seen: w.now()}
					w.elect.HeldUntil = election.Deadline(w.now(), ttl, margin)
				})
				c.want.Epoch, c.want.To, c.want.At = 7, "db20-024", w.start.UTC().Add(12*time.Millisecond)
				for range 20 { // renewals, and a VIP that is deleted and comes back
					w.pass(500 * time.Millisecond)
					w.renew()
					w.tell(w.addrsChanged, func() { w.addrs.Bound, w.addrs.Copies = false, nil })
				}
				if history := get(w, &w.history); len(history) != 1 || history[0] != c.want {
					t.Errorf("recorded %+v; want %+v, once", history, c.want)
				}
			})
		})
	}
}
