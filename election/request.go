package election

import (
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/internal/boottime"
)

// kind is what a request asks of etcd.
type kind uint8

const (
	kindGrant kind = iota
	kindLongGrant
	kindKeepAlive
	kindRevoke
	kindTimeToLive
	kindRead
	kindMember
	kindRenew
	kindTake
	kindRelease
	kindRehang
	kindPauseEnd
	kindSwitchoverEnd
	kindHistory
	kinds
)

func (k kind) String() string {
	return [...]string{
		"lease grant", "long lease grant", "lease keep-alive", "lease revoke", "lease timetolive", "read",
		"member", "renewal", "take-over", "release", "re-hang", "pause end", "switchover end", "history",
	}[k]
}

// request is one thing that the core wants from etcd. It is data: the shell
// sends it to one endpoint, once, and hands the reply to done.
type request struct {
	kind    kind
	seconds int64   // grant: the TTL to ask for
	lease   LeaseID // keep-alive, revoke, timetolive
	txn     txn     // all others but read
	timeout time.Duration
	skip    int // earlier ones hang: take the endpoint that many after the current one
	done    func(reply)
}

// txn is a transaction in etcd's terms: if all of ifs then all of then.
type txn struct {
	ifs  []cond
	then []write
}

// cond compares a key's lease or its revision of last modification; a key that
// is not there has 0 for both (etcd server/etcdserver/txn: applyCompare).
type cond struct {
	key    string
	lease  bool // compare the lease, else the revision
	equals int64
}

// write puts a key on a lease (0: none), or deletes it.
type write struct {
	key, value string
	lease      LeaseID
	del        bool
}

// reply is what came of a request.
type reply struct {
	sent      boottime.Instant // read before the request was sent
	got       boottime.Instant
	wall      time.Time
	err       error
	leaseGone bool // etcd says that it knows no such lease
	down      bool // the endpoint gave no answer, or has no quorum

	cluster   uint64
	revision  int64
	succeeded bool // transaction: the compares held
	lease     LeaseID
	ttl       int64 // grant: granted; timetolive: left; seconds
	kvs       []*mvccpb.KeyValue
}

func isMod(key string, rev int64) cond       { return cond{key: key, equals: rev} }
func onLease(key string, l LeaseID) cond     { return cond{key: key, lease: true, equals: int64(l)} }
func put(key, value string, l LeaseID) write { return write{key: key, value: value, lease: l} }
func del(key string) write                   { return write{key: key, del: true} }
