package election

import (
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/internal/boottime"
)

// Kind is what a request asks of etcd.
type Kind uint8

// The kinds of requests, as their String says them.
const (
	KindGrant Kind = iota
	KindLongGrant
	KindKeepAlive
	KindRevoke
	KindTimeToLive
	KindRead
	KindMember
	KindRenew
	KindConfirm
	KindTake
	KindRelease
	KindRehang
	KindPauseEnd
	KindSwitchoverEnd
	KindHistory
	kinds
)

func (k Kind) String() string {
	return [...]string{
		"lease grant", "long lease grant", "lease keep-alive", "lease revoke", "lease timetolive", "read",
		"member", "renewal", "confirmation", "take-over", "release", "re-hang", "pause end", "switchover end", "history",
	}[k]
}

// Request is one thing that the core wants from etcd. It is data: the shell
// sends it to one endpoint, once, and hands the reply to done.
type Request struct {
	Kind    Kind
	Seconds int64   // grant: the TTL to ask for
	Lease   LeaseID // keep-alive, revoke, timetolive
	Txn     Txn     // all others but read
	Timeout time.Duration
	Skip    int // earlier ones hang: take the endpoint that many after the current one
	Done    func(Reply)
}

// Txn is a transaction in etcd's terms: if all of ifs then all of then.
type Txn struct {
	If   []Cond
	Then []Write
}

// Cond compares a key's lease or its revision of last modification; a key that
// is not there has 0 for both (etcd server/etcdserver/txn: applyCompare).
type Cond struct {
	Key    string
	Lease  bool // compare the lease, else the revision
	Equals int64
}

// Write puts a key on a lease (0: none), or deletes it.
type Write struct {
	Key, Value string
	Lease      LeaseID
	Delete     bool
}

// Reply is what came of a request.
type Reply struct {
	Sent      boottime.Instant // read before the request was sent
	Got       boottime.Instant
	Wall      time.Time
	Err       error
	LeaseGone bool // etcd says that it knows no such lease
	Down      bool // the endpoint gave no answer, or has no quorum

	Cluster   uint64
	Revision  int64
	Succeeded bool // transaction: the compares held
	Lease     LeaseID
	TTL       int64 // grant: granted; timetolive: left; seconds
	KVs       []*mvccpb.KeyValue
}

func isMod(key string, rev int64) Cond       { return Cond{Key: key, Equals: rev} }
func onLease(key string, l LeaseID) Cond     { return Cond{Key: key, Lease: true, Equals: int64(l)} }
func put(key, value string, l LeaseID) Write { return Write{Key: key, Value: value, Lease: l} }
func del(key string) Write                   { return Write{Key: key, Delete: true} }
