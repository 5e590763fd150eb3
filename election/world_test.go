package election

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/internal/boottime"
)

// world is a cluster in virtual time: an etcd that is one linearizable map, and
// the cores of some nodes, whose clocks may drift.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Duration // real time
	etcd  *fakeEtcd
	nodes []*simNode
	queue []pending
	log   []string
}

// pending is something that happens at a moment of real time.
type pending struct {
	at time.Duration
	do func()
}

// simNode is one node: its core, its clock, its way to etcd, and a stand-in for
// the node's own decision: bound while held, let go at the deadline.
type simNode struct {
	w        *world
	name     string
	core     *core
	rate     float64 // of its clock
	zero     boottime.Instant
	cut      bool         // from etcd
	lose     bool         // requests arrive, replies are lost
	hangs    map[int]bool // endpoints that never answer
	current  int          // the endpoint in use
	frozen   bool
	dead     bool
	fit      bool
	paused   bool // leaves the VIP alone
	boundTo  boottime.Instant
	epoch    int64
	watchGen int
	watchRev int64
	tookAt   time.Duration
}

func newWorld(t *testing.T, seed uint64, n int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), etcd: newFakeEtcd()}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(fmt.Sprintf("n%d", i), nil))
	}
	return w
}

const simTTL = 3 * time.Second

func (w *world) newNode(name string, saved *Saved) *simNode {
	cfg := Config{Service: "mysql", Node: name, TTL: simTTL, Margin: 50 * time.Millisecond, Priority: 100, VIPs: []string{"10.20.8.188/24"}, Version: "test"}
	n := &simNode{w: w, name: name, core: newCore(cfg, saved), rate: 1, zero: boottime.Instant(1000 * time.Hour), fit: true}
	n.core.say(MemberValue{Node: name, Priority: 100, Eligible: true, Version: "test"})
	return n
}

func (n *simNode) clock() boottime.Instant {
	return n.zero.Add(time.Duration(float64(n.w.now) * n.rate))
}

func (n *simNode) wall() time.Time { return time.Unix(1_800_000_000, 0).Add(n.w.now) }

func (n *simNode) bound() bool {
	return n.boundTo != 0 && n.clock().Before(n.boundTo)
}

// step runs one node: what its loop would do, then what its core asks for.
func (n *simNode) step() {
	if n.dead || n.frozen {
		return
	}
	c := n.core
	c.tick(n.clock(), n.wall())
	n.decide()
	for _, r := range c.poll(n.clock(), n.wall()) {
		n.send(r)
	}
	if c.watchGen != n.watchGen {
		n.watchGen, n.watchRev = c.watchGen, c.watchRev
	}
	n.deliver()
}

func (n *simNode) decide() {
	c := n.core
	s := c.state()
	held := n.clock().Before(s.HeldUntil)
	switch {
	case held && (n.fit || s.Paused):
		if n.boundTo == 0 || n.epoch != s.Epoch {
			n.tookAt = n.w.now
			n.w.logf("%s holds epoch %d", n.name, s.Epoch)
		}
		n.boundTo, n.epoch = s.HeldUntil, s.Epoch
		if s.PauseOver {
			until := Deadline(n.clock(), simTTL, c.cfg.Margin)
			n.boundTo = min(n.boundTo, until)
			c.shorten(s.Epoch, until)
		}
		if s.Yield != "" && !s.Paused {
			n.letGo(s.Yield)
		}
	case n.boundTo != 0 || s.HeldUntil != 0:
		n.epoch = s.Epoch
		n.letGo("let go")
	}
	c.campaign(n.fit && !n.bound())
}

func (n *simNode) letGo(why string) {
	n.boundTo = 0
	n.core.release(n.epoch, why)
	n.w.logf("%s lets go of epoch %d: %s", n.name, n.epoch, why)
}

