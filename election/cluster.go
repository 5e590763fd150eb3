package election

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"leasehold/internal/boottime"
)

// Options say how to reach etcd.
type Options struct {
	Endpoints []string // URLs, http or https
	TLS       *tls.Config
	Username  string
	Password  string
}

// Cluster is the way to etcd: one client for each endpoint, so that we choose
// which endpoint a request goes to and one that hangs costs one request.
type Cluster struct {
	opts Options
	log  hclog.Logger

	mu        sync.Mutex
	current   int
	endpoints []*endpoint
}

// endpoint is one etcd member and the client for it, made at first use.
type endpoint struct {
	url   string
	login chan struct{} // one slot: who has it makes the client

	refusedUntil boottime.Instant // the password was refused; of who has the slot

	mu     sync.Mutex
	client *clientv3.Client
}

// Open returns the way to etcd. It does no I/O: clients connect at first use.
func Open(opts Options, log hclog.Logger) (*Cluster, error) {
	if len(opts.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoints given")
	}
	c := &Cluster{opts: opts, log: log}
	for _, u := range opts.Endpoints {
		c.endpoints = append(c.endpoints, &endpoint{url: u, login: make(chan struct{}, 1)})
	}
	return c, nil
}

// Size returns the number of endpoints.
func (c *Cluster) Size() int { return len(c.endpoints) }

// Close ends all connections.
func (c *Cluster) Close() error {
	var errs []error
	for _, e := range c.endpoints {
		e.mu.Lock()
		if e.client != nil {
			errs = append(errs, e.client.Close())
			e.client = nil
		}
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}

// pick returns the endpoint to use: the current one, or one after it.
func (c *Cluster) pick(skip int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return (c.current + skip) % len(c.endpoints)
}

// judge moves on from an endpoint that failed, and to one that answered when
// the current one hung.
func (c *Cluster) judge(i int, err error, hedged bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && c.current == i:
		c.current = (i + 1) % len(c.endpoints)
		c.log.Debug("etcd endpoint failed, going to the next", "endpoint", c.endpoints[i].url, "next", c.endpoints[c.current].url, "err", err)
	case err == nil && hedged:
		c.current = i
	}
}

const (
	// dialTimeout bounds a connection attempt and the fetching of a token.
	dialTimeout = time.Second
	// pingTime is the least that gRPC allows between its own pings.
	pingTime = 10 * time.Second
)

// clock is where the shell reads the time from.
type clock struct {
	now  func() boottime.Instant
	wall func() time.Time
}

// send carries one request to one endpoint and returns what came of it, and the
// endpoint's number. It reads the clock right before it sends.
func (c *Cluster) send(ctx context.Context, keys Keys, r Request, clk clock) (Reply, int) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	i := c.pick(r.Skip)
	rep := Reply{Sent: clk.now()}
	cli, err := c.connect(ctx, c.endpoints[i])
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		rep.Sent = clk.now()
		err = c.forgotten(c.endpoints[i], cli, do(ctx, cli, keys, r, &rep))
	}
	rep.LeaseGone = errors.Is(err, rpctypes.ErrLeaseNotFound)
	rep.Down = err != nil && isDown(err)
	rep.Got, rep.Wall = clk.now(), clk.wall()
	if err != nil {
		rep.Err = fmt.Errorf("etcd %s: %w", c.endpoints[i].url, c.explain(err))
	}
	if !rep.LeaseGone {
		c.judge(i, err, r.Skip > 0)
	}
	return rep, i
}

// isDown reports whether an error is the endpoint's or the way's to it, and not
// etcd's answer. A learner answers next to nothing: the other members do.
func isDown(err error) bool {
	if errors.Is(err, errForgotten) || errors.Is(err, rpctypes.Error(rpctypes.ErrGRPCNotSupportedForLearner)) {
		return true
	}
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code() == codes.Unavailable || e.Code() == codes.DeadlineExceeded
	}
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.Unknown
}

