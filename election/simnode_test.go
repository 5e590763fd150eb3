package election

import (
	"time"

	"leasehold/internal/boottime"
)

// simNode is one host: a core, a clock, a way to etcd, a kernel, and a stand-in
// for internal/node that decides as its Step does.
type simNode struct {
	w    *world
	name string
	core *Core
	ttl  time.Duration
	rate float64 // of its clock
	zero boottime.Instant
	life int    // grows with every start of the daemon
	file *Saved // what the daemon has written down

	cut       bool         // from etcd
	lose      bool         // requests arrive, replies are lost
	hangs     map[int]bool // endpoints that never answer it
	current   int          // the endpoint in use
	frozen    bool
	dead      bool // the daemon; the kernel goes on
	fit       bool
	lag       time.Duration // of the watch
	watchEnds bool          // with every request that fails, as Candidate.carry has it
	watchGen  int
	watchAt   int // endpoint
	watchRev  int64

	holding  bool
	epoch    int64
	until    boottime.Instant // the kernel removes the VIP no sooner
	end      boottime.Instant // and does so then
	removing boottime.Instant // the end of a removal that is under way
	why      string           // to resign with, after it
	slowness time.Duration    // how long a removal takes
}

const (
	simLateness = time.Second           // as vip.Set.Lateness
	simLetGo    = 70 * time.Millisecond // as internal/node
	simMargin   = 50 * time.Millisecond
)

func (w *world) newNode(name string, ttl time.Duration) *simNode {
	n := &simNode{w: w, name: name, ttl: ttl, rate: 1, zero: boottime.Instant(1000 * time.Hour), fit: true, lag: time.Millisecond, slowness: 2 * time.Millisecond}
	n.boot(nil)
	return n
}

// boot starts the daemon with what an earlier one wrote down.
func (n *simNode) boot(saved *Saved) {
	cfg := Config{Service: "mysql", Node: n.name, TTL: n.ttl, Margin: simMargin, Priority: 100, VIPs: []string{"10.20.8.188/24"}, Version: "test"}
	if n.core != nil {
		cfg.Endpoints = n.core.cfg.Endpoints
	}
	n.core = NewCore(cfg, saved)
	n.life++
	n.dead, n.frozen, n.holding, n.removing, n.why, n.watchGen = false, false, false, 0, "", 0
	n.say()
}

func (n *simNode) say() {
	n.core.Say(MemberValue{Node: n.name, Priority: 100, Eligible: n.fit, Version: "test"})
}

// kill ends the daemon without a word.
func (n *simNode) kill() {
	n.dead = true
	n.life++
}

// crash takes the whole host: nothing of it answers, and /run is lost.
func (n *simNode) crash() {
	n.kill()
	n.until, n.end, n.file = 0, 0, nil
}

func (n *simNode) clock() boottime.Instant {
	return n.zero.Add(time.Duration(float64(n.w.now) * n.rate))
}

func (n *simNode) wall() time.Time { return time.Unix(1_800_000_000, 0).Add(n.w.now) }

// bound reports whether the kernel has the VIP.
func (n *simNode) bound() bool { return n.end != 0 && n.clock().Before(n.end) }

// step runs one node: what its loop would do, then what its core asks for.
func (n *simNode) step() {
	if n.end != 0 && !n.bound() {
		n.until, n.end = 0, 0 // the kernel did
	}
	if n.dead || n.frozen {
		return
	}
	c := n.core
	c.Tick(n.clock(), n.wall())
	n.decide()
	reqs := c.Poll(n.clock(), n.wall())
	n.file = c.Save() // before they are sent, as Candidate.turn has it
	for _, r := range reqs {
		n.send(r)
	}
	if c.watchGen != n.watchGen {
		n.watchGen, n.watchRev, n.watchAt = c.watchGen, c.watchRev, n.current
	}
	n.deliver()
}

// wakeAt is when something may happen by itself.
func (n *simNode) wakeAt() time.Duration {
	at := never
	if n.end != 0 {
		at = n.real(n.end)
	}
	if n.dead || n.frozen {
		return at
	}
	at = min(at, n.nextWatch())
	s := n.core.State()
	wake := n.core.Wake()
	for _, t := range []boottime.Instant{
		n.removing, s.FreeAt, s.AdoptUntil.Add(-simLateness), s.HeldUntil.Add(-simLateness - simLetGo), s.HeldUntil.Add(-simLateness - 1040*time.Millisecond),
	} {
		if n.clock().Before(t) {
			wake = min(wake, t)
		}
	}
	return min(at, n.real(wake))
}

// decide does what internal/node does.
func (n *simNode) decide() {
	c, now := n.core, n.clock()
	if n.removing != 0 {
		n.removed()
		return
	}
	s := c.State()
	until := boottime.Instant(0)
	if s.HeldUntil != 0 {
		until = s.HeldUntil.Add(-simLateness)
	}
	held := now.Before(until.Add(-simLetGo))
	switch {
	case n.holding:
		if why := n.leave(s, held); why != "" {
			n.remove(why)
			return
		}
		n.repair(s, until)
	case held && (n.fit || s.Paused):
		c.Campaign(false)
		if n.set(until) {
			n.holding, n.epoch = true, s.Epoch
			n.w.logf("%s holds epoch %d for %v", n.name, s.Epoch, until.Sub(now))
		}
		return
	case held:
		c.Campaign(false)
		n.remove("not fit")
		return
	case n.end != 0 && (s.AdoptUntil == 0 || !now.Before(s.AdoptUntil.Add(-simLateness))):
		n.remove("")
	}
	c.Campaign(!n.holding && n.fit && !s.Paused && s.FreeAt != 0 && !now.Before(s.FreeAt))
}

func (n *simNode) leave(s State, held bool) string {
	switch {
	case !held && s.Over != "":
		return s.Over
	case !held:
		return "could not be renewed"
	case s.Paused, s.PauseOver:
		return ""
	case !n.fit:
		return "ill"
	}
	return s.Yield
}

func (n *simNode) repair(s State, until boottime.Instant) {
	now := n.clock()
	if s.PauseOver {
		short := min(until, Deadline(now, n.ttl, simMargin).Add(-simLateness))
		if short.Before(until) && !n.set(short) {
			return
		}
		n.w.logf("%s shortens to %v", n.name, short.Sub(now))
		n.core.Shorten(s.Epoch, short.Add(simLateness))
		return
	}
	room := until.Sub(now)
	if n.end == 0 || room >= time.Second+simLetGo && until.Sub(n.until) >= time.Second ||
		room < time.Second+simLetGo && n.until.Before(until.Add(-simLetGo)) {
		n.set(until)
	}
}

// set gives the VIP a lifetime in the kernel: whole seconds, and up to one more.
func (n *simNode) set(until boottime.Instant) bool {
	now := n.clock()
	life := until.Sub(now).Truncate(time.Second)
	if life < time.Second {
		return false
	}
	n.until = now.Add(life)
	n.end = n.until.Add(n.w.upTo(simLateness))
	return true
}

// remove takes the VIP away, which takes a while: clients are reset first.
func (n *simNode) remove(why string) {
	n.why = why
	n.removing = n.clock().Add(1 + n.w.upTo(n.slowness))
	n.w.logf("%s lets go of epoch %d: %s", n.name, n.core.mine.epoch, why)
}

func (n *simNode) removed() {
	if n.clock().Before(n.removing) {
		return
	}
	n.removing, n.until, n.end, n.holding = 0, 0, 0, false
	if n.why != "" {
		n.say()
		n.core.Release(n.core.mine.epoch, n.why)
	}
}
