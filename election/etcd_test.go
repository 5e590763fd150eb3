package election

import (
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"leasehold/internal/boottime"
)

// soon is what a few round trips may take on a busy machine. On a quiet one they
// are done in 10 to 30 ms; the tests log what they measured.
const soon = 2 * time.Second

// pair starts two nodes on the shared etcd and waits until one is bound.
func pair(t *testing.T) (e *etcdServer, cli *clientv3.Client, h, other *tenant) {
	t.Helper()
	e = sharedEtcd(t)
	cli = e.client(t)
	vacate(t, cli, testConfig(t, "").Service)
	var j referee
	dir := t.TempDir()
	join := func(node string) *tenant {
		cfg := testConfig(t, node)
		cfg.StateFile = filepath.Join(dir, node)
		return j.join(t, cfg, open(t, Options{Endpoints: urls(e)}))
	}
	a, b := join("a"), join("b")
	h, _ = waitBound(t, soon, a, b)
	other = a
	if h == a {
		other = b
	}
	eventually(t, soon, "both nodes see both members", func() bool {
		return len(h.c.State().View.Members) == 2 && len(other.c.State().View.Members) == 2
	})
	return e, cli, h, other
}

func TestFirstTakeOverOnEtcdWaitsOneTTL(t *testing.T) {
	t.Parallel()
	e := sharedEtcd(t)
	var j referee
	start := time.Now()
	a := j.join(t, testConfig(t, "a"), open(t, Options{Endpoints: urls(e)}))
	b := j.join(t, testConfig(t, "b"), open(t, Options{Endpoints: urls(e)}))
	h, _ := waitBound(t, testTTL+soon, a, b)
	took := time.Since(start)
	t.Logf("first take-over %v after the start, ttl %v", took, testTTL)
	if took < testTTL {
		t.Errorf("took over after %v although nothing is known of a tenure before; want at least %v", took, testTTL)
	}
	if h != a || h.bound() != 1 {
		t.Errorf("%s holds epoch %d, want a with epoch 1", h.name, h.bound())
	}
}

func TestCleanReleaseOnEtcd(t *testing.T) {
	t.Parallel()
	_, cli, h, other := pair(t)
	keys := KeysOf(h.c.cfg.Service)
	var gaps []time.Duration
	for range 5 {
		epoch, lease := h.bound(), h.c.State().Lease
		h.ill("test")
		eventually(t, soon, "the holder lets go", func() bool { return h.bound() == 0 })
		_, gap := waitBound(t, soon, other)
		gaps = append(gaps, gap)
		if got := other.bound(); got != epoch+1 {
			t.Errorf("epoch %d follows %d, want one more", got, epoch)
		}
		eventually(t, soon, "the old lease is revoked", func() bool {
			r, err := cli.TimeToLive(t.Context(), clientv3.LeaseID(lease))
			return err == nil && r.TTL == -1
		})
		eventually(t, soon, "the old holder's member key is on a new lease", func() bool {
			m := other.sees(h.name)
			return m != nil && m.Lease != lease && !m.Eligible && m.Why == "test"
		})
		h.ill("")
		eventually(t, soon, "the old holder is eligible again", func() bool {
			m := other.sees(h.name)
			return m != nil && m.Eligible && h.c.State().OthersEligible
		})
		h, other = other, h
	}
	slices.Sort(gaps)
	t.Logf("let go to bound: median %v, range %v to %v, n = %d", gaps[len(gaps)/2], gaps[0], gaps[len(gaps)-1], len(gaps))

	r, err := cli.Get(t.Context(), keys.Tenure())
	if err != nil || len(r.Kvs) != 1 || r.Kvs[0].Lease != 0 {
		t.Fatalf("tenure record %v, %v; want one, on no lease", r, err)
	}
}

// fields returns the names of a JSON object's fields, sorted.
func fields(tb testing.TB, value []byte) string {
	tb.Helper()
	var m map[string]any
	if err := json.Unmarshal(value, &m); err != nil {
		tb.Fatalf("%s: %v", value, err)
	}
	if strings.Contains(string(value), "\n") {
		tb.Errorf("%q is not one line", value)
	}
	return strings.Join(slices.Sorted(maps.Keys(m)), " ")
}

