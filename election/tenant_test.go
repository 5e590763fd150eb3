package election

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"leasehold/internal/boottime"
)

const testTTL = 3 * time.Second

// tenant drives a Candidate as node.Loop does: it binds while its tenure lives,
// lets go at its end, and only then resigns. The VIP is a field.
type tenant struct {
	tb      testing.TB
	c       *Candidate
	cluster *Cluster
	judge   *referee
	name    string

	mu    sync.Mutex
	unfit string
	until boottime.Instant // bound until then; zero: not bound
	epoch int64

	stop context.CancelFunc
	done chan struct{}
}

// referee sees to it that never two tenants of one service are bound.
type referee struct {
	mu      sync.Mutex
	tenants []*tenant
	forced  atomic.Bool // a tenure was released by force: nothing is judged any more
}

// testConfig is one node's configuration in the service of the test.
func testConfig(tb testing.TB, node string) Config {
	tb.Helper()
	return Config{
		Service: strings.ReplaceAll(tb.Name(), "/", "-"), Node: node, TTL: testTTL, Margin: 50 * time.Millisecond,
		Priority: 100, VIPs: []string{"10.20.8.188/24 dev eth0"}, Version: "test",
	}
}

// testLog shows what a candidate logs when its test fails or is verbose.
func testLog(tb testing.TB) hclog.Logger {
	tb.Helper()
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: tb.Output()})
}

// open returns the way to etcd, closed when the test ends.
func open(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	cluster, err := Open(opts, testLog(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cluster.Close(); err != nil {
			tb.Logf("close the connections: %v", err)
		}
	})
	return cluster
}

// urls returns the members' client URLs.
func urls(all ...*etcdServer) []string {
	var out []string
	for _, s := range all {
		out = append(out, s.url)
	}
	return out
}

// join starts a node. It is stopped, and lets go, when the test ends.
func (j *referee) join(tb testing.TB, cfg Config, cluster *Cluster) *tenant {
	tb.Helper()
	t := &tenant{tb: tb, c: New(cfg, cluster, testLog(tb)), cluster: cluster, judge: j, name: cfg.Node, done: make(chan struct{})}
	j.mu.Lock()
	j.tenants = append(j.tenants, t)
	j.mu.Unlock()
	run, cancel := context.WithCancel(context.Background())
	loop, stop := context.WithCancel(context.Background())
	t.stop = stop
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := t.c.Run(run); err != nil {
			tb.Errorf("%s: Run: %v", t.name, err)
		}
	})
	go func() {
		t.loop(loop)
		cancel()
		wg.Wait()
		close(t.done)
	}()
	tb.Cleanup(t.end)
	return t
}

// end stops the node as systemctl does and waits for it.
func (t *tenant) end() {
	t.stop()
	<-t.done
}

func (t *tenant) loop(ctx context.Context) {
	stop := ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for !t.turn(ctx.Err() != nil) {
		timer.Reset(t.nap())
		select {
		case <-stop:
			stop = nil
		case <-t.c.Changed():
		case <-timer.C:
		}
	}
}

func (t *tenant) nap() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until != 0 {
		return max(time.Millisecond, min(t.until.Sub(boottime.Now()), 10*time.Millisecond))
	}
	return 10 * time.Millisecond
}

// turn decides once, as node.Step does, and reports whether the node is done.
func (t *tenant) turn(stopping bool) bool {
	s := t.c.State()
	now := boottime.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	held := now.Before(s.HeldUntil)
	fit := t.unfit == "" && !stopping
	t.c.Say(MemberValue{Node: t.name, Priority: 100, Eligible: fit, Why: t.unfit, Version: "test"})
	switch {
	case t.until != 0 && !held:
		t.letGo("the tenure is over: " + s.Over)
	case t.until != 0 && !s.Paused && !s.PauseOver && (!fit || s.Yield != ""):
		t.letGo(strings.TrimSpace(t.unfit + s.Yield))
	case held && (fit || s.Paused || t.until != 0):
		t.bind(s)
	case held:
		t.epoch = s.Epoch
		t.letGo("unfit")
	}
	if stopping && t.until != 0 && s.Paused && s.Long {
		t.c.Leave()
		return true
	}
	t.c.Campaign(fit && !held && !s.Paused && s.FreeAt != 0 && !now.Before(s.FreeAt))
	return stopping && t.until == 0
}

func (t *tenant) bind(s State) {
	if t.until == 0 || t.epoch != s.Epoch {
		t.tb.Logf("%s binds, epoch %d", t.name, s.Epoch)
		t.judge.check(t)
	}
	t.until, t.epoch = s.HeldUntil, s.Epoch
	if short := t.c.ShortDeadline(); s.PauseOver && short.Before(s.HeldUntil) {
		t.until = short
		t.c.Shorten(s.Epoch, short)
	}
}

func (t *tenant) letGo(why string) {
	t.tb.Logf("%s lets go of epoch %d: %s", t.name, t.epoch, why)
	t.until = 0
	t.c.Release(t.epoch, why)
}

// check fails the test when somebody else is bound while t binds. What others
// hold is read without their lock: they may be waiting for this one.
func (j *referee) check(t *tenant) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := boottime.Now()
	for _, o := range j.tenants {
		if o == t || o.c.cfg.Service != t.c.cfg.Service || !o.mu.TryLock() {
			continue
		}
		if now.Before(o.until) && !j.forced.Load() {
			t.tb.Errorf("%s binds while %s is bound for another %v", t.name, o.name, o.until.Sub(now))
		}
		o.mu.Unlock()
	}
}

// ill makes the node unfit, well fit again.
func (t *tenant) ill(why string) {
	t.mu.Lock()
	t.unfit = why
	t.mu.Unlock()
}

// bound returns the epoch that the node is bound in; 0: it is not.
func (t *tenant) bound() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == 0 || !boottime.Now().Before(t.until) {
		return 0
	}
	return t.epoch
}

func (t *tenant) String() string {
	s := t.c.State()
	return fmt.Sprintf("%s: epoch %d, held for another %v, synced %v, over %q, trouble %q", t.name, s.Epoch, s.HeldUntil.Sub(boottime.Now()), s.Synced, s.Over, s.Trouble)
}

// waitBound waits until one of the tenants is bound, and returns it and how long
// that took.
func waitBound(tb testing.TB, limit time.Duration, tenants ...*tenant) (*tenant, time.Duration) {
	tb.Helper()
	var got *tenant
	start := time.Now()
	for got == nil {
		for _, t := range tenants {
			if t.bound() != 0 {
				got = t
			}
		}
		if got == nil && time.Since(start) > limit {
			for _, t := range tenants {
				tb.Log(t)
			}
			tb.Fatalf("nobody is bound after %v", limit)
		}
		if got == nil {
			<-time.After(time.Millisecond)
		}
	}
	return got, time.Since(start)
}

// vacate leaves the record of a tenure that was released, so that the first
// take-over has nobody to wait for.
func vacate(tb testing.TB, cli *clientv3.Client, service string) {
	tb.Helper()
	put := TenureValue{Epoch: 7, Node: "z", Lease: 1, TTL: Seconds(testTTL), State: TenureReleased, Why: "test", At: time.Now().UTC()}
	if _, err := cli.Put(tb.Context(), KeysOf(service).Tenure(), encode(put)); err != nil {
		tb.Fatal(err)
	}
}

// sees returns the member key of a node as t sees it, or nil.
func (t *tenant) sees(node string) *Member {
	v := t.c.State().View
	return v.Member(node)
}
