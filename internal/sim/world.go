package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
)

// world is a cluster in virtual time. Time goes from event to event; whatever
// changes in between (a fence that shuts, a lifetime that ends) changes by the
// clock alone and can only take something away. One world is one thread.
type world struct {
	rnd    *rand.Rand
	now    time.Duration // real time
	seq    uint64
	events uint64
	queue  queue
	etcd   store
	member [members]member
	hosts  []*host
	keys   election.Keys
	log    hclog.Logger // of nobody

	kept        float64 // how much of what cannot be delivered arrives later
	doubled     float64 // how much is carried out a second time, later
	earlyLeases float64 // how many leases etcd ends before their time
	lateLeases  float64
	holes       float64 // how many events a watch leaves out
	squatter    bool    // a stranger answers for the VIP

	bars time.Duration // until then a host may be barred because it could not bind

	judge  judge
	bad    string // the first thing that must not be; empty: nothing
	cov    *Coverage
	traced bool
	story  []string
}

const (
	service = "mysql"
	never   = time.Duration(1 << 62)
)

// timeOfDay is what the clocks on the wall show in a world that is that old.
func timeOfDay(age time.Duration) time.Time { return time.Unix(1_800_000_000, 0).UTC().Add(age) }

func newWorld(seed uint64, cov *Coverage, traced bool) *world {
	w := &world{rnd: rand.New(rand.NewPCG(seed, 7)), keys: election.KeysOf(service), log: hclog.NewNullLogger(), cov: cov, traced: traced}
	w.etcd = newStore(w)
	w.judge = judge{w: w, holders: map[int64]string{}}
	return w
}

// upTo is a random time from 0 up to d.
func (w *world) upTo(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rnd.Int64N(int64(d)))
}

func (w *world) chance(p float64) bool { return p > 0 && w.rnd.Float64() < p }

func (w *world) oneIn(n int) bool { return w.rnd.IntN(n) == 0 }

func (w *world) pick() *host { return w.hosts[w.rnd.IntN(len(w.hosts))] }

func (w *world) push(e event) {
	w.seq++
	e.seq = w.seq
	w.queue.push(e)
}

// at has something happen that is no process's doing.
func (w *world) at(d time.Duration, f func()) {
	w.push(event{at: w.now + max(d, 0), do: f})
}

// logf notes something for the timeline of a failure.
func (w *world) logf(format string, args ...any) {
	if w.traced {
		w.story = append(w.story, fmt.Sprintf("%11.6f ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// fail notes that something happened that must not.
func (w *world) fail(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf("at %.6f s: ", w.now.Seconds()) + fmt.Sprintf(format, args...)
		w.logf("*** %s", w.bad)
	}
}

// run lets d pass, or less when something goes wrong.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for w.bad == "" && len(w.queue) > 0 && w.queue[0].at <= end {
		w.event()
	}
	if w.bad == "" {
		w.now = end
		w.judge.look()
	}
}

// until runs until cond holds, and fails after limit.
func (w *world) until(limit time.Duration, what string, cond func() bool) {
	for end := w.now + limit; w.bad == "" && !cond(); {
		if len(w.queue) == 0 || w.queue[0].at > end {
			w.now = end
			w.fail("not within %v: %s", limit, what)
			return
		}
		w.event()
	}
}

// event lets the next event happen, and looks at what has become of the world.
func (w *world) event() {
	e := w.queue.pop()
	w.now = e.at
	w.events++
	if e.life != 0 && !e.host.runs(&e) {
		return
	}
	switch e.kind {
	case call:
		e.do()
	case arrive:
		w.arrived(e.fl)
	case again:
		var nobody election.Reply
		w.cov.hit(requestDoubled)
		w.etcd.do(&e.fl.r, &nobody)
	case reply:
		e.host.returned(e.fl, e.fl.rep)
	case timeout:
		e.host.returned(e.fl, election.Reply{Sent: e.fl.rep.Sent, Err: errTimeout, Down: true})
	}
	w.judge.look()
}

// runs reports whether the process gets to execute e now: it may be gone, stand
// still, or be struck by its trap right before it.
func (h *host) runs(e *event) bool {
	if e.life != h.life || h.dead {
		return false
	}
	if !h.frozen && h.trap.armed() {
		if h.trap.left--; h.trap.left == 0 {
			h.trap.do()
			if e.life != h.life {
				return false
			}
		}
	}
	if h.frozen {
		h.parked = append(h.parked, *e)
		return false
	}
	return true
}

// close ends what is left of the threads.
func (w *world) close() {
	for _, h := range w.hosts {
		if h.thread != nil {
			h.thread.stop()
			h.thread = nil
		}
	}
}