// TestKeysInEtcd holds the public interface: the names, the leases, the fields.
func TestKeysInEtcd(t *testing.T) {
	t.Parallel()
	_, cli, h, other := pair(t)
	keys := KeysOf(h.c.cfg.Service)
	lease := h.c.State().Lease
	h.c.Record(HistoryValue{Epoch: h.bound(), From: "z", To: h.name, Why: "test", GapMS: 1.5, At: time.Now().UTC()})
	if err := RequestSwitchover(t.Context(), h.cluster, h.c.cfg.Service+"-other", SwitchoverValue{To: "b", By: "test"}); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		key, fields string
		lease       LeaseID
	}{
		{keys.Holder(), "epoch node since ttl vips", lease},
		{keys.Tenure(), "at epoch lease node state ttl", 0},
		{keys.Member(h.name), "eligible node priority since version", lease},
		{keys.Member(other.name), "eligible node priority since version", other.c.State().Lease},
		{keys.History(8), "at epoch from gap_ms to why", 0},
	}
	eventually(t, soon, "the history is written", func() bool {
		r, err := cli.Get(t.Context(), keys.History(8))
		return err == nil && len(r.Kvs) == 1
	})
	for _, w := range want {
		r, err := cli.Get(t.Context(), w.key)
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("get %s: %v, %v", w.key, r, err)
		}
		if got := fields(t, r.Kvs[0].Value); got != w.fields {
			t.Errorf("%s has the fields %q, want %q", w.key, got, w.fields)
		}
		if got := LeaseID(r.Kvs[0].Lease); got != w.lease {
			t.Errorf("%s hangs on lease %s, want %s", w.key, got, w.lease)
		}
	}
	ttl, err := cli.TimeToLive(t.Context(), clientv3.LeaseID(lease), clientv3.WithAttachedKeys())
	if err != nil {
		t.Fatal(err)
	}
	var on []string
	for _, k := range ttl.Keys {
		on = append(on, string(k))
	}
	slices.Sort(on)
	if !slices.Equal(on, []string{keys.Holder(), keys.Member(h.name)}) || ttl.GrantedTTL != 3 {
		t.Errorf("lease %s was granted %d s and has %q; want 3 s, holder and member key", lease, ttl.GrantedTTL, on)
	}
	v, err := Read(t.Context(), h.cluster, h.c.cfg.Service)
	if err != nil || v.Holder.Node != h.name || v.Tenure.Lease != lease || v.Tenure.State != TenureHeld || v.Holder.Bad != "" || len(v.Strange) != 0 {
		t.Errorf("Read = %+v, %v", v, err)
	}
}

func TestLeaseRevokedOnEtcd(t *testing.T) {
	t.Parallel()
	_, cli, h, other := pair(t)
	epoch, lease := h.bound(), h.c.State().Lease
	start := time.Now()
	if _, err := cli.Revoke(t.Context(), clientv3.LeaseID(lease)); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "HeldUntil is zero", func() bool { return h.c.State().HeldUntil == 0 || h.c.State().Epoch != epoch })
	gone := time.Since(start)
	eventually(t, soon, "the holder has let go", func() bool { return h.bound() != epoch })
	next, _ := waitBound(t, soon, other, h) // on a busy machine it may be itself, see stagger
	t.Logf("revoked: the holder knew after %v, %s was bound after %v", gone, next.name, time.Since(start))
	if next.bound() != epoch+1 {
		t.Errorf("epoch %d follows %d", next.bound(), epoch)
	}
	eventually(t, soon, "the old holder has a member key again", func() bool { return other.sees(h.name) != nil })
}

