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
	events []event
	stamps []time.Duration // when they happened
	last   LeaseID
	deaf   bool // to keep-alives
	now    time.Duration
}

func newFakeEtcd() *fakeEtcd {
	return &fakeEtcd{rev: 1, kv: map[string]*mvccpb.KeyValue{}, leases: map[LeaseID]time.Duration{}, ttls: map[LeaseID]time.Duration{}, last: 0x100}
}

var errNoLease = errors.New("requested lease not found")

func (e *fakeEtcd) do(_ Keys, r request, rep *reply, now time.Duration) {
	e.now = now
	switch r.kind {
	case kindGrant, kindLongGrant:
		e.last++
		ttl := max(2, r.seconds)
		e.ttls[e.last] = time.Duration(ttl) * time.Second
		e.leases[e.last] = now + e.ttls[e.last]
		rep.lease, rep.ttl = e.last, ttl
	case kindKeepAlive:
		if e.deaf {
			rep.err = errors.New("no answer")
			return
		}
		if _, ok := e.leases[r.lease]; !ok {
			rep.err, rep.leaseGone = errNoLease, true
			return
		}
		e.leases[r.lease] = now + e.ttls[r.lease]
	case kindRevoke:
		e.revoke(r.lease)
	case kindTimeToLive:
		rep.ttl = -1
		if at, ok := e.leases[r.lease]; ok {
			rep.ttl = int64((at - now) / time.Second)
		}
	case kindRead:
		rep.revision = e.rev
		for _, key := range slices.Sorted(mapKeys(e.kv)) {
			kv := e.kv[key]
			rep.kvs = append(rep.kvs, kv) // never changed once written
		}
	default:
		e.commit(r.txn, rep)
	}
}

func (e *fakeEtcd) commit(x txn, rep *reply) {
	for _, w := range x.then {
		if _, ok := e.leases[w.lease]; !w.del && w.lease != 0 && !ok {
			rep.err, rep.leaseGone = errNoLease, true
			return
		}
	}
	for _, i := range x.ifs {
		var has int64
		if kv := e.kv[i.key]; kv != nil {
			has = kv.ModRevision
			if i.lease {
				has = kv.Lease
			}
		}
		if has != i.equals {
			rep.revision = e.rev
			return
		}
	}
	rep.succeeded = true
	e.rev++
	for _, w := range x.then {
		e.write(w)
	}
	rep.revision = e.rev
}

func (e *fakeEtcd) write(w write) {
	if w.del {
		e.remove(w.key)
		return
	}
	kv := &mvccpb.KeyValue{Key: []byte(w.key), Value: []byte(w.value), ModRevision: e.rev, Lease: int64(w.lease)}
	e.kv[w.key] = kv
	e.happened(event{kv: kv})
}

func (e *fakeEtcd) remove(key string) {
	kv := e.kv[key]
	if kv == nil {
		return
	}
	delete(e.kv, key)
	e.happened(event{kv: &mvccpb.KeyValue{Key: []byte(key), ModRevision: e.rev}, deleted: true, prevRev: kv.ModRevision})
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

func (e *fakeEtcd) happened(ev event) {
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

// stretch is a new leader: every lease begins anew.
func (e *fakeEtcd) stretch() {
	for l := range e.leases {
		e.leases[l] = e.now + e.ttls[l]
	}
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
	e.write(write{key: key, value: value, lease: l})
}

func (e *fakeEtcd) delete(key string) {
	e.rev++
	e.remove(key)
}
