package sim

import (
	"encoding/json"
	"fmt"
	"time"

	"leasehold/election"
)

func (w *world) onKeys(f fault, h *host) {
	e := &w.etcd
	w.blameAll()
	switch f {
	case ownLeaseRevoked:
		if kv := e.get(w.keys.Member(h.name)); kv != nil {
			e.revoke(election.LeaseID(kv.Lease))
		}
	case holderLeaseRevoked:
		if kv := e.get(w.keys.Holder()); kv != nil && w.recorded() {
			e.revoke(election.LeaseID(kv.Lease))
		}
	case holderDeleted:
		if w.recorded() {
			e.delete(w.keys.Holder())
		}
	case tenureDeleted:
		w.deleteTenure()
	case memberDeleted:
		e.delete(w.keys.Member(h.name))
	case holderForged:
		w.forgeHolder(h)
	case tenureForged:
		w.forgeTenure(h)
	case memberForged:
		e.put(w.keys.Member(h.name), `{"node":"`+w.pick().name+`","priority":200,"eligible":true}`, 0)
	case garbageWritten:
		e.put(w.keys.Prefix()+"garbage", fmt.Sprint(w.now), 0)
	case pauseTimed:
		w.pauseFor(w.upTo(40 * time.Second))
	case pauseEndless:
		e.put(w.keys.Pause(), "", 0)
	case pauseRemoved:
		e.delete(w.keys.Pause())
	case switchoverAsked:
		w.switchover(h)
	default:
		w.forceRelease()
	}
}

// deleteTenure is a stranger who deletes the record. Where nothing is left that
// tells who holds and for how long, nobody can know it: then he does not.
func (w *world) deleteTenure() {
	if w.longTenure() || w.etcd.get(w.keys.Holder()) == nil || !w.oneTTL() {
		return
	}
	w.judge.forged = true
	w.etcd.delete(w.keys.Tenure())
}

// recorded reports whether the tenure record is there. Without it the end of the
// holder key leaves etcd as it was before the tenure: a standby that heard of
// nothing in between takes it for free, and no compare can tell. It takes a
// stranger who deletes the record, which hangs on no lease.
func (w *world) recorded() bool { return w.etcd.get(w.keys.Tenure()) != nil }

// oneTTL reports whether all hosts are configured with the same.
func (w *world) oneTTL() bool {
	for _, h := range w.hosts {
		if h.ttl != w.hosts[0].ttl {
			return false
		}
	}
	return true
}

// forgeHolder writes what none of ours would.
func (w *world) forgeHolder(h *host) {
	value := []string{
		`{"node":"x","ttl":"1ms"}`, `{"node":"` + h.name + `","ttl":"1ms","epoch":1}`, "", "not JSON", `{"node":"x","ttl":"87600h","epoch":-1}`,
	}[w.rnd.IntN(5)]
	lease := election.LeaseID(0)
	if kv := w.etcd.get(w.keys.Member(h.name)); kv != nil && w.oneIn(2) {
		lease = election.LeaseID(kv.Lease)
	}
	w.etcd.put(w.keys.Holder(), value, lease)
}

// forgeTenure writes a record that is none. One that says "released" is a lie
// that nobody can see through, and what `leasehold release --force` is for.
func (w *world) forgeTenure(h *host) {
	if w.longTenure() || w.etcd.get(w.keys.Holder()) == nil || !w.oneTTL() {
		return
	}
	w.judge.forged = true
	w.etcd.put(w.keys.Tenure(), []string{
		"", "not JSON", `{"epoch":7,"node":"` + h.name + `","ttl":"1ms","state":"held"}`, `{"epoch":-1,"state":"?"}`,
	}[w.rnd.IntN(4)], 0)
}

// encode is a value as ours write it.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	return string(b)
}

// pauseFor is `leasehold pause --for`.
func (w *world) pauseFor(d time.Duration) {
	until := timeOfDay(w.now + d)
	w.etcd.put(w.keys.Pause(), encode(election.PauseValue{Until: &until}), w.etcd.grant((d + 6*time.Second).Truncate(time.Second)))
}

func (w *world) switchover(h *host) {
	to := h.name
	if w.oneIn(3) {
		to = ""
	}
	w.etcd.put(w.keys.Switchover(), encode(election.SwitchoverValue{To: to}), w.etcd.grant(30*time.Second))
}

// record is the tenure record, or what the holder key says in its place.
func (w *world) record() (t election.TenureValue, ok bool) {
	for _, key := range []string{w.keys.Tenure(), w.keys.Holder()} {
		if kv := w.etcd.get(key); kv != nil && json.Unmarshal(kv.Value, &t) == nil {
			return t, true
		}
	}
	return t, false
}

// longTenure reports whether the latest tenure is that of a pause.
func (w *world) longTenure() bool {
	t, ok := w.record()
	return ok && time.Duration(t.TTL) > w.longest()
}

// forceRelease is `leasehold release --force` of an operator who has made sure
// that the holder's host is off, and has lost what it knew.
func (w *world) forceRelease() {
	t, ok := w.record()
	if !ok || t.State != election.TenureHeld {
		return
	}
	for _, h := range w.hosts {
		if h.name == t.Node && h.off {
			t.State = election.TenureReleased
			w.logf("release of %s forced", h.name)
			w.etcd.change(
				election.Write{Key: w.keys.Tenure(), Value: encode(t)},
				election.Write{Key: w.keys.Holder(), Delete: true},
			)
		}
	}
}

// heal makes everything well.
func (w *world) heal() {
	w.logf("everything is well from now on")
	w.etcd.down, w.etcd.full, w.etcd.electing = false, false, 0
	w.member = [members]member{}
	w.kept, w.doubled, w.earlyLeases, w.lateLeases, w.holes, w.squatter = 0, 0, 0, 0, 0, false
	w.etcd.delete(w.keys.Pause())
	w.etcd.delete(w.keys.Switchover())
	for _, h := range w.hosts {
		w.refresh(h)
	}
	w.blameAll()
}

func (w *world) healHost(h *host) {
	h.path, h.lag, h.late, h.broken, h.step = path{}, 0, 0, false, 0
	h.kernel.link, h.kernel.lan = true, true
	h.kernel.report()
	h.trap, h.ambush, h.eager = trap{}, nil, false
	h.ill(false)
	w.goOn(h)
	switch {
	case h.dead:
		h.off = false
		h.start()
	case h.stop:
		h.comeBack = true
	}
}

// relieve does what an operator may have to after a pause whose holder is gone:
// makes sure that the hosts are off, and forces a release.
func (w *world) relieve() {
	for _, h := range w.hosts {
		h.crash()
	}
	w.forceRelease()
	w.etcd.delete(w.keys.Holder())
	for _, h := range w.hosts {
		h.off = false
		h.start()
	}
}

func (h *host) String() string {
	k := &h.kernel
	s := h.core.State()
	return fmt.Sprintf("%s: ttl %v clock %+d ppm, dead %v frozen %v off %v stop %v well %v link %v lan %v path %+v lag %v, role %s epoch %d held for %v synced %v trouble %q, there %v fence %v %v, answers %v",
		h.name, h.ttl, h.ppm, h.dead, h.frozen, h.off, h.stop, h.well, k.link, k.lan, h.path, h.lag, h.loop.role, s.Epoch, s.HeldUntil.Sub(h.clock()), s.Synced, s.Trouble,
		k.addr.there, k.fence.attached, k.fence.deadline.Sub(h.clock()), k.answers())
}
