package election

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// fakeEtcd is one linearizable store with leases.
type fakeEtcd struct {
	rev    int64
	kv     map[string]*mvccpb.KeyValue
	leases map[LeaseID]time.Duration // expiry, real time
	ttls   map[LeaseID]time.Duration
	events []Event
	stamps []time.Duration // when they happened
	last   LeaseID
	deaf   bool // to keep-alives
	now    time.Duration
}

func newFakeEtcd() *fakeEtcd {
	return &fakeEtcd{rev: 1, kv: map[string]*mvccpb.KeyValue{}, leases: map[LeaseID]time.Duration{}, ttls: map[LeaseID]time.Duration{}, last: 0x100}
}

var errNoLease = errors.New("requested lease not found")

func (e *fakeEtcd) do(_ Keys, r Request, rep *Reply, now time.Duration) {
	e.now = now
	switch r.Kind {
	case KindGrant, KindLongGrant:
		e.last++
		ttl := max(2, r.Seconds)
		e.ttls[e.last] = time.Duration(ttl) * time.Second
		e.leases[e.last] = now + e.ttls[e.last]
		rep.Lease, rep.TTL = e.last, ttl
	case KindKeepAlive:
		if e.deaf {
			rep.Err = errors.New("no answer")
			return
		}
		if _, ok := e.leases[r.Lease]; !ok {
			rep.Err, rep.LeaseGone = errNoLease, true
			return
		}
		e.leases[r.Lease] = now + e.ttls[r.Lease]
	case KindRevoke:
		e.revoke(r.Lease)
	case KindTimeToLive:
		rep.TTL = -1
		if at, ok := e.leases[r.Lease]; ok {
			rep.TTL = int64((at - now) / time.Second)
		}
	case KindRead:
		rep.Revision = e.rev
		for _, key := range slices.Sorted(mapKeys(e.kv)) {
			kv := e.kv[key]
			rep.KVs = append(rep.KVs, kv) // never changed once written
		}
	default:
		e.commit(r.Txn, rep)
	}
}

func (e *fakeEtcd) commit(x Txn, rep *Reply) {
	for _, w := range x.Then {
		if _, ok := e.leases[w.Lease]; !w.Delete && w.Lease != 0 && !ok {
			rep.Err, rep.LeaseGone = errNoLease, true
			return
		}
	}
	for _, i := range x.If {
		var has int64
		if kv := e.kv[i.Key]; kv != nil {
			has = kv.ModRevision
			if i.Lease {
				has = kv.Lease
			}
		}
		if has != i.Equals {
			rep.Revision = e.rev
			return
		}
	}
	rep.Succeeded = true
	e.rev++
	for _, w := range x.Then {
		e.write(w)
	}
	rep.Revision = e.rev
}

func (e *fakeEtcd) write(w Write) {
	if w.Delete {
		e.remove(w.Key)
		return
	}
	kv := &mvccpb.KeyValue{Key: []byte(w.Key), Value: []byte(w.Value), ModRevision: e.rev, Lease: int64(w.Lease)}
	e.kv[w.Key] = kv
	e.happened(Event{KV: kv})
}

func (e *fakeEtcd) remove(key string) {
	kv := e.kv[key]
	if kv == nil {
		return
	}
	delete(e.kv, key)
	e.happened(Event{KV: &mvccpb.KeyValue{Key: []byte(key), ModRevision: e.rev}, Deleted: true, PrevRev: kv.ModRevision})
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

func (e *fakeEtcd) happened(ev Event) {
	e.events = append(e.events, ev)
	e.stamps = append(e.stamps, e.now)
}

// nextExpiry is when the next lease runs out.
func (e *fakeEtcd) nextExpiry() time.Duration {
	next := never
	for _, at := range e.leases {
		next = min(next, at)
	}
	return next
}

// grant opens a lease, as an operator's command does.
func (e *fakeEtcd) grant(d time.Duration) LeaseID {
	e.last++
	e.ttls[e.last], e.leases[e.last] = d, e.now+d
	return e.last
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
	var due []LeaseID // in an order that is the same every time
	for l, at := range e.leases {
		if at <= now {
			due = append(due, l)
		}
	}
	slices.Sort(due)
	for _, l := range due {
		e.revoke(l)
	}
}

// put writes as an operator or a stranger would.
func (e *fakeEtcd) put(key, value string, l LeaseID) {
	e.rev++
	e.write(Write{Key: key, Value: value, Lease: l})
}

func (e *fakeEtcd) delete(key string) {
	e.rev++
	e.remove(key)
}
