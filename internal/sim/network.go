package sim

import (
	"errors"
	"time"

	"leasehold/election"
)

// members is how many members etcd has, each an endpoint of every host.
const members = 3

// path is a host's way to etcd, per member and direction.
type path struct {
	lost    [members]bool // requests do not arrive
	unheard [members]bool // answers do not
	slow    bool          // some answers take long
}

// cut ends or restores both directions to every member.
func (p *path) cut(is bool) {
	for i := range members {
		p.lost[i], p.unheard[i] = is, is
	}
}

func (p *path) whole() bool { return *p == path{} }

// member is what is wrong with one member of etcd.
type member struct {
	hangs   bool // takes requests, answers none
	refuses bool // connections
}

// flight is a request on its way.
type flight struct {
	h     *host
	r     election.Request
	rep   election.Reply
	end   int // the member
	waits bool
	tries int
}

var (
	errTimeout   = errors.New("no answer in time")
	errRefused   = errors.New("connection refused")
	errCompacted = errors.New("required revision has been compacted")
	errStream    = errors.New("the stream ended")
)

func (w *world) latency() time.Duration {
	return 500*time.Microsecond + w.upTo(2*time.Millisecond)
}

// carry sends a request: what election.Candidate does in carry and
// election.Cluster in send. The clock is read before it leaves.
func (h *host) carry(r election.Request) {
	w := h.w
	fl := &flight{h: h, r: r, end: (h.current + r.Skip) % members, waits: true}
	fl.rep.Sent = h.clock()
	w.push(event{at: w.now + r.Timeout, kind: timeout, life: h.life, host: h, fl: fl})
	if h.trap.armed() { // it may be held up between the clock and the cable
		h.later(w.upTo(50*time.Microsecond), func() { w.push(event{at: w.now + w.latency(), kind: arrive, fl: fl}) })
		return
	}
	w.push(event{at: w.now + w.latency(), kind: arrive, fl: fl})
}

// arrived has a request carried out. What cannot be delivered may arrive later,
// as TCP has it when a cable comes back, whether or not anybody still waits.
func (w *world) arrived(fl *flight) {
	m := &w.member[fl.end]
	switch {
	case m.refuses:
		if !fl.h.path.unheard[fl.end] {
			fl.rep.Err, fl.rep.Down = errRefused, true
			w.push(event{at: w.now + w.latency(), kind: reply, life: fl.h.life, host: fl.h, fl: fl})
		}
		return
	case fl.h.path.lost[fl.end], m.hangs, w.etcd.down:
		w.cov.hit(requestLost)
		if fl.tries++; fl.tries < 4 && w.chance(w.kept) {
			w.push(event{at: w.now + w.upTo(5*time.Second), kind: arrive, fl: fl})
		}
		return
	case w.now < w.etcd.electing:
		w.push(event{at: w.etcd.electing + w.latency(), kind: arrive, fl: fl})
		return
	}
	w.etcd.do(&fl.r, &fl.rep)
	if w.chance(w.doubled) {
		w.push(event{at: w.now + w.upTo(3*time.Second), kind: again, fl: fl})
	}
	back := w.latency() + w.upTo(fl.h.late)
	if fl.h.path.slow && w.chance(0.3) {
		back = w.upTo(min(fl.h.ttl, 4*time.Second) / 2) // some in time, some after the next try
		w.cov.hit(replySlow)
	}
	if fl.h.path.unheard[fl.end] {
		w.cov.hit(replyLost)
		return
	}
	w.push(event{at: w.now + back, kind: reply, life: fl.h.life, host: fl.h, fl: fl})
}

