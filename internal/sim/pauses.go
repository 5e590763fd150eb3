package sim

import (
	"time"

	"leasehold/election"
)

// livePaused lets things happen during a pause. Once the tenure covers it the VIP
// stays where it is; and when the pause is over with everything well, it has not
// moved.
func (w *world) livePaused() {
	h := w.settle()
	epoch := h.epoch()
	w.pauseFor(20*time.Second + w.upTo(40*time.Second))
	w.until(5*time.Second, "the tenure covers the pause", func() bool { return w.covered(h) })
	w.run(100 * time.Millisecond)
	w.cov.hit(pauseCovered)
	w.judge.check = func() string {
		if !h.kernel.answers() {
			return "the VIP went away in a pause"
		}
		return ""
	}
	menu := []fault{
		cutOff, loseRequests, loseReplies, freezeProcess, thawProcess, killProcess, killAndRestart, startProcess, stopProcess,
		strikeKill, strikeFreeze, strikeRestart, mysqldDown, mysqldUp, allMysqldDown, lanFlips, leaderLost, leaderLostLong, quorumFlips,
		memberHangs, memberRefuses, watchLags, watchSilent, watchBreaks, compacted, wallStep, garbageWritten, pauseTimed, pauseEndless, crashHost,
	}
	for range 15 {
		f, o := menu[w.rnd.IntN(len(menu))], w.pick()
		switch {
		case o == h && (f == crashHost || f == wallStep): // a pause is as long as the clock says that reads it
		case f == pauseTimed || f == pauseEndless:
			w.pauseAgain(h, f)
		default:
			w.cause(f, o)
		}
		w.run(w.upTo(2 * time.Second))
		if w.bad != "" {
			return
		}
		if left := w.pauseLeft(); left < 8*time.Second {
			w.healPaused()
			w.pauseAgain(h, pauseTimed)
		}
	}
	w.healPaused()
	w.run(2 * time.Second)
	if w.oneIn(2) {
		w.etcd.delete(w.keys.Pause())
	}
	w.run(max(0, w.pauseLeft()) + 70*time.Second)
	w.etcd.delete(w.keys.Pause()) // one without an end
	w.run(5 * time.Second)
	if s := h.core.State(); w.bad == "" && (h.loop.role.String() != "holder" || s.Epoch != epoch || s.Long || s.TTL != h.ttl) {
		w.fail("after the pause the VIP is not where it was, on a short lease: %v", h)
		return
	}
	w.cov.hit(pauseSurvived)
}

// covered reports whether the host's tenure covers the pause that stands, and it
// knows.
func (w *world) covered(h *host) bool {
	kv := w.etcd.get(w.keys.Pause())
	if kv == nil || h.dead {
		return kv == nil
	}
	s := h.core.State()
	if !s.Long || s.View.Pause == nil || s.View.Pause.ModRevision != kv.ModRevision || h.loop.busy {
		return false
	}
	end := s.View.Pause.End()
	until := h.kernel.until()
	return end == 0 && until-w.now > 20*time.Hour || end != 0 && h.real(end) <= until
}

// pauseLeft is what is left of the pause that stands.
func (w *world) pauseLeft() time.Duration {
	kv := w.etcd.get(w.keys.Pause())
	if kv == nil {
		return 0
	}
	p := election.DecodePause(kv.Value)
	if p.Until == nil {
		return time.Hour
	}
	return p.Until.Sub(timeOfDay(w.now))
}

// pauseAgain puts another pause in the place of the one that stands, when the
// holder can hear of it.
func (w *world) pauseAgain(h *host, f fault) {
	w.member = [members]member{}
	h.ambush = nil
	if h.dead || h.frozen || h.stop || h.trap.armed() || !h.path.whole() || w.etcd.down || w.now < w.etcd.electing || h.core.State().HeldUntil == 0 {
		return
	}
	if f == pauseEndless {
		w.cause(f, h)
	} else {
		w.cov.faults[f]++
		w.pauseFor(15*time.Second + w.upTo(40*time.Second))
	}
	w.until(12*time.Second, "the tenure covers the changed pause", func() bool { return w.covered(h) })
}

// healPaused makes all well but leaves the pause.
func (w *world) healPaused() {
	w.etcd.down, w.etcd.electing = false, 0
	w.member = [members]member{}
	for _, h := range w.hosts {
		w.healHost(h)
	}
	w.run(5 * time.Second)
}
