package sim

import (
	"errors"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/election"
)

// store is etcd: one linearizable map with revisions, leases and a log of what
// changed. How requests get to it, or do not, is in network.go.
type store struct {
	w       *world
	rev     int64
	kvs     []*mvccpb.KeyValue // by key; never changed once written
	leases  []*lease           // by id
	last    election.LeaseID
	log     []change // since compacted
	compact int64    // changes up to that revision are forgotten

	electing time.Duration // no leader until then
	down     bool          // no quorum
	full     bool          // the quota is used up: no puts, no grants
}

// lease is one of etcd's. When it ends is etcd's own affair: it may be early,
// late, or begin anew with a leader.
type lease struct {
	id  election.LeaseID
	ttl time.Duration
	end time.Duration // real time
}

type change struct {
	at time.Duration
	ev election.Event
}

var (
	errNoLease = errors.New("requested lease not found")
	errFull    = errors.New("database space exceeded")
)

func newStore(w *world) store { return store{w: w, rev: 1, last: 0x100} }

// do carries a request out.
func (s *store) do(r *election.Request, rep *election.Reply) {
	s.w.cov.requests[r.Kind]++
	rep.Revision = s.rev
	switch r.Kind {
	case election.KindGrant, election.KindLongGrant:
		if s.full {
			rep.Err = errFull
			return
		}
		ttl := max(2, r.Seconds)
		rep.Lease, rep.TTL = s.grant(time.Duration(ttl)*time.Second), ttl
	case election.KindKeepAlive:
		l := s.lease(r.Lease)
		if l == nil {
			rep.Err, rep.LeaseGone = errNoLease, true
			return
		}
		l.end = max(l.end, s.w.now+s.life(l.ttl))
	case election.KindRevoke:
		if !s.revoke(r.Lease) {
			rep.Err, rep.LeaseGone = errNoLease, true
		}
	case election.KindTimeToLive:
		rep.TTL = -1
		if l := s.lease(r.Lease); l != nil {
			rep.TTL = int64(max(0, l.end-s.w.now) / time.Second)
		}
	case election.KindRead:
		rep.KVs = slices.Clone(s.kvs)
	default:
		s.commit(r, rep)
	}
}

func (s *store) commit(r *election.Request, rep *election.Reply) {
	for _, i := range r.Txn.If {
		var has int64
		if kv := s.get(i.Key); kv != nil {
			has = kv.ModRevision
			if i.Lease {
				has = kv.Lease
			}
		}
		if has != i.Equals {
			return
		}
	}
	for _, w := range r.Txn.Then {
		switch {
		case w.Delete:
		case s.full:
			rep.Err = errFull
			return
		case w.Lease != 0 && s.lease(w.Lease) == nil:
			rep.Err, rep.LeaseGone = errNoLease, true
			return
		}
	}
	s.w.judgeTxn(r)
	rep.Succeeded = true
	s.change(r.Txn.Then...)
	rep.Revision = s.rev
}

// change writes in one revision.
func (s *store) change(writes ...election.Write) {
	s.rev++
	for _, w := range writes {
		s.w.logf("etcd: @%d %s = %q on %s, delete %v", s.rev, w.Key, w.Value, w.Lease, w.Delete)
		if w.Delete {
			s.remove(w.Key)
			continue
		}
		kv := &mvccpb.KeyValue{Key: []byte(w.Key), Value: []byte(w.Value), ModRevision: s.rev, Lease: int64(w.Lease)}
		i, found := s.find(w.Key)
		if found {
			s.kvs[i] = kv
		} else {
			s.kvs = slices.Insert(s.kvs, i, kv)
		}
		s.log = append(s.log, change{s.w.now, election.Event{KV: kv}})
	}
	s.w.told()
}

func (s *store) remove(key string) {
	i, found := s.find(key)
	if !found {
		return
	}
	prev := s.kvs[i].ModRevision
	s.kvs = slices.Delete(s.kvs, i, i+1)
	s.log = append(s.log, change{s.w.now, election.Event{
		KV: &mvccpb.KeyValue{Key: []byte(key), ModRevision: s.rev}, Deleted: true, PrevRev: prev,
	}})
}

