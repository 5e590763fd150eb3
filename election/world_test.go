package election

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// world is the bench of this package's own tests, which look into the core and
// lead it to one place: a cluster in virtual time, an etcd that is one
// linearizable map, and the cores of some nodes. What is left to chance is
// internal/sim's, which runs the whole decision. Time goes from event to event:
// between two nothing changes but that a kernel may remove an address.
type world struct {
	t     *testing.T
	rnd   *rand.Rand
	now   time.Duration // real time
	etcd  *fakeEtcd
	nodes []*simNode
	queue pendings
	log   []string
	check func() string // what else must hold after every event; empty: it does

	down bool         // etcd as a whole
	hung map[int]bool // endpoints that no node gets an answer from
	keep float64      // how much of what cannot be delivered arrives later
	dup  float64      // how much is carried out a second time, later
	slow float64      // how many answers take up to 2 s
}

// pending is something that happens at a moment of real time.
type pending struct {
	at  time.Duration
	seq int
	do  func()
}

type pendings []pending

func (p pendings) Len() int { return len(p) }
func (p pendings) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(p[i].at, p[j].at), cmp.Compare(p[i].seq, p[j].seq)) < 0
}
func (p pendings) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pendings) Push(x any)   { *p = append(*p, x.(pending)) }
func (p *pendings) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

func newWorld(t *testing.T, seed uint64, n int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), etcd: newFakeEtcd(), hung: map[int]bool{}}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(fmt.Sprintf("n%d", i), simTTL))
	}
	return w
}

const simTTL = 3 * time.Second

func (w *world) latency() time.Duration {
	return time.Millisecond + time.Duration(w.rnd.Int64N(int64(4*time.Millisecond)))
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.rnd.Int64N(int64(d))) }

func (w *world) at(d time.Duration, f func()) {
	heap.Push(&w.queue, pending{w.now + d, len(w.log) + w.queue.Len(), f})
}

func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%8.3f ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

// event goes to the next event, at most to end, and checks that at most one
// kernel answers.
func (w *world) event(end time.Duration) {
	w.t.Helper()
	next := min(end, w.etcd.nextExpiry())
	if len(w.queue) > 0 {
		next = min(next, w.queue[0].at)
	}
	for _, n := range w.nodes {
		next = min(next, n.wakeAt())
	}
	w.now = max(w.now+time.Millisecond/10, next)
	w.etcd.expire(w.now)
	for len(w.queue) > 0 && w.queue[0].at <= w.now {
		heap.Pop(&w.queue).(pending).do()
	}
	for _, n := range w.nodes {
		n.step()
	}
	if h := w.holders(); len(h) > 1 {
		w.t.Fatalf("two hosts answer: %v\n%s", h, w.story())
	}
	if w.check != nil {
		if bad := w.check(); bad != "" {
			w.t.Fatalf("%s\n%s", bad, w.story())
		}
	}
}

// run lets d pass.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	for end := w.now + d; w.now < end; {
		w.event(end)
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
		w.event(w.now + 10*time.Millisecond)
	}
	return w.now - start
}

func (w *world) story() string {
	s := ""
	for _, l := range w.log[max(0, len(w.log)-40):] {
		s += l + "\n"
	}
	s += fmt.Sprintf("%8.3f now\n", w.now.Seconds())
	for _, n := range w.nodes {
		s += fmt.Sprintf("%s rate=%.4f dead=%v frozen=%v cut=%v lose=%v fit=%v answers=%v for %v trouble=%q synced=%v lease=%v mine=%+v\n", n.name, n.rate,
			n.dead, n.frozen, n.cut, n.lose, n.fit, n.bound(), n.end.Sub(n.clock()), n.core.trouble.what, n.core.synced, n.core.lease, n.core.mine)
	}
	for _, kv := range w.etcd.kv {
		s += fmt.Sprintf("%s@%d on %x: %s\n", kv.Key, kv.ModRevision, kv.Lease, kv.Value)
	}
	return s
}

