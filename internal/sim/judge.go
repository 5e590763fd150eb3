package sim

import (
	"encoding/json"
	"strings"
	"time"

	"leasehold/election"
	"leasehold/internal/node"
)

// judge checks after every event what must hold.
type judge struct {
	w *world

	// up is the host that answered at the last look, and when it would have ceased
	// to by itself.
	up      *host
	upUntil time.Duration

	top     int64            // the highest epoch that was taken
	holders map[int64]string // by epoch
	forged  bool             // strangers wrote tenures: epochs may repeat for those who never saw the old ones

	// Not nowhere: since when nothing has gone wrong that may keep the VIP away,
	// and how long it may be away from then on; 0: not checked.
	calm  time.Duration
	bound time.Duration

	check func() string // what else must hold; empty: it does
}

// look is the invariants that are checked after every event.
func (j *judge) look() {
	w := j.w
	if w.bad != "" {
		return
	}
	up := (*host)(nil)
	for _, h := range w.hosts {
		if !h.kernel.answers() {
			continue
		}
		if up != nil {
			w.fail("two hosts answer: %s (epoch %d) and %s (epoch %d)", up.name, up.epoch(), h.name, h.epoch())
			return
		}
		up = h
	}
	if up != nil {
		j.up, j.upUntil = up, up.kernel.until()
		j.also()
		return
	}
	if j.up != nil {
		j.up, j.upUntil = nil, min(j.upUntil, w.now)
	}
	if j.bound > 0 {
		down := max(j.calm, j.upUntil)
		if w.now-down > j.bound {
			w.fail("nobody has the VIP for %v, allowed are %v", w.now-down, j.bound)
			return
		}
	}
	j.also()
}

func (j *judge) also() {
	if j.check != nil {
		if bad := j.check(); bad != "" {
			j.w.fail("%s", bad)
		}
	}
}

// epoch is of the host's latest tenure.
func (h *host) epoch() int64 { return h.core.State().Epoch }

// judgeTxn looks at a transaction that etcd carries out.
func (w *world) judgeTxn(r *election.Request) {
	if r.Kind != election.KindTake {
		return
	}
	j := &w.judge
	var t election.TenureValue
	for _, x := range r.Txn.Then {
		if x.Key == w.keys.Tenure() {
			if err := json.Unmarshal([]byte(x.Value), &t); err != nil {
				w.fail("take-over with a record that is no JSON: %s", x.Value)
			}
		}
	}
	w.logf("etcd: %s takes over, epoch %d", t.Node, t.Epoch)
	for _, h := range w.hosts { // before it is bound: safety does not rest on the probe
		if h.name != t.Node && h.kernel.answers() {
			w.fail("%s takes over, epoch %d, while %s answers", t.Node, t.Epoch, h.name)
		}
	}
	if w.etcd.get(w.keys.Pause()) != nil {
		w.fail("%s takes over, epoch %d, while HA is paused", t.Node, t.Epoch)
	}
	id := t.Node + " on " + t.Lease.String()
	switch was, taken := j.holders[t.Epoch]; {
	case taken && was != id && !j.forged:
		w.fail("epoch %d is taken by %s, and was by %s", t.Epoch, id, was)
	case t.Epoch <= j.top && !j.forged && !taken:
		w.fail("%s takes epoch %d, and %d was taken before", t.Node, t.Epoch, j.top)
	}
	j.holders[t.Epoch] = id
	j.top = max(j.top, t.Epoch)
	w.countTake()
}

// countTake tells the ways to a take-over apart.
func (w *world) countTake() {
	switch holder, tenure := w.etcd.get(w.keys.Holder()), w.etcd.get(w.keys.Tenure()); {
	case tenure == nil && holder == nil:
		w.cov.hit(tookFirst)
	case holder == nil && strings.Contains(string(tenure.Value), election.TenureReleased):
		w.cov.hit(tookReleased)
	case holder == nil:
		w.cov.hit(tookVanished)
	default:
		w.cov.hit(tookStanding)
	}
}

// judgeOpening looks at a fence that is opened, or stays open for longer: after
// somebody else's claim etcd must have confirmed the tenure, by a request that was
// sent after the claim.
func (w *world) judgeOpening(h *host) {
	if f := &h.kernel.fence; f.disputed && h.loop.renewed <= f.claimed {
		w.fail("%s opens its fence after a claim that etcd was not asked about", h.name)
	}
}

// judgeRole looks at a change of role: a holder that was well, and was not asked
// to, does not let go.
func (w *world) judgeRole(h *host, from, to node.Role, f node.Facts) {
	switch {
	case to == node.Holder && f.Copies > 0:
		w.cov.hit(adopted)
	case to == node.Holder:
		w.cov.hit(becameHolder)
	case from == node.Holder:
		w.cov.hit(letGoOf)
		if w.now-h.cause > h.memoryOf() && !h.unwell() {
			w.fail("%s lets go of epoch %d although nothing is wrong with it (facts %+v)", h.name, h.epoch(), f)
		}
	}
}

// memoryOf is how long after something happened to a host it may still cost it
// its tenure.
func (h *host) memoryOf() time.Duration { return 2*h.w.longest() + 25*time.Second }

// blame notes that something has happened that may cost the host its tenure.
func (h *host) blame() { h.cause = h.w.now }

// blameAll is for what happens to etcd.
func (w *world) blameAll() {
	for _, h := range w.hosts {
		h.blame()
	}
}

// unwell reports whether something is wrong with the host, or asks it to yield.
func (h *host) unwell() bool {
	w := h.w
	return !h.well || !h.kernel.link || h.frozen || h.stop || h.broken || !h.path.whole() || w.etcd.down || w.etcd.full ||
		w.now < w.etcd.electing || w.etcd.get(w.keys.Switchover()) != nil || w.preemption() || w.memberTrouble()
}

// preemption reports whether pre-emption is in play.
func (w *world) preemption() bool {
	for _, h := range w.hosts {
		if h.preempt {
			return true
		}
	}
	return false
}

// memberTrouble reports whether more than one member of etcd does not answer.
func (w *world) memberTrouble() bool {
	n := 0
	for _, m := range w.member {
		if m.hangs || m.refuses {
			n++
		}
	}
	return n > 1
}

func (w *world) longest() time.Duration {
	d := time.Duration(0)
	for _, h := range w.hosts {
		d = max(d, h.ttl)
	}
	return d
}
