package election

import (
	"testing"
	"time"
)

// TestDeadlineArithmetic: from when the renewal was sent, less what two clocks
// that run 1 % apart may differ by, less the margin.
func TestDeadlineArithmetic(t *testing.T) {
	const ttl = 101 * time.Second
	if got := Deadline(1, ttl, 50*time.Millisecond) - 1; time.Duration(got) != 99*time.Second-50*time.Millisecond {
		t.Errorf("a ttl of %v is usable for %v, want 98.95s", ttl, time.Duration(got))
	}
	w, h := started(t, 1)
	sent := h.clock().Add(time.Second)
	r := h.core.renewal(0)
	r.Done(Reply{Sent: sent, Got: sent.Add(700 * time.Millisecond), Wall: h.wall(), Cluster: 42, Succeeded: true})
	if got, want := h.core.mine.deadline, Deadline(sent, simTTL, simMargin); got != want {
		t.Errorf("the deadline is off by %v: it counts from the sending\n%s", got.Sub(want), w.story())
	}
}

// TestTakeOverComparesEverything: what changes between the last look and the
// take-over makes it fail.
func TestTakeOverComparesEverything(t *testing.T) {
	for name, change := range map[string]func(w *world, keys Keys){
		"holder renewed late": func(w *world, keys Keys) {
			w.etcd.put(keys.Holder(), `{"node":"n0","ttl":"3s","epoch":1}`, w.etcd.grant(time.Minute))
		},
		"paused": func(w *world, keys Keys) { w.etcd.put(keys.Pause(), "", 0) },
		"tenure rewritten": func(w *world, keys Keys) {
			w.etcd.put(keys.Tenure(), `{"node":"n0","ttl":"3s","epoch":1,"lease":"1","state":"held"}`, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, h := started(t, 2)
			h.crash()
			other := w.nodes[1]
			if h == other {
				other = w.nodes[0]
			}
			w.until(5*time.Second, "the take-over is on its way", func() bool { return other.core.flying[KindTake] > 0 })
			other.lag = 500 * time.Millisecond // does not see the change in time
			change(w, h.keys())
			w.run(30 * time.Millisecond)
			if other.core.mine.held || other.bound() {
				t.Fatalf("took over what had changed\n%s", w.story())
			}
		})
	}
}

// TestMoveToALongLeaseComparesThePause: the pause may be gone by the time the
// move arrives.
func TestMoveToALongLeaseComparesThePause(t *testing.T) {
	w, h := started(t, 2)
	w.etcd.put(h.keys().Pause(), "", 0)
	w.until(time.Second, "the move is on its way", func() bool { return h.core.mine.moving != nil })
	w.etcd.delete(h.keys().Pause())
	w.check = func() string {
		var v HolderValue
		if kv := w.etcd.kv[h.keys().Holder()]; kv == nil || decode(kv.Value, &v) != nil || v.Paused {
			return "the key moved to a long lease without a pause"
		}
		return ""
	}
	w.run(5 * time.Second)
	if !h.holding || h.epoch != 1 {
		t.Fatalf("the VIP moved\n%s", w.story())
	}
}

// TestAdoptOnlyWhatStillHangs: a state file speaks of one epoch and of one lease,
// or of the one that the key was about to move to.
func TestAdoptOnlyWhatStillHangs(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(w *world, s *Saved)
		want bool
	}{
		"as written":      {func(*world, *Saved) {}, true},
		"another lease":   {func(_ *world, s *Saved) { s.Now.Lease++ }, false},
		"the lease to be": {func(_ *world, s *Saved) { s.Next, s.Now.Lease = s.Now, 1 }, true},
		"an older epoch":  {func(_ *world, s *Saved) { s.Epoch-- }, false},
		"released": {func(w *world, s *Saved) {
			w.etcd.put("/leasehold/mysql/tenure", `{"node":"n0","ttl":"3s","epoch":1,"lease":"`+s.Now.Lease.String()+`","state":"released"}`, 0)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, h := started(t, 1)
			h.kill()
			s := *h.file
			c.edit(w, &s)
			h.boot(&s)
			w.run(30 * time.Millisecond)
			if got := h.core.mine.held; got != c.want {
				t.Errorf("adopted: %v, want %v\n%s", got, c.want, w.story())
			}
		})
	}
}

// TestDeletionOfWhatWasNotSeen: the end of a key at a revision that we have not
// seen says that we missed its last renewal; at one that we have seen, nothing.
func TestDeletionOfWhatWasNotSeen(t *testing.T) {
	w, h := started(t, 2)
	c := w.nodes[1].core
	if h == w.nodes[1] {
		c = w.nodes[0].core
	}
	seen := c.seen
	rev := modRev(c.view.Holder)
	for _, step := range []struct {
		prev int64
		move bool
	}{{rev, false}, {rev + 1, true}, {0, true}} {
		v, at := c.view, c.seen
		later := c.now.Add(100 * time.Millisecond)
		e := Event{Deleted: true, PrevRev: step.prev}
		e.KV = w.etcd.kv[c.keys.Holder()]
		c.change(e, later, h.wall())
		if moved := c.seen == later; moved != step.move {
			t.Errorf("deleted at revision %d after %d was seen: the wait begins anew: %v, want %v", step.prev, rev, moved, step.move)
		}
		c.view, c.seen = v, at
	}
	if c.seen != seen {
		t.Error("the test has changed what it looks at")
	}
}