// explain adds to etcd's errors what an operator has to do about them.
func explain(err error) error {
	switch {
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("%w: wrong user or password: check etcd.user and etcd.password_file", err)
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("%w: the etcd user's role lacks the prefix %s: see deploy/etcd-role.sh", err, Root)
	case errors.Is(err, errForgotten):
		return err
	case errors.Is(err, rpctypes.ErrUserEmpty), errors.Is(err, rpctypes.ErrInvalidAuthToken):
		return fmt.Errorf("%w: etcd asks for a user and password: set etcd.user and etcd.password_file", err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: etcd's quota is full: compact, defragment, then etcdctl alarm disarm", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer in time", err)
	}
	return err
}

// do makes the call that a request asks for.
func do(ctx context.Context, cli *clientv3.Client, keys Keys, r Request, rep *Reply) error {
	switch r.Kind {
	case KindGrant, KindLongGrant:
		g, err := cli.Grant(ctx, r.Seconds)
		if err != nil {
			return err
		}
		rep.Cluster, rep.Lease, rep.TTL = g.ClusterId, LeaseID(g.ID), g.TTL
		return nil
	case KindKeepAlive:
		return keepAliveOnce(ctx, cli, r.Lease, rep)
	case KindRevoke:
		v, err := cli.Revoke(ctx, clientv3.LeaseID(r.Lease))
		if err != nil {
			return err
		}
		rep.Cluster = v.Header.ClusterId
		return nil
	case KindTimeToLive:
		t, err := cli.TimeToLive(ctx, clientv3.LeaseID(r.Lease))
		if err != nil {
			return err
		}
		rep.Cluster, rep.TTL = t.ClusterId, t.TTL
		return nil
	case KindRead:
		return read(ctx, cli, keys, rep)
	default:
		return commit(ctx, cli, r.Txn, rep)
	}
}

// keepAliveOnce renews a lease on a stream of its own. The client library's
// KeepAliveOnce retries a refused connection without a pause until its time is
// up (client/v3 lease.go), which the core does better.
func keepAliveOnce(ctx context.Context, cli *clientv3.Client, l LeaseID, rep *Reply) error {
	stream, err := pb.NewLeaseClient(cli.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l)}); err != nil {
		return err
	}
	k, err := stream.Recv()
	if err != nil {
		return rpctypes.Error(err)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	rep.Cluster, rep.TTL = k.GetHeader().GetClusterId(), k.GetTTL()
	if rep.TTL <= 0 {
		return rpctypes.ErrLeaseNotFound
	}
	return nil
}

// read gets all keys but the history in one linearizable transaction.
func read(ctx context.Context, cli *clientv3.Client, keys Keys, rep *Reply) error {
	t, err := cli.Txn(ctx).Then(
		clientv3.OpGet(keys.Holder()), clientv3.OpGet(keys.Tenure()), clientv3.OpGet(keys.Pause()),
		clientv3.OpGet(keys.Switchover()), clientv3.OpGet(keys.Members(), clientv3.WithPrefix(), clientv3.WithLimit(1000)),
	).Commit()
	if err != nil {
		return err
	}
	rep.Cluster, rep.Revision = t.Header.ClusterId, t.Header.Revision
	for _, r := range t.Responses {
		rep.KVs = append(rep.KVs, r.GetResponseRange().GetKvs()...)
	}
	return nil
}

func commit(ctx context.Context, cli *clientv3.Client, x Txn, rep *Reply) error {
	var cmps []clientv3.Cmp
	for _, i := range x.If {
		target := clientv3.ModRevision(i.Key)
		if i.Lease {
			target = clientv3.LeaseValue(i.Key)
		}
		cmps = append(cmps, clientv3.Compare(target, "=", i.Equals))
	}
	var ops []clientv3.Op
	for _, w := range x.Then {
		if w.Delete {
			ops = append(ops, clientv3.OpDelete(w.Key))
			continue
		}
		ops = append(ops, clientv3.OpPut(w.Key, w.Value, clientv3.WithLease(clientv3.LeaseID(w.Lease))))
	}
	t, err := cli.Txn(ctx).If(cmps...).Then(ops...).Commit()
	if err != nil {
		return err
	}
	rep.Cluster, rep.Revision, rep.Succeeded = t.Header.ClusterId, t.Header.Revision, t.Succeeded
	return nil
}