// holders are the hosts whose kernel answers, whatever their daemon does.
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

// send carries a request to etcd and the reply back, each taking a while. What
// cannot be delivered may arrive later, as TCP has it when a cable comes back,
// whether or not anybody still waits for it.
func (n *simNode) send(r Request) {
	w, life := n.w, n.life
	rep := Reply{Sent: n.clock()}
	end := (n.current + r.Skip) % max(1, n.core.cfg.Endpoints)
	waits := true
	give := func(rep Reply) {
		if waits && n.life == life {
			waits = false
			n.answer(r, end, rep, life)
		}
	}
	w.at(r.Timeout, func() { give(Reply{Sent: rep.Sent, Err: errors.New("timeout"), Down: true}) })
	tries := 0
	var arrive func()
	arrive = func() {
		if n.cut || w.down || w.hung[end] || n.hangs[end] {
			if tries++; tries < 4 && w.rnd.Float64() < w.keep {
				w.at(w.upTo(5*time.Second), arrive)
			}
			return
		}
		w.etcd.do(n.keys(), r, &rep, w.now)
		if w.rnd.Float64() < w.dup {
			w.at(w.upTo(3*time.Second), func() { w.etcd.do(n.keys(), r, &Reply{}, w.now) })
		}
		if n.lose || n.cut {
			return
		}
		back := w.latency()
		if w.rnd.Float64() < w.slow {
			back = w.upTo(2 * time.Second)
		}
		w.at(back, func() { give(rep) })
	}
	w.at(w.latency(), arrive)
}

func (n *simNode) keys() Keys { return n.core.keys }

func (n *simNode) answer(r Request, end int, rep Reply, life int) {
	switch { // as Cluster.judge does
	case rep.Err == nil && r.Skip > 0:
		n.current = end
	case rep.Down && n.current == end:
		n.current = (end + 1) % max(1, n.core.cfg.Endpoints)
	}
	if n.dead || n.life != life {
		return
	}
	if n.frozen {
		n.w.at(50*time.Millisecond, func() { n.answer(r, end, rep, life) })
		return
	}
	rep.Got, rep.Wall, rep.Cluster = n.clock(), n.wall(), 42
	r.Done(rep)
	if rep.Down && n.watchEnds && end == n.watchAt {
		n.core.WatchEnded(n.watchGen, nil, n.clock(), n.wall())
	}
}

// deliver feeds the watch, behind by the node's lag.
func (n *simNode) deliver() {
	if n.watchGen == 0 || n.cut || n.w.down || n.watchGen != n.core.watchGen {
		return
	}
	from, to := n.undelivered()
	for to < len(n.w.etcd.events) && n.w.etcd.stamps[to]+n.lag <= n.w.now {
		to++
	}
	if events := n.w.etcd.events[from:to]; len(events) > 0 {
		n.watchRev = events[len(events)-1].KV.ModRevision + 1
		n.core.Watched(n.watchGen, events, n.clock(), n.wall())
	}
}

func (n *simNode) undelivered() (from, to int) {
	from, _ = slices.BinarySearchFunc(n.w.etcd.events, n.watchRev, func(e Event, rev int64) int { return cmp.Compare(e.KV.ModRevision, rev) })
	return from, from
}

// nextWatch is when the watch has something to deliver.
func (n *simNode) nextWatch() time.Duration {
	from, _ := n.undelivered()
	if n.watchGen == 0 || n.cut || n.w.down || n.watchGen != n.core.watchGen || from == len(n.w.etcd.events) {
		return never
	}
	return n.w.etcd.stamps[from] + n.lag
}

const never = time.Duration(1 << 62)

// real is when the node's clock shows at.
func (n *simNode) real(at boottime.Instant) time.Duration {
	return time.Duration(float64(at.Sub(n.zero))/n.rate) + time.Microsecond
}
