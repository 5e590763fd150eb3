package election

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"leasehold/internal/boottime"
)

// replaced starts a node, then puts an empty etcd in the place of its own.
func replaced(t *testing.T, args ...string) (*etcdServer, *tenant) {
	t.Helper()
	e := startEtcd(t, 1)[0]
	cfg := testConfig(t, "a")
	cli := e.client(t)
	vacate(t, cli, cfg.Service)
	for range 100 { // so that the new etcd's revision is far behind
		vacate(t, cli, cfg.Service+"-x")
	}
	var j referee
	a := j.join(t, cfg, open(t, Options{Endpoints: urls(e)}))
	waitBound(t, soon, a)
	eventually(t, soon, "renewed", func() bool { return a.c.State().View.Holder != nil })
	e.kill(t)
	if err := os.RemoveAll(e.dir); err != nil {
		t.Fatal(err)
	}
	e.args = append(e.args, args...)
	e.start(t)
	e.ready(t)
	return e, a
}

// TestAnotherClusterAnswers: nothing that a cluster says is believed that does
// not know who holds.
func TestAnotherClusterAnswers(t *testing.T) {
	t.Parallel()
	_, a := replaced(t, "--initial-cluster-token", "another")
	ctx, cancel := context.WithTimeout(t.Context(), 2*testTTL)
	defer cancel()
	until := a.c.State().HeldUntil
	if left := until.Sub(boottime.Now()); left < 0 {
		t.Errorf("let go %v before the other cluster answered", -left)
	}
	<-ctx.Done()
	if got := a.c.State().HeldUntil; got > until {
		t.Errorf("the deadline moved by %v on the word of another cluster", got.Sub(until))
	}
	if a.bound() != 0 {
		t.Errorf("bound by the word of another cluster: %v", a)
	}
	s := a.c.State()
	if boottime.Now().Before(s.HeldUntil) || !strings.Contains(s.Trouble, "cluster id") {
		t.Errorf("held for another %v, trouble %q; want not held, and the cluster id named", s.HeldUntil.Sub(boottime.Now()), s.Trouble)
	}
	t.Logf("trouble: %s", s.Trouble)
}

// TestEtcdLostItsData: the same cluster id, because etcd makes it of its URLs
// and token, but an earlier revision.
func TestEtcdLostItsData(t *testing.T) {
	t.Parallel()
	_, a := replaced(t)
	eventually(t, testTTL, "the tenure is over", func() bool { return a.bound() == 0 })
	staysOut(t, a, "revision")
}

// TestQuotaAlarm: what etcd refuses when its quota is full, and what we say.
func TestQuotaAlarm(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, 1, "--quota-backend-bytes", "2000000")[0]
	cli := e.client(t)
	cfg := testConfig(t, "a")
	vacate(t, cli, cfg.Service)
	var j referee
	a := j.join(t, cfg, open(t, Options{Endpoints: urls(e)}))
	waitBound(t, soon, a)
	lease := a.c.State().Lease
	big := strings.Repeat("x", 200_000)
	for range 50 {
		if _, err := cli.Put(t.Context(), "big", big); err != nil {
			t.Log(err)
			break
		}
	}
	start := time.Now()
	eventually(t, testTTL+soon, "the tenure is over, or renewed under the alarm for longer than a ttl", func() bool {
		return a.bound() == 0 || time.Since(start) > testTTL+time.Second
	})
	if a.bound() != 0 {
		t.Errorf("%v: it is renewed under the alarm; see what the documents say", a)
	}
	left, err := LeaseLeft(t.Context(), a.cluster, lease)
	t.Logf("quota alarm: let go after %v; the lease has another %v, %v", time.Since(start), left, err)
	staysOut(t, a, "etcdctl alarm disarm")

	// What the operator does then.
	r, err := cli.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Compact(t.Context(), r.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Defragment(t.Context(), e.url); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	_, took := waitBound(t, testTTL+soon, a)
	t.Logf("bound again %v after the alarm was disarmed", took)
}

// TestCompactedWatch: etcd has thrown away what the watch asks for.
func TestCompactedWatch(t *testing.T) {
	t.Parallel()
	_, cli, h, other := pair(t)
	r, err := cli.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Compact(t.Context(), r.Header.Revision); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*tenant{h, other} {
		n.c.mu.Lock()
		gen := n.c.core.watchGen
		n.c.core.watchGen, n.c.core.watchRev = gen+1, 1 // long compacted
		n.c.mu.Unlock()
		signal(n.c.kick)
		eventually(t, soon, "a watch that goes on from a new read", func() bool {
			n.c.mu.Lock()
			defer n.c.mu.Unlock()
			return n.c.core.watchGen > gen+1 && n.c.core.synced
		})
	}
	epoch := h.bound()
	h.ill("test")
	waitBound(t, soon, other)
	if other.bound() != epoch+1 {
		t.Errorf("epoch %d after %d: somebody let go meanwhile", other.bound(), epoch)
	}
}
