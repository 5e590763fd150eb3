package sim

import (
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/internal/node"
)

// host is one machine: a clock, a kernel, a mysqld, a way to etcd, and perhaps
// a process of leasehold.
type host struct {
	w        *world
	name     string
	ttl      time.Duration
	priority int
	preempt  bool
	last     bool // keeps the VIP when nobody is healthy

	ppm  int64 // what the clock runs too fast, in millionths
	zero boottime.Instant
	step time.Duration // of the wall clock

	off       bool // no power: nothing of it is left
	suspended bool // the whole machine stands still, its clock does not
	suspend   time.Duration
	kernel    kernel
	well      bool // mysqld
	path      path
	current   int // the member in use
	lag       time.Duration
	late      time.Duration // answers from etcd are up to that late
	broken    bool          // the VIP cannot be bound
	resets    time.Duration // how long the reset of the clients may take
	guarded   bool          // nothing happens to the process now: its fence is missing

	// The process.
	life    uint32
	dead    bool
	frozen  bool
	parked  []event
	trap    trap
	ambush  ambush
	eager   bool            // the ambush is sprung by whatever the loop does
	file    *election.Saved // what it has written down
	core    *election.Core
	memory  *node.Memory
	watch   watch
	events  []election.Event
	checks  health.State
	set     set
	loop    loop
	elect   ticker
	told    bool // the kernel has changed and the process will read it
	stop    bool // SIGTERM was sent
	said    election.MemberValue
	thread  *thread // the loop's actions, while they are carried out
	leaving bool    // the loop is over, the election gives back what is left
	closing time.Duration

	comeBack bool // it is started again when it has stopped

	cause time.Duration // when something last happened that may cost it the VIP
}

// margin is what cmd/leasehold gives an election, with and without a fence.
const margin = 5 * time.Millisecond

// clock is the host's CLOCK_BOOTTIME.
func (h *host) clock() boottime.Instant {
	return h.zero + boottime.Instant(int64(h.w.now)+int64(h.w.now)*h.ppm/1e6)
}

// real is the first moment at which the clock shows at.
func (h *host) real(at boottime.Instant) time.Duration {
	if at <= h.zero {
		return 0
	}
	d := int64(at - h.zero)
	t := d - d*h.ppm/(1e6+h.ppm)
	for t+t*h.ppm/1e6 >= d {
		t -= 2
	}
	for t+t*h.ppm/1e6 < d {
		t++
	}
	return time.Duration(t)
}

// wall is the host's time of day.
func (h *host) wall() time.Time { return timeOfDay(h.w.now + h.step) }

func (h *host) fenced() bool { return h.kernel.fence.can }

func (h *host) lateness() time.Duration {
	if h.fenced() {
		return 0
	}
	return kernelLateness + 45*time.Millisecond // as vip.Set.Lateness
}

// start runs the process, with what an earlier one of this boot has written down.
func (h *host) start() {
	w := h.w
	h.life++
	h.dead, h.frozen, h.stop, h.leaving, h.told, h.comeBack = false, false, false, false, false, false
	h.parked, h.trap, h.ambush, h.eager = h.parked[:0], trap{}, nil, false
	cfg := election.Config{
		Service: service, Node: h.name, TTL: h.ttl, Margin: margin, Priority: h.priority, Preempt: h.preempt,
		VIPs: []string{"10.20.8.188/24"}, Version: "sim", Endpoints: members,
	}
	var saved *election.Saved
	if h.file != nil {
		s := *h.file
		saved = &s
		w.cov.hit(startedWithState)
	}
	h.core = election.NewCore(cfg, saved)
	h.memory = node.NewMemory(node.Config{
		Service: service, Node: h.name, Priority: h.priority, Preempt: h.preempt, LastStanding: h.last, Version: "sim", TTL: h.ttl,
	})
	h.watch, h.checks, h.said = watch{}, health.State{Why: "no verdict yet"}, election.MemberValue{}
	h.set.open(h)
	h.loop = loop{h: h}
	h.elect = ticker{h: h, do: h.electionTurn}
	h.loop.tick = ticker{h: h, do: h.loop.turn}
	h.later(w.upTo(5*time.Millisecond), func() { h.elect.at(0) })
	h.later(w.upTo(5*time.Millisecond), func() { h.loop.tick.at(0) })
	h.heardOfKernel(w.upTo(5 * time.Millisecond))
	h.round()
	w.logf("%s: starts, state %v", h.name, saved != nil)
}