// send carries a request to etcd and the reply back, each taking a while.
func (n *simNode) send(r request) {
	w := n.w
	rep := reply{sent: n.clock()}
	there, back := w.latency(), w.latency()
	end := (n.current + r.skip) % max(1, n.core.cfg.Endpoints)
	w.at(there, func() {
		if n.cut || n.hangs[end] {
			w.at(r.timeout, func() { n.answer(r, reply{sent: rep.sent, err: errors.New("timeout"), down: true}) })
			return
		}
		w.etcd.do(n.core.keys, r, &rep, w.now)
		if n.lose || n.cut {
			w.at(r.timeout, func() { n.answer(r, reply{sent: rep.sent, err: errors.New("timeout"), down: true}) })
			return
		}
		w.at(back, func() { n.answer(r, rep) })
	})
}

func (n *simNode) answer(r request, rep reply) {
	switch { // as Cluster.judge does
	case rep.err == nil && r.skip > 0:
		n.current = (n.current + r.skip) % max(1, n.core.cfg.Endpoints)
	case rep.down && r.skip == 0:
		n.current = (n.current + 1) % max(1, n.core.cfg.Endpoints)
	}
	if n.dead {
		return
	}
	if n.frozen {
		n.w.at(10*time.Millisecond, func() { n.answer(r, rep) })
		return
	}
	rep.got, rep.wall, rep.cluster = n.clock(), n.wall(), 42
	r.done(rep)
}

// deliver feeds the watch.
func (n *simNode) deliver() {
	if n.watchGen == 0 || n.cut || n.watchGen != n.core.watchGen {
		return
	}
	all := n.w.etcd.events
	from, _ := slices.BinarySearchFunc(all, n.watchRev, func(e event, rev int64) int { return cmp.Compare(e.kv.ModRevision, rev) })
	if events := all[from:]; len(events) > 0 {
		n.watchRev = n.w.etcd.rev + 1
		n.core.watched(n.watchGen, events, n.clock(), n.wall())
	}
}

func (w *world) latency() time.Duration {
	return time.Millisecond + time.Duration(w.rnd.Int64N(int64(4*time.Millisecond)))
}

func (w *world) at(d time.Duration, f func()) {
	w.queue = append(w.queue, pending{w.now + d, f})
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%8.3f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

// run lets d pass in steps of a millisecond, and checks after each that at most
// one node is bound.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	for end := w.now + d; w.now < end; {
		w.now += time.Millisecond
		w.etcd.expire(w.now)
		due := w.queue[:0:0]
		w.queue = slices.DeleteFunc(w.queue, func(p pending) bool {
			if p.at <= w.now {
				due = append(due, p)
				return true
			}
			return false
		})
		for _, p := range due {
			p.do()
		}
		for _, n := range w.nodes {
			n.step()
		}
		if h := w.holders(); len(h) > 1 {
			w.t.Fatalf("two hosts answer: %v\n%s", h, w.story())
		}
	}
}

// until runs until cond holds, and fails after limit.
func (w *world) until(limit time.Duration, what string, cond func() bool) time.Duration {
	w.t.Helper()
	start := w.now
	for !cond() {
		if w.now-start > limit {
			w.t.Fatalf("not within %v: %s\n%s", limit, what, w.story())
		}
		w.run(time.Millisecond)
	}
	return w.now - start
}

func (w *world) story() string {
	s := ""
	for _, l := range w.log[max(0, len(w.log)-30):] {
		s += l + "\n"
	}
	for _, n := range w.nodes {
		s += fmt.Sprintf("%s trouble=%q synced=%v lease=%v mine=%+v\n", n.name, n.core.trouble.what, n.core.synced, n.core.lease, n.core.mine)
	}
	return s
}

// holders are the hosts whose kernel answers. A dead or frozen node's does, up
// to its deadline.
func (w *world) holders() []string {
	var h []string
	for _, n := range w.nodes {
		if n.bound() {
			h = append(h, n.name)
		}
	}
	return h
}

func (w *world) holder() *simNode {
	for _, n := range w.nodes {
		if n.bound() && !n.dead {
			return n
		}
	}
	return nil
}

