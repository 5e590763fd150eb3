package node

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/health"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// besideWorld is a world with a router that listens, and as many other nodes of
// ours as have stations.
func besideWorld(t *testing.T, test func(*world), stations ...string) {
	inWorld(t, func(w *world) {
		w.loop.hands.Router, w.loop.memory.cfg.TTL = fakeRouter{w}, ttl
		w.router = vrrpcompat.RouterState{State: vrrpcompat.Backup, Interval: time.Second, Quiet: 5 * time.Second, Source: netip.MustParseAddr("10.20.8.50")}
		for _, s := range stations {
			m := election.Member{}
			m.Node, m.VRRP = "other", s
			w.elect.View.Members = append(w.elect.View.Members, m)
		}
		test(w)
	})
}

// active has the router be Active, with an advert just sent.
func (w *world) active() {
	w.tell(w.routerChanged, func() {
		w.router.State, w.router.Better, w.router.QuietUntil = vrrpcompat.Active, vrrpcompat.Rival{}, w.now().Add(3*time.Second)
	})
}

func (w *world) granted() {
	w.tell(w.electChanged, func() {
		w.elect.Epoch, w.elect.HeldUntil, w.elect.FreeAt = 1, election.Deadline(w.now(), ttl, margin), 0
	})
}

// The words of what was done, in order.
func (w *world) words() []string {
	var all []string
	for _, c := range w.take() {
		all = append(all, c.What)
	}
	return all
}

func TestLoopWaitsForRouter(t *testing.T) {
	besideWorld(t, func(w *world) {
		w.run()
		w.take()
		w.granted()
		w.pass(again)
		if got := w.words(); !slices.Equal(got, []string{"speak, succeeds false 1.890594059s"}) {
			t.Fatalf("with a tenure and a router that listens: %v", got)
		}
		w.tell(w.routerChanged, func() {
			w.router.Better = vrrpcompat.Rival{Source: netip.MustParseAddr("10.20.8.27"), Priority: 150, Adverts: 1}
		})
		if s, want := w.loop.Snapshot(), "the tenure is held and nothing is bound: yields to 10.20.8.27, priority 150"; s.Waiting != want || s.VRRP.State != "Backup" {
			t.Errorf("status says %q, %+v; want %q", s.Waiting, s.VRRP, want)
		}
		w.active()
		if got := w.words(); len(got) != 3 || got[0] != "withdraw" || got[2] != "announce" {
			t.Errorf("Active: %v; want the VIP bound and announced", got)
		}
		w.pass(again)
		w.tell(w.routerChanged, func() { w.router.State, w.router.QuietUntil = vrrpcompat.Backup, 0 })
		if got := w.words(); !slices.Equal(got, []string{"remove"}) || w.loop.Snapshot().Role != "standby" {
			t.Errorf("a better router spoke: %v, as %s; want the VIP removed, and the tenure kept", got, w.loop.Snapshot().Role)
		}
	})
}

// Whether keepalived is invited depends on whether another of ours can take over.
func TestLoopLeaves(t *testing.T) {
	for others, want := range map[bool]string{true: "leave, invite false", false: "leave, invite true"} {
		besideWorld(t, func(w *world) {
			w.set(func() { w.elect.OthersEligible = others })
			w.run()
			w.granted()
			w.active()
			w.pass(again)
			w.take()
			w.tell(w.healthChanged, func() { w.health = health.State{Known: true, Why: "exited"} })
			if got := w.words(); !slices.Equal(got, []string{"remove 250ms", want, "resign epoch 1: exited"}) {
				t.Errorf("others eligible: %t: %v", others, got)
			}
		})
	}
}

// A router that makes itself Active beside ours is about to take the VIP: it is let
// go, once, and bound again when nobody answers.
func TestLoopContested(t *testing.T) {
	besideWorld(t, func(w *world) {
		w.run()
		w.granted()
		w.active()
		w.pass(again)
		w.take()
		w.tell(w.routerChanged, func() { w.router.Contests = 1 })
		w.pass(again)
		got := w.words()
		if len(got) != 4 || got[0] != "remove" || got[1] != "withdraw" || got[3] != "announce" || w.loop.Snapshot().Role != "holder" {
			t.Errorf("%v, as %s; want the VIP removed, and bound again", got, w.loop.Snapshot().Role)
		}
		w.pass(heartbeat)
		if got := w.words(); slices.Contains(got, "remove") {
			t.Errorf("the same contest again: %v", got)
		}
	})
}

// A host that answers for the VIP, and gives way to our advert, is asked again
// soon; one that goes on answering less and less.
func TestLoopAsksAgain(t *testing.T) {
	besideWorld(t, func(w *world) {
		w.set(func() { w.fail["bind"] = &vip.DuplicateError{} })
		w.run()
		w.granted()
		w.active()
		w.take()
		var tries []time.Duration
		for range 4 * 1000 {
			w.pass(time.Millisecond)
			w.tell(w.routerChanged, func() { w.router.QuietUntil = w.now().Add(3 * time.Second) })
			w.set(func() { w.elect.HeldUntil = election.Deadline(w.now(), ttl, margin) })
			for _, c := range w.take() {
				if len(c.What) > 4 && c.What[:4] == "bind" {
					tries = append(tries, c.At)
				}
			}
		}
		if len(tries) < 8 || len(tries) > 16 || tries[0] > 3*askAgain {
			t.Errorf("asked %d times in 4 s, at %v; want the first after %v, and then less and less", len(tries), tries, askAgain)
		}
		w.set(func() { delete(w.fail, "bind") })
		w.tell(w.routerChanged, func() {})
		w.pass(ttl)
	})
}

// What the others say of their routers is how this one knows them.
func TestLoopKnowsFellows(t *testing.T) {
	besideWorld(t, func(w *world) {
		w.run()
		if got := get(w, &w.fellows); len(got) != 1 || got[0] != netip.MustParseAddr("10.20.8.27") {
			t.Errorf("fellows %v", got)
		}
		w.set(func() {
			h := &election.HolderKey{}
			h.Node = "other"
			w.elect.View.Holder = h
		})
		w.tell(w.electChanged, func() {})
		w.set(func() {
			h := &election.HolderKey{}
			h.Node = "db20-024" // this node
			w.elect.View.Holder = h
		})
		w.granted()
		w.pass(again)
		if got := w.words(); !slices.Contains(got, "speak, succeeds true 1.890594059s") {
			t.Errorf("after another of ours that was Active: %v", got)
		}
		if said := get(w, &w.said); said[len(said)-1].VRRP != "Backup 10.20.8.50" {
			t.Errorf("the member key says %q", said[len(said)-1].VRRP)
		}
	}, "Active 10.20.8.27")
}
