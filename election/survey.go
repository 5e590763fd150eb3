package election

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Endpoint is what one etcd endpoint says of itself.
type Endpoint struct {
	URL     string
	Err     error         // it does not answer, and nothing below counts
	Took    time.Duration // to answer a read that the leader has to confirm
	ReadErr error         // that read failed, and the rest is what it knows by itself
	Version string        // of the server
	Cluster uint64
	Member  uint64
	Leader  uint64 // member id; 0: it knows of none
	Learner bool
	Alarms  []string // as etcd words them: "memberID:… alarm:NOSPACE"
	Term    uint64   // Raft's
	Index   uint64   // the last entry of Raft's log that it knows to be committed
	DBSize  int64    // bytes on disk
	DBInUse int64    // bytes that a defragmentation would leave of that
	Quota   int64    // bytes; 0: it does not say (etcd before 3.6)
}

// Survey asks every endpoint for its state, all at once and each for no longer
// than the timeout, in the order of the configuration. It changes nothing, and
// does not fail: what did is in the answers.
func Survey(ctx context.Context, c *Cluster, timeout time.Duration) []Endpoint {
	all := make([]Endpoint, len(c.endpoints))
	var wg sync.WaitGroup
	for i, e := range c.endpoints {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			all[i] = c.survey(ctx, e)
		})
	}
	wg.Wait()
	return all
}

func (c *Cluster) survey(ctx context.Context, e *endpoint) Endpoint {
	out := Endpoint{URL: e.url}
	cli, err := c.connect(ctx, e)
	if err != nil {
		out.Err = fmt.Errorf("etcd %s: %w", e.url, c.explain(err))
		return out
	}
	s, err := pb.NewMaintenanceClient(cli.ActiveConnection()).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		out.Err = fmt.Errorf("etcd %s: %w", e.url, c.explain(err))
		return out
	}
	out.Version, out.Leader, out.Learner, out.Alarms, out.DBSize = s.GetVersion(), s.GetLeader(), s.GetIsLearner(), s.GetErrors(), s.GetDbSize()
	out.Term, out.Index, out.DBInUse, out.Quota = s.GetRaftTerm(), s.GetRaftIndex(), s.GetDbSizeInUse(), s.GetDbSizeQuota()
	out.Cluster, out.Member = s.GetHeader().GetClusterId(), s.GetHeader().GetMemberId()
	begin := time.Now()
	_, err = cli.Get(ctx, Root)
	out.Took = time.Since(begin)
	if err = c.forgotten(e, cli, err); err != nil {
		out.ReadErr = fmt.Errorf("etcd %s: %w", e.url, c.explain(err))
	}
	return out
}
