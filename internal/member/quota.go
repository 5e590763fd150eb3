package member

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver"
)

// With its NOSPACE alarm etcd refuses every put, and so every renewal of a tenure:
// the VIP would be nowhere until somebody compacts, defragments and disarms. The
// database has nothing but some leases and a history of hundred lines, so each
// member does that by itself.

const (
	// quotaEvery is how often the alarm is looked for: no round through the log.
	quotaEvery = 5 * time.Second
	// quotaTry bounds one try to mend it.
	quotaTry = 10 * time.Second
	// disarmBelow is the part of the quota, in percent, that the database may fill
	// for the alarm to be taken off.
	disarmBelow = 80
)

// quota watches the size of the database of one member.
type quota struct {
	server *etcdserver.EtcdServer
	limit  int64
	log    hclog.Logger
	next   time.Time
	raised bool
}

func newQuota(s *etcdserver.EtcdServer, limit int64, log hclog.Logger) *quota {
	return &quota{server: s, limit: limit, log: log}
}

// look mends the alarm of this member, when it has one.
func (q *quota) look(ctx context.Context) {
	now := time.Now()
	if now.Before(q.next) {
		return
	}
	q.next = now.Add(quotaEvery)
	mine := false
	for _, a := range q.server.Alarms() {
		mine = mine || a.Alarm == pb.AlarmType_NOSPACE && a.MemberID == uint64(q.server.MemberID())
	}
	if !mine {
		q.raised = false
		return
	}
	if !q.raised {
		q.log.Error("the database has reached its quota, and etcd refuses every write: compacting it", "quota", q.limit, "size", q.server.Backend().Size())
	}
	q.raised = true
	ctx, cancel := context.WithTimeout(ctx, quotaTry)
	defer cancel()
	if err := q.mend(ctx); err != nil {
		q.log.Error("the database stays full", "err", err)
	}
}

// mend drops old revisions, gives the space back and takes the alarm off. What is
// left then are keys that somebody wrote and did not delete.
func (q *quota) mend(ctx context.Context) error {
	if rev := q.server.KV().Rev(); rev > 1 {
		_, err := q.server.Compact(ctx, &pb.CompactionRequest{Revision: rev, Physical: true})
		if err != nil {
			q.log.Debug("compaction", "revision", rev, "err", err) // done already, by another member's
		}
	}
	if err := q.server.Backend().Defrag(); err != nil {
		return fmt.Errorf("defragment: %w", err)
	}
	size := q.server.Backend().Size()
	if size*100 > q.limit*disarmBelow {
		return fmt.Errorf("its keys themselves take %d of %d bytes: delete what is not Leasehold's (etcdctl get --prefix --keys-only ''), or raise etcd.embedded.quota_mb on every node and restart its member", size, q.limit)
	}
	_, err := q.server.Alarm(ctx, &pb.AlarmRequest{
		Action: pb.AlarmRequest_DEACTIVATE, MemberID: uint64(q.server.MemberID()), Alarm: pb.AlarmType_NOSPACE,
	})
	if err != nil {
		return fmt.Errorf("take the alarm off: %w", err)
	}
	q.log.Info("the database has space again, and etcd takes writes", "size", size, "quota", q.limit)
	return nil
}