// fakeEtcd is one linearizable store with leases.
type fakeEtcd struct {
	rev    int64
	kv     map[string]*mvccpb.KeyValue
	leases map[LeaseID]time.Duration // expiry, real time
	ttls   map[LeaseID]time.Duration
	events []event
	last   LeaseID
	now    time.Duration
}

func newFakeEtcd() *fakeEtcd {
	return &fakeEtcd{rev: 1, kv: map[string]*mvccpb.KeyValue{}, leases: map[LeaseID]time.Duration{}, ttls: map[LeaseID]time.Duration{}, last: 0x100}
}

var errNoLease = errors.New("requested lease not found")

func (e *fakeEtcd) do(keys Keys, r request, rep *reply, now time.Duration) {
	e.now = now
	switch r.kind {
	case kindGrant, kindLongGrant:
		e.last++
		ttl := max(2, r.seconds)
		e.ttls[e.last] = time.Duration(ttl) * time.Second
		e.leases[e.last] = now + e.ttls[e.last]
		rep.lease, rep.ttl = e.last, ttl
	case kindKeepAlive:
		if _, ok := e.leases[r.lease]; !ok {
			rep.err, rep.leaseGone = errNoLease, true
			return
		}
		e.leases[r.lease] = now + e.ttls[r.lease]
	case kindRevoke:
		e.revoke(r.lease)
	case kindTimeToLive:
		rep.ttl = -1
		if at, ok := e.leases[r.lease]; ok {
			rep.ttl = int64((at - now) / time.Second)
		}
	case kindRead:
		rep.revision = e.rev
		for _, kv := range e.kv {
			rep.kvs = append(rep.kvs, kv) // never changed once written
		}
	default:
		e.commit(r.txn, rep)
	}
}

func (e *fakeEtcd) commit(x txn, rep *reply) {
	for _, w := range x.then {
		if _, ok := e.leases[w.lease]; !w.del && w.lease != 0 && !ok {
			rep.err, rep.leaseGone = errNoLease, true
			return
		}
	}
	for _, i := range x.ifs {
		var has int64
		if kv := e.kv[i.key]; kv != nil {
			has = kv.ModRevision
			if i.lease {
				has = kv.Lease
			}
		}
		if has != i.equals {
			rep.revision = e.rev
			return
		}
	}
	rep.succeeded = true
	e.rev++
	for _, w := range x.then {
		e.write(w)
	}
	rep.revision = e.rev
}

func (e *fakeEtcd) write(w write) {
	if w.del {
		e.remove(w.key)
		return
	}
	kv := &mvccpb.KeyValue{Key: []byte(w.key), Value: []byte(w.value), ModRevision: e.rev, Lease: int64(w.lease)}
	e.kv[w.key] = kv
	e.events = append(e.events, event{kv: kv})
}

func (e *fakeEtcd) remove(key string) {
	kv := e.kv[key]
	if kv == nil {
		return
	}
	delete(e.kv, key)
	e.events = append(e.events, event{kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: e.rev}, deleted: true, prevRev: kv.ModRevision})
}

func (e *fakeEtcd) revoke(l LeaseID) {
	if _, ok := e.leases[l]; !ok {
		return
	}
	delete(e.leases, l)
	e.rev++
	for _, key := range slices.Sorted(mapKeys(e.kv)) {
		if e.kv[key].Lease == int64(l) {
			e.remove(key)
		}
	}
}

func mapKeys(m map[string]*mvccpb.KeyValue) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (e *fakeEtcd) expire(now time.Duration) {
	e.now = now
	for l, at := range e.leases {
		if at <= now {
			e.revoke(l)
		}
	}
}

// put writes as an operator or a stranger would.
func (e *fakeEtcd) put(key, value string, l LeaseID) {
	e.rev++
	e.write(write{key: key, value: value, lease: l})
}

func (e *fakeEtcd) delete(key string) {
	e.rev++
	e.remove(key)
}
