package election

import (
	"math"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/internal/boottime"
)

// sane fails when a view that strangers may have written leads to arithmetic
// that wraps, or to a take-over that nobody allowed.
func sane(t *testing.T, v *View, now boottime.Instant) {
	t.Helper()
	if len(v.Strange) > 10 {
		t.Errorf("%d strange keys are kept", len(v.Strange))
	}
	for _, m := range v.Members {
		if m.Node == "" || m.Lease == 0 {
			t.Errorf("counts the member %+v", m)
		}
	}
	if h := v.Holder; h != nil && h.Bad == "" && (h.Node == "" || h.Lease == 0 || h.TTL < 0) {
		t.Errorf("takes the holder %+v for one of ours", h)
	}
	if free := v.freeFrom(now, 0, testTTL); !v.released() && free.Sub(now) < testTTL {
		t.Errorf("free %v from now on, although nobody released: holder %+v, tenure %+v", free.Sub(now), v.Holder, v.Tenure)
	}
	if p := v.Pause; p != nil && p.Until != nil && (p.Left < 0 || p.End().Before(now)) {
		t.Errorf("the pause %+v ends %v from now", p, p.End().Sub(now))
	}
	if p := v.Pause; p != nil && p.Left > 0 && longTTL(p.Left) < p.Left {
		t.Errorf("a pause of %v would get a lease of %v", p.Left, longTTL(p.Left))
	}
	c := Core{view: *v}
	if e := c.nextEpoch(); e <= 0 {
		t.Errorf("the next epoch is %d", e)
	}
	v.turn("a")
	v.yield("a", time.Second, now)
}

// FuzzApply feeds a view with what strangers may have written.
func FuzzApply(f *testing.F) {
	keys := KeysOf("s")
	names := []string{keys.Holder(), keys.Tenure(), keys.Pause(), keys.Switchover(), keys.Member("a"), keys.History(1), keys.Prefix() + "x"}
	for i, value := range []string{
		`{"node":"a","ttl":"3s","epoch":1,"vips":["10.20.8.188/24"],"since":"2026-11-22T20:00:00Z"}`,
		`{"epoch":1,"node":"a","lease":"1f","ttl":"3s","state":"held","at":"2026-11-22T20:00:00Z"}`,
		`{"until":"2026-11-22T21:00:00Z","reason":"disk swap","by":"root"}`,
		`{"to":"b","by":"root"}`,
		`{"node":"a","priority":100,"eligible":true,"version":"1","since":"2026-11-22T20:00:00Z"}`,
		"}{", "",
	} {
		f.Add(uint8(i), []byte(value), int64(7), int64(9))
	}
	f.Add(uint8(0), []byte(`{"node":"a","ttl":"2562047h47m16s","epoch":9223372036854775807}`), int64(0), int64(9))
	f.Add(uint8(1), []byte(`{"state":"held","ttl":"2562047h47m16s","epoch":9223372036854775807,"lease":"-1"}`), int64(0), int64(9))
	f.Add(uint8(2), []byte(`{"until":"9999-12-31T00:00:00Z"}`), int64(0), int64(9))
	f.Add(uint8(2), []byte(`{"until":"2310-01-01T00:00:00Z"}`), int64(0), int64(9))
	f.Fuzz(func(t *testing.T, which uint8, value []byte, lease, rev int64) {
		now := boottime.Instant(1000 * time.Hour)
		wall := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
		var v View
		key := names[int(which)%len(names)]
		kv := &mvccpb.KeyValue{Key: []byte(key), Value: value, Lease: lease, ModRevision: rev}
		v.apply(keys, kv, now, wall)
		v.apply(keys, kv, now, wall) // once more, as a read after a watch does
		sane(t, &v, now)
		v.drop(keys, key)
		if v.Holder != nil || v.Tenure != nil || v.Pause != nil || v.Switchover != nil || len(v.Members) != 0 {
			t.Errorf("left after its only key is gone: %+v", v)
		}
	})
}

// FuzzValues reads the words of our values back, and what is none of them.
func FuzzValues(f *testing.F) {
	f.Add([]byte(`"1h1m0s"`), []byte("1f"))
	f.Add([]byte(`"-1s"`), []byte("-1"))
	f.Fuzz(func(t *testing.T, seconds, id []byte) {
		var s Seconds
		if s.UnmarshalText(seconds) == nil && s < 0 {
			t.Errorf("%q is read as %v", seconds, time.Duration(s))
		}
		var l LeaseID
		if l.UnmarshalText(id) != nil {
			return
		}
		b, err := l.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again LeaseID
		if err := again.UnmarshalText(b); err != nil || again != l {
			t.Errorf("%q is read as %d, written as %s, read as %d (%v)", id, l, b, again, err)
		}
	})
}

// TestStrangersHugeTTLIsNoInvitation: a ttl near the end of what a duration
// holds, added to the clock, must not come out as a moment in the past.
func TestStrangersHugeTTLIsNoInvitation(t *testing.T) {
	w, h := started(t, 2)
	h.cut = true
	w.etcd.put(h.core.keys.Holder(), `{"node":"x","ttl":"2562047h47m16s","epoch":1}`, 0)
	w.run(testTTL - time.Second) // run checks that there is never a second one
}

func TestEpochStaysPositive(t *testing.T) {
	w, h := started(t, 2)
	w.etcd.put(h.core.keys.Holder(), `{"node":"x","ttl":"3s","epoch":9223372036854775807}`, 0)
	w.until(10*time.Second, "somebody holds again", func() bool { return w.holder() != nil })
	w.run(time.Second)
	if e := w.holder(); e == nil || e.epoch <= 0 || e.epoch == math.MaxInt64 {
		t.Errorf("after a stranger's epoch: %+v", e)
	}
}

// TestPauseUntilTheEndOfTime: what an operator writes who means no end.
func TestPauseUntilTheEndOfTime(t *testing.T) {
	for _, until := range []string{"9999-12-31T00:00:00Z", "2310-01-01T00:00:00Z"} {
		w, h := started(t, 2)
		w.etcd.put(h.core.keys.Pause(), `{"until":"`+until+`"}`, 0)
		w.until(time.Second, "the tenure covers the pause", func() bool { return h.core.mine.long })
		w.run(10 * time.Second)
		if w.etcd.kv[h.core.keys.Pause()] == nil || !h.core.mine.long {
			t.Errorf("a pause until %s ended after 10 s\n%s", until, w.story())
		}
	}
}
