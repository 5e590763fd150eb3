package election

import (
	"testing"
	"time"
)

// TestShortLeaseNeedsAShortDeadlineEachTime: a pause that follows on the heels of
// one that has just been removed makes the deadline long again. When it ends, the
// key may only go back to the short lease once the kernel's deadline is short anew.
func TestShortLeaseNeedsAShortDeadlineEachTime(t *testing.T) {
	w, h := started(t, 2)
	keys := h.keys()
	w.etcd.put(keys.Pause(), "", 0)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Second)
	w.check = func() string {
		if h.core.mine.held && !h.core.mine.long && h.core.mine.deadline.Sub(h.clock()) > simTTL {
			return "a deadline far away on the short lease"
		}
		return ""
	}
	w.etcd.delete(keys.Pause())
	w.until(time.Second, "the kernel's deadline is short", func() bool { return h.end.Sub(h.clock()) < simTTL })
	w.etcd.put(keys.Pause(), "again", 0)
	w.run(time.Second)
	w.etcd.delete(keys.Pause())
	w.run(5 * time.Second)
	h.kill()
	w.run(10 * time.Second)
}

// TestRenewalOfALongTenureThatComesLate: the answer to a renewal of the long
// tenure must not make the deadline long again that was just made short.
func TestRenewalOfALongTenureThatComesLate(t *testing.T) {
	w, h := started(t, 2)
	keys := h.keys()
	w.etcd.put(keys.Pause(), "", 0)
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Second)
	h.core.mine.renewAt = h.clock() // it is time for one
	h.core.mine.deadline = h.core.mine.deadline.Add(-time.Hour)
	late := h.core.renewal(0)
	w.etcd.delete(keys.Pause())
	w.until(time.Second, "the kernel's deadline is short", func() bool { return h.end.Sub(h.clock()) < simTTL })
	late.done(reply{sent: h.clock().Add(-20 * time.Millisecond), got: h.clock(), wall: h.wall(), cluster: 42, succeeded: true, revision: w.etcd.rev})
	w.run(time.Second)
	if left := h.core.mine.deadline.Sub(h.clock()); left > simTTL {
		t.Fatalf("deadline %v away on the short lease\n%s", left, w.story())
	}
}

// TestRenewalThatSeesTheMove: a renewal that was sent before the key moved to the
// long lease, and carried out after it, fails its compare. Its answer may be here
// first, and says nothing of the tenure.
func TestRenewalThatSeesTheMove(t *testing.T) {
	w, h := started(t, 2)
	early := h.core.renewal(0)
	w.etcd.put(h.keys().Pause(), "", 0)
	w.until(time.Second, "the move is sent", func() bool { return h.core.mine.moving != nil })
	early.done(reply{sent: h.clock(), got: h.clock(), wall: h.wall(), cluster: 42})
	w.check = func() string {
		if !h.bound() || !h.core.mine.held {
			return "the VIP went away in a pause"
		}
		return ""
	}
	w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
	w.run(time.Minute)
}
