package sim

import (
	"fmt"
	"time"

	"leasehold/internal/boottime"
)

// profile is what kind of a life a world has.
type profile uint8

const (
	wild     profile = iota // anything, then all is healed
	oneFault                // one at a time, to a holder among well ones: the bounds
	others                  // to everybody but the holder: nothing moves
	paused                  // during a pause: the VIP stays
	profiles
)

func (p profile) String() string { return [...]string{"wild", "one fault", "others", "paused"}[p] }

// Options says what world a seed makes. The zero Options leave all to the seed.
type Options struct {
	Seed    uint64
	Profile string // empty: the seed's
	Trace   bool
}

// profileOf is the options' profile, or the seed's.
func (o Options) profile() profile {
	for p := range profiles {
		if p.String() == o.Profile {
			return p
		}
	}
	switch x := o.Seed % 10; {
	case x < 6:
		return wild
	case x < 8:
		return oneFault
	default:
		return others + profile(x-8)
	}
}

// guards is which hosts have a fence: all, none, or each by chance.
type guards uint8

const (
	allFenced guards = iota
	noneFenced
	mixed
)

// populate gives the world two to five hosts, with clocks of their own.
func (w *world) populate(p profile) {
	g := []guards{allFenced, allFenced, noneFenced, mixed}[w.rnd.IntN(4)]
	fast := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second}
	slow := []time.Duration{3 * time.Second, 3 * time.Second, 4 * time.Second, 10 * time.Second}
	ttls := slow
	if g == allFenced {
		ttls = fast
	}
	same := p != wild || w.oneIn(2)
	ttl := ttls[w.rnd.IntN(len(ttls))]
	n := 2 + w.rnd.IntN(3)
	if w.oneIn(8) {
		n = 5
	}
	ranked, preempt := w.oneIn(3), p == wild && w.oneIn(2)
	for i := range n {
		h := &host{w: w, name: fmt.Sprintf("n%d", i), priority: 100, zero: boottime.Instant(1000 * time.Hour), well: true}
		h.kernel = kernel{h: h, link: true, lan: true}
		h.kernel.fence.can = g == allFenced || g == mixed && w.oneIn(2)
		if !same {
			ttl = ttls[w.rnd.IntN(len(ttls))]
		}
		h.ttl = ttl
		h.ppm = w.drift()
		h.resets = time.Millisecond + w.upTo(70*time.Millisecond)
		h.current = w.rnd.IntN(members)
		if ranked {
			h.priority += w.rnd.IntN(3)
			h.preempt = preempt && w.oneIn(2)
		}
		h.last = p == wild && w.oneIn(6)
		w.hosts = append(w.hosts, h)
	}
	w.countGuards()
	for _, h := range w.hosts {
		h.start()
	}
}

// drift is how much a clock runs too fast: often as much as is allowed for.
func (w *world) drift() int64 {
	switch w.rnd.IntN(4) {
	case 0:
		return 10_000
	case 1:
		return -10_000
	case 2:
		return 0
	}
	return w.rnd.Int64N(20_001) - 10_000
}

func (w *world) countGuards() {
	with := 0
	for _, h := range w.hosts {
		if h.fenced() {
			with++
		}
	}
	if with > 0 && with < len(w.hosts) {
		w.cov.hit(bothGuards)
	}
}

// holder is the host that answers and whose process knows that it does.
func (w *world) holder() *host {
	for _, h := range w.hosts {
		if h.kernel.answers() && !h.dead && h.loop.role.String() == "holder" {
			return h
		}
	}
	return nil
}

// settle waits for a first holder, and until everybody knows.
func (w *world) settle() *host {
	w.until(3*w.longest()+10*time.Second, "a holder", func() bool { return w.holder() != nil })
	w.run(2 * time.Second)
	if w.bad != "" {
		return w.hosts[0]
	}
	if h := w.holder(); h != nil {
		return h
	}
	w.fail("nobody holds, and nothing is wrong")
	return w.hosts[0]
}

// live runs the world's whole life.
func (w *world) live(p profile) {
	w.populate(p)
	switch p {
	case oneFault:
		w.liveOneFault()
	case others:
		w.liveOthers()
	case paused:
		w.livePaused()
	default:
		w.liveWild()
	}
}