func (s *store) find(key string) (int, bool) {
	return slices.BinarySearchFunc(s.kvs, key, func(kv *mvccpb.KeyValue, k string) int { return strings.Compare(string(kv.Key), k) })
}

func (s *store) get(key string) *mvccpb.KeyValue {
	if i, found := s.find(key); found {
		return s.kvs[i]
	}
	return nil
}

func (s *store) lease(id election.LeaseID) *lease {
	for _, l := range s.leases {
		if l.id == id {
			return l
		}
	}
	return nil
}

// life is how long a lease of that ttl really lasts: etcd looks twice a second
// (server/lease/lessor.go), and has ended leases early in released versions.
func (s *store) life(ttl time.Duration) time.Duration {
	switch x := s.w.rnd.Float64(); {
	case x < s.w.earlyLeases:
		s.w.cov.hit(leaseEarly)
		return s.w.upTo(ttl)
	case x < s.w.earlyLeases+s.w.lateLeases:
		s.w.cov.hit(leaseLate)
		return ttl + s.w.upTo(20*time.Second)
	}
	return ttl + s.w.upTo(500*time.Millisecond)
}

func (s *store) grant(ttl time.Duration) election.LeaseID {
	s.last++
	l := &lease{id: s.last, ttl: ttl, end: s.w.now + s.life(ttl)}
	s.leases = append(s.leases, l)
	s.await(l)
	return l.id
}

// await ends the lease when its time has come.
func (s *store) await(l *lease) {
	s.w.at(l.end-s.w.now, func() {
		switch {
		case s.lease(l.id) != l:
		case s.w.now < l.end:
			s.await(l)
		case s.down || s.w.now < s.electing || s.holds(l.id) && !s.w.recorded(): // it takes a leader
			l.end = s.w.now + time.Second
			s.await(l)
		default:
			s.w.logf("etcd: lease %s ran out", l.id)
			s.w.cov.hit(leaseRanOut)
			if s.holds(l.id) {
				s.w.blameAll()
			}
			s.revoke(l.id)
		}
	})
}

// holds reports whether the holder key hangs on the lease.
func (s *store) holds(id election.LeaseID) bool {
	kv := s.get(s.w.keys.Holder())
	return kv != nil && kv.Lease == int64(id)
}

func (s *store) revoke(id election.LeaseID) bool {
	i := slices.IndexFunc(s.leases, func(l *lease) bool { return l.id == id })
	if i < 0 {
		return false
	}
	s.leases = slices.Delete(s.leases, i, i+1)
	var doomed []election.Write
	for _, kv := range s.kvs {
		if kv.Lease == int64(id) {
			doomed = append(doomed, election.Write{Key: string(kv.Key), Delete: true})
		}
	}
	if len(doomed) > 0 {
		s.change(doomed...)
	}
	return true
}

// elect loses the leader for a while. The next one begins every lease anew, and
// an election later (server/lease/lessor.go: Promote).
func (s *store) elect(d time.Duration) {
	s.electing = max(s.electing, s.w.now+d)
	for _, l := range s.leases {
		l.end = max(l.end, s.w.now+d+l.ttl+s.w.upTo(time.Second))
	}
}

// compaction forgets all changes up to now but the latest few.
func (s *store) compaction(keep int) {
	if n := len(s.log) - keep; n > 0 {
		s.compact = s.log[n-1].ev.KV.ModRevision
		s.log = slices.Delete(s.log, 0, n)
		for len(s.log) > 0 && s.log[0].ev.KV.ModRevision <= s.compact {
			s.log = s.log[1:]
		}
	}
}

// since returns where in the log the changes from a revision on begin.
func (s *store) since(rev int64) int {
	i := len(s.log)
	for i > 0 && s.log[i-1].ev.KV.ModRevision >= rev {
		i--
	}
	return i
}

// put writes as an operator or a stranger does.
func (s *store) put(key, value string, l election.LeaseID) {
	s.change(election.Write{Key: key, Value: value, Lease: l})
}

func (s *store) delete(key string) {
	if s.get(key) != nil {
		s.change(election.Write{Key: key, Delete: true})
	}
}