// returned hands an answer to the process that waits for it: what
// election.Cluster does in judge and election.Candidate in carry.
func (h *host) returned(fl *flight, rep election.Reply) {
	if !fl.waits {
		return
	}
	fl.waits = false
	switch {
	case rep.Err == nil && fl.r.Skip > 0:
		h.current = fl.end
	case rep.Err != nil && !rep.LeaseGone && h.current == fl.end:
		h.current = (fl.end + 1) % members
	}
	rep.Got, rep.Wall, rep.Cluster = h.clock(), h.wall(), 42
	h.next(func() {
		fl.r.Done(rep)
		if wt := &h.watch; rep.Down && wt.gen != 0 && wt.end == fl.end {
			h.core.WatchEnded(wt.gen, nil, rep.Got, rep.Wall) // what fails here is deaf as well
		}
		h.kickElection(0)
	})
}

// watch is the one watch of a host.
type watch struct {
	gen    int
	rev    int64 // what comes next
	end    int   // the member
	open   bool
	silent bool // it says nothing any more, not even that it ended
	due    bool // a delivery is on its way
}

// follow starts the watch that the core wants, unless it runs already.
func (h *host) follow(gen int, rev int64) {
	if gen == h.watch.gen {
		return
	}
	h.watch = watch{gen: gen, rev: rev, end: h.current}
	h.later(h.w.latency(), func() { h.openWatch(gen) })
}

func (h *host) openWatch(gen int) {
	wt, w := &h.watch, h.w
	if wt.gen != gen {
		return
	}
	switch {
	case w.member[wt.end].refuses:
		h.endWatch(gen, errRefused)
	case h.deaf(wt.end):
		h.later(time.Second, func() { h.endWatch(gen, errTimeout) })
	case wt.rev <= w.etcd.compact:
		w.cov.hit(watchCompacted)
		h.endWatch(gen, errCompacted)
	default:
		wt.open = true
		h.expect()
	}
}

// deaf reports whether nothing of a member reaches the host.
func (h *host) deaf(end int) bool {
	return h.path.lost[end] || h.path.unheard[end] || h.w.member[end].hangs || h.w.member[end].refuses || h.w.etcd.down
}

func (h *host) endWatch(gen int, why error) {
	if h.watch.gen != gen {
		return
	}
	h.w.cov.hit(watchEnded)
	h.watch.open = false
	h.core.WatchEnded(gen, why, h.clock(), h.wall())
	h.kickElection(0)
}

// told lets every watch know that something changed.
func (w *world) told() {
	for _, h := range w.hosts {
		h.expect()
	}
}

// expect has what the watch owes delivered, behind by the host's lag.
func (h *host) expect() {
	if !h.watch.open || h.watch.due || h.watch.silent {
		return
	}
	h.watch.due = true
	gen := h.watch.gen
	h.later(h.w.latency()+h.lag, func() { h.deliver(gen) })
}

func (h *host) deliver(gen int) {
	wt, w := &h.watch, h.w
	if wt.gen != gen {
		return
	}
	wt.due = false
	if !wt.open || wt.silent {
		return
	}
	if h.deaf(wt.end) { // TCP keeps it
		wt.due = true
		h.later(100*time.Millisecond, func() { h.deliver(gen) })
		return
	}
	if wt.rev <= w.etcd.compact {
		w.cov.hit(watchCompacted)
		h.endWatch(gen, errCompacted)
		return
	}
	from, to := w.etcd.since(wt.rev), len(w.etcd.log)
	if from == to {
		return
	}
	h.events = h.events[:0]
	for _, c := range w.etcd.log[from:to] {
		if w.now < c.at+h.lag { // the rest is not here yet
			break
		}
		if w.chance(w.holes) {
			w.cov.hit(watchHole)
			h.blame()
			continue
		}
		h.events = append(h.events, c.ev)
	}
	for from < to && w.now >= w.etcd.log[from].at+h.lag {
		wt.rev = w.etcd.log[from].ev.KV.ModRevision + 1
		from++
	}
	if from < to {
		h.expect()
	}
	if len(h.events) > 0 {
		h.core.Watched(gen, h.events, h.clock(), h.wall())
		h.kickElection(0)
	}
}