// liveWild throws faults at the cluster, of some kinds more than of others.
func (w *world) liveWild() {
	w.kept, w.doubled = 0.7*w.rnd.Float64(), 0.05*w.rnd.Float64()
	if w.oneIn(3) {
		w.earlyLeases = 0.02
	}
	if w.oneIn(3) {
		w.lateLeases = 0.1
	}
	if w.oneIn(4) {
		w.holes = []float64{0.02, 0.3}[w.rnd.IntN(2)]
	}
	if w.oneIn(2) {
		w.run(w.upTo(3 * w.longest()))
	}
	menu, often := w.menu(), 2+w.rnd.IntN(10)
	if w.oneIn(3) {
		menu, often = duel(), 2
	}
	scale := w.longest() * time.Duration(1+w.rnd.IntN(3)) / 2
	for range 10 + w.rnd.IntN(30) {
		w.cause(menu[w.rnd.IntN(len(menu))], w.victim())
		if w.oneIn(3) {
			w.run(w.upTo(50 * time.Millisecond))
		} else {
			w.run(w.upTo(scale))
		}
		if w.bad != "" {
			return
		}
		switch {
		case w.oneIn(15):
			w.lull()
		case w.oneIn(often):
			w.mend()
		}
	}
	w.recover()
}

// mend makes etcd well, and one host: else in most worlds nobody would hold most
// of the time.
func (w *world) mend() {
	w.etcd.down, w.etcd.full, w.etcd.electing = false, false, 0
	w.member = [members]member{}
	h := w.pick()
	h.blame()
	w.refresh(h)
}

// menu is which faults a world has, and how often: each world has a few of its own,
// because what one fault brings about another often covers up.
func (w *world) menu() []fault {
	var menu []fault
	for range 3 + w.rnd.IntN(12) {
		f := fault(w.rnd.IntN(int(faults)))
		for range 1 + w.rnd.IntN(3) {
			menu = append(menu, f)
		}
	}
	return append(menu, startProcess, thawProcess, resumeHost)
}

// duel is what ends tenures and begins them: a holder that is struck at a bad
// moment, and another that cannot wait.
func duel() []fault {
	return []fault{
		strikeKill, strikeKill, strikeFreeze, strikeFreeze, strikeRestart, killProcess, killAndRestart, freezeProcess, thawProcess,
		slowReplies, slowReplies, cutOff, loseReplies, loseRequests, crashHost, mysqldDown, mysqldUp,
		pauseTimed, pauseEndless, pauseRemoved, pauseRemoved, holderLeaseRevoked, watchSilent, foreignClaim, leaderLost, switchoverAsked,
		strayVIP, strayVIP, vipRemoved,
	}
}

// victim is who is struck: the holder as often as not.
func (w *world) victim() *host {
	if w.oneIn(2) {
		for _, h := range w.hosts {
			if h.kernel.answers() {
				return h
			}
		}
	}
	return w.pick()
}

// lull is a time in which nothing more goes wrong. Some hosts are well, the
// others stay as they are.
func (w *world) lull() {
	w.heal0()
	if w.longTenure() {
		return
	}
	w.cov.hit(boundLull)
	w.promise(w.generalBound())
	w.run(w.judge.bound + w.upTo(5*time.Second))
	w.judge.bound = 0
}

// recover makes all well, and expects a holder.
func (w *world) recover() {
	w.heal()
	if w.longTenure() {
		w.run(10 * time.Second)
		if w.holder() == nil && w.longTenure() && w.bad == "" {
			w.relieve()
		}
	}
	if w.bad != "" {
		return
	}
	w.cov.hit(boundHeal)
	w.promise(w.generalBound())
	w.until(w.judge.bound+time.Second, "a holder, with everything well", func() bool { return w.holder() != nil })
	w.run(20 * time.Second)
	w.judge.bound = 0
}

// promise has the judge see to it that the VIP is not away for longer than d
// from now on.
func (w *world) promise(d time.Duration) {
	w.judge.calm, w.judge.bound = w.now, d
}

// generalBound is how long the VIP may be away once nothing more goes wrong and a
// host is well that hears etcd: the longest tenure that may stand, on a clock
// that is 1 % slow, twice where its watch was silent (see unseen); what it takes
// to notice that (election.Core checks after 5 s at most); a round of the checks;
// the way that is left to one who was named in a switchover; the turns of those
// that are better and do not come; and a request that hangs.
func (w *world) generalBound() time.Duration {
	return 2*w.longest()*100/99 + 5*time.Second + time.Second + time.Second + time.Duration(len(w.hosts))*50*time.Millisecond + 2*time.Second
}