func TestHolderKeyHarmedOnEtcd(t *testing.T) {
	t.Parallel()
	stranger := func(value string) func(*testing.T, *clientv3.Client, string) {
		return func(t *testing.T, cli *clientv3.Client, key string) {
			if _, err := cli.Put(t.Context(), key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, harm := range map[string]func(*testing.T, *clientv3.Client, string){
		"deleted": func(t *testing.T, cli *clientv3.Client, key string) {
			if _, err := cli.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		},
		"malformed":     stranger("}{"),
		"without lease": stranger(`{"node":"x","ttl":"1ms","epoch":1}`),
		"all wrong":     stranger(`{"node":7,"ttl":-3,"epoch":"x"}`),
		"far too long":  stranger(`{"node":"` + strings.Repeat("x", 100_000) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, cli, h, other := pair(t)
			epoch, keys := h.bound(), KeysOf(h.c.cfg.Service)
			start := time.Now()
			harm(t, cli, keys.Holder())
			eventually(t, soon, "the holder lets go", func() bool { return h.bound() != epoch })
			t.Logf("let go after %v", time.Since(start))
			if name != "deleted" {
				eventually(t, soon, "the stranger's key is shown, or gone already", func() bool {
					v := other.c.State().View
					return v.Holder == nil || v.Holder.Bad != "" || v.Holder.Epoch > epoch
				})
			}
			next, took := waitBound(t, testTTL+soon, h, other)
			if next.bound() <= epoch {
				t.Errorf("epoch %d after %d, want more", next.bound(), epoch)
			}
			t.Logf("bound again after %v, epoch %d after %d", took, next.bound(), epoch)
		})
	}
}

func TestTwoServicesShareTheConnections(t *testing.T) {
	t.Parallel()
	e := sharedEtcd(t)
	cli := e.client(t)
	cluster := open(t, Options{Endpoints: urls(e)})
	var j referee
	var all []*tenant
	for _, service := range []string{"one", "two", "three"} {
		cfg := testConfig(t, "a")
		cfg.Service += "-" + service
		vacate(t, cli, cfg.Service)
		all = append(all, j.join(t, cfg, cluster))
	}
	for _, n := range all {
		waitBound(t, soon, n)
	}
	all[1].ill("test")
	eventually(t, soon, "one of them lets go", func() bool { return all[1].bound() == 0 })
	if all[0].bound() == 0 || all[2].bound() == 0 {
		t.Error("the other services let go too")
	}
	if leases := []LeaseID{all[0].c.State().Lease, all[2].c.State().Lease}; leases[0] == leases[1] {
		t.Errorf("two services share lease %s", leases[0])
	}
	services, err := Services(t.Context(), cluster)
	for _, n := range all {
		if !slices.Contains(services, n.c.cfg.Service) {
			t.Errorf("Services = %q, %v; lacks %s", services, err, n.c.cfg.Service)
		}
	}
}

func TestPauseOnEtcd(t *testing.T) {
	t.Parallel()
	e, cli, h, other := pair(t)
	service, keys, epoch := h.c.cfg.Service, KeysOf(h.c.cfg.Service), h.bound()
	other.end()
	until := time.Now().Add(time.Hour)
	if err := Pause(t.Context(), h.cluster, service, PauseValue{Until: &until, Reason: "disk swap", By: "test"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, soon, "the tenure covers the pause", func() bool { return h.c.State().Long })
	s := h.c.State()
	left := s.HeldUntil.Sub(boottime.Now())
	t.Logf("long after %v; held for another %v, ttl %v", took, left, s.TTL)
	if left < time.Hour || left > time.Hour+10*time.Minute {
		t.Errorf("held for another %v, want an hour and a bit", left)
	}
	v, err := Read(t.Context(), h.cluster, service)
	if err != nil || time.Duration(v.Holder.TTL) != s.TTL || v.Holder.TTL != v.Tenure.TTL || v.Holder.Lease == s.Lease || v.Tenure.Lease != v.Holder.Lease {
		t.Fatalf("holder %+v, tenure %+v, %v; want the long ttl and lease in both", v.Holder, v.Tenure, err)
	}
	if d, err := LeaseLeft(t.Context(), h.cluster, v.Holder.Lease); err != nil || d < left-time.Minute {
		t.Errorf("the lease has another %v, %v; want about %v", d, err, left)
	}

	// The daemon stops: the holder key stays where it is.
	h.end()
	r, err := cli.Get(t.Context(), keys.Holder())
	if err != nil || len(r.Kvs) != 1 || LeaseID(r.Kvs[0].Lease) != v.Holder.Lease {
		t.Fatalf("holder key after the stop: %v, %v; want it on lease %s", r, err, v.Holder.Lease)
	}

	// Its successor adopts it.
	var j referee
	back := j.join(t, h.c.cfg, open(t, Options{Endpoints: urls(e)}))
	_, took = waitBound(t, soon, back)
	if s := back.c.State(); back.bound() != epoch || !s.Long || !s.Paused {
		t.Errorf("adopted %v, long %v, paused %v; want epoch %d", back, s.Long, s.Paused, epoch)
	}
	t.Logf("adopted after %v", took)

	// Resume: PauseOver, Shorten, back on the short lease.
	if err := Resume(t.Context(), back.cluster, service); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "back on the short lease", func() bool {
		s := back.c.State()
		return !s.Long && !s.Paused && s.TTL == testTTL && s.HeldUntil.Sub(boottime.Now()) < testTTL
	})
	if back.bound() != epoch {
		t.Errorf("the VIP moved: %v", back)
	}
	eventually(t, soon, "the long lease is revoked", func() bool {
		d, err := LeaseLeft(t.Context(), back.cluster, v.Holder.Lease)
		return err == nil && d < 0
	})
	if err := Resume(t.Context(), back.cluster, service); !errors.Is(err, ErrNotThere) {
		t.Errorf("Resume without a pause: %v, want ErrNotThere", err)
	}
	eventually(t, testTTL, "renewed on the short lease", func() bool { return back.c.State().HeldUntil.Sub(boottime.Now()) > testTTL*9/10 })
}