// kill ends the process without a word. What it has sent is still on its way.
func (h *host) kill() {
	h.life++
	h.dead, h.frozen = true, false
	h.parked, h.trap, h.ambush, h.eager = h.parked[:0], trap{}, nil, false
	if h.thread != nil {
		h.thread.stop()
		h.thread = nil
	}
	h.w.logf("%s: process ends", h.name)
}

// crash takes the whole machine: nothing of it answers, /run and bpffs are lost.
func (h *host) crash() {
	h.kill()
	h.off, h.suspended = true, false
	h.kernel.boot()
	h.file = nil
}

func (h *host) freeze() {
	if !h.dead {
		h.frozen = true
		h.w.logf("%s: process is frozen", h.name)
	}
}

// thaw lets the process go on where it was. Its goroutines go on in any order.
func (h *host) thaw() {
	h.frozen = false
	h.w.logf("%s: process goes on", h.name)
	parked := h.parked
	h.parked = nil
	for _, e := range parked {
		e.at = h.w.now + h.w.upTo(time.Millisecond)
		h.w.push(e)
	}
}

// sleep suspends the machine: its timers stand still, CLOCK_BOOTTIME does not.
func (h *host) sleep() {
	h.suspended, h.suspend = true, h.w.now
	h.frozen = true
	h.w.logf("%s: suspended", h.name)
}

func (h *host) wake() {
	h.suspended = false
	if a := &h.kernel.addr; a.there && a.end != 0 {
		a.end = a.end.Add((h.w.now - h.suspend) * 102 / 100)
		h.kernel.expire()
	}
	h.w.logf("%s: resumed", h.name)
	h.thaw()
}

// trap is something that happens to a process between two of its instructions.
type trap struct {
	left int // instructions until then; 0: none is set
	do   func()
}

func (t *trap) armed() bool { return t.left > 0 }

// An ambush is a trap that is not set before the process does something that
// matters.
type ambush func()

// spring sets the trap of an ambush within the next few instructions.
func (h *host) spring() {
	if h.ambush != nil && !h.trap.armed() {
		do := h.ambush
		h.ambush = nil
		h.trap = trap{left: 1 + h.w.rnd.IntN(10), do: do}
		h.w.cov.hit(ambushed)
	}
}

// later runs f as an instruction of this process, after d.
func (h *host) later(d time.Duration, f func()) {
	h.w.push(event{at: h.w.now + d, kind: call, life: h.life, host: h, do: f})
}

// next runs f as the next instruction. Only when something may come between is
// it an event of its own.
func (h *host) next(f func()) {
	if h.trap.armed() {
		h.later(h.w.upTo(20*time.Microsecond), f)
		return
	}
	f()
}

// ticker runs something at the earliest moment that was asked for.
type ticker struct {
	h   *host
	do  func()
	due time.Duration
	set bool
}

func (t *ticker) at(d time.Duration) {
	due := t.h.w.now + d
	if t.set && t.due <= due {
		return
	}
	t.due, t.set = due, true
	t.h.later(d, t.fire)
}

func (t *ticker) fire() {
	if t.set && t.h.w.now >= t.due {
		t.set = false
		t.do()
	}
}

// round is a full round of the checks.
func (h *host) round() {
	h.later(h.w.upTo(time.Second), h.judged)
}

// judged is the verdict of the checks on what is true now.
func (h *host) judged() {
	s := health.State{Known: true, Healthy: h.well, Why: "all checks OK"}
	if !h.well {
		s.Why = "mysqld is gone"
	}
	if s.Known != h.checks.Known || s.Healthy != h.checks.Healthy {
		h.checks = s
		h.loop.signal()
	}
}

// ill kills or starts the host's mysqld.
func (h *host) ill(is bool) {
	h.well = !is
	if !h.dead && h.checks.Known {
		h.later(time.Millisecond+h.w.upTo(200*time.Millisecond)*time.Duration(h.w.rnd.IntN(2)), h.judged)
	}
}
