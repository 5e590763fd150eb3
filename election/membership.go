package election

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// EtcdMember is one line of etcd's own list of its members.
type EtcdMember struct {
	ID         uint64
	Name       string // empty: it was added, and has not been started yet
	PeerURLs   []string
	ClientURLs []string // empty as long as the name is
	Learner    bool     // it has no vote
}

// ErrMemberGone says that a member is not in etcd's list.
var ErrMemberGone = rpctypes.ErrMemberNotFound

// Membership returns etcd's list of its members: as the leader confirms it, which
// takes a majority, or as one member remembers it. Servers before 3.5 always answer
// from memory, and a learner does not answer.
func Membership(ctx context.Context, c *Cluster, confirmed bool) (list []EtcdMember, err error) {
	var opts []clientv3.OpOption
	if !confirmed {
		opts = append(opts, clientv3.WithSerializable())
	}
	err = c.anywhere(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		r, err := cli.MemberList(ctx, opts...)
		if err != nil {
			return err
		}
		list = make([]EtcdMember, len(r.Members))
		for i, m := range r.Members {
			list[i] = EtcdMember{ID: m.GetID(), Name: m.GetName(), PeerURLs: m.GetPeerURLs(), ClientURLs: m.GetClientURLs(), Learner: m.GetIsLearner()}
		}
		return nil
	})
	return list, err
}

// AddEtcdMember adds a member that is not started yet to etcd's list: with a vote,
// so that it counts as one that does not answer until it is started, or as a
// learner, which does not count. It returns the new member's id. After an error the
// member may have been added all the same, whatever the error: with one that is not
// started yet etcd may take itself for unhealthy. Read the list.
func AddEtcdMember(ctx context.Context, c *Cluster, peerURL string, learner bool) (id uint64, err error) {
	err = c.anywhere(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		add := cli.MemberAdd
		if learner {
			add = cli.MemberAddAsLearner
		}
		r, err := add(ctx, []string{peerURL})
		if err == nil {
			id = r.Member.GetID()
		}
		return err
	})
	return id, err
}

// PromoteEtcdMember gives a learner its vote. etcd refuses that while the learner
// has not caught up with the leader.
func PromoteEtcdMember(ctx context.Context, c *Cluster, id uint64) error {
	return c.anywhere(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		_, err := cli.MemberPromote(ctx, id)
		return err
	})
}

// RemoveEtcdMember takes a member out of etcd's list; a process of it that runs
// ends by itself. It fails with ErrMemberGone when the member is not in the list.
func RemoveEtcdMember(ctx context.Context, c *Cluster, id uint64) error {
	return c.anywhere(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		_, err := cli.MemberRemove(ctx, id)
		return err
	})
}

// MoveEtcdLeader hands etcd's leadership over to a member, and returns when the old
// leader knows of the new one. A request to etcd that is under way waits that long.
func MoveEtcdLeader(ctx context.Context, c *Cluster, to uint64) error {
	return c.anywhere(ctx, func(ctx context.Context, cli *clientv3.Client) error {
		_, err := cli.MoveLeader(ctx, to)
		return err
	})
}

// EtcdWantsPatience reports whether etcd refused a change of its membership for now
// only: it takes none within 5 s of a member's coming (HealthInterval, etcd
// server/v3 etcdserver/server.go), and gives no vote to a learner that has not
// caught up.
func EtcdWantsPatience(err error) bool {
	return errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrMemberLearnerNotReady)
}

// anywhere makes a call at one endpoint after the other, until one carries it out
// or refuses it for all.
func (c *Cluster) anywhere(ctx context.Context, call func(context.Context, *clientv3.Client) error) error {
	var errs []error
	for _, e := range c.endpoints {
		err := c.once(ctx, e, call)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("etcd %s: %w", e.url, c.explain(err)))
		if !elsewhere(err) || ctx.Err() != nil {
			return errs[len(errs)-1]
		}
	}
	return fmt.Errorf("no etcd endpoint does it: %w", errors.Join(errs...))
}

func (c *Cluster) once(ctx context.Context, e *endpoint, call func(context.Context, *clientv3.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	cli, err := c.connect(ctx, e)
	if err != nil {
		return err
	}
	return c.forgotten(e, cli, call(ctx, cli))
}

// elsewhere reports whether another endpoint may do what this one did not.
func elsewhere(err error) bool {
	return isDown(err) || errors.Is(err, rpctypes.ErrNotLeader)
}
