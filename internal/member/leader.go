package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Losing the holder's host and etcd's leader in one costs more than either: nobody
// can take over before another leader is elected. So a member that leads on the
// host of a holder hands leadership to one that does not, while both are well.

const (
	// leaderEvery is how often a node looks whether it leads: one request to its own
	// member, answered from memory.
	leaderEvery = time.Second
	// leaderSettle is how long a member leads before it hands leadership on. Who was
	// just given it by a member that stops would else give it back, to one that still
	// answers and has no time left to find another.
	leaderSettle = 5 * time.Second
	// leaderTry bounds one question and one move.
	leaderTry = 2 * time.Second
	// mostBehind is how many entries of the log a member may lack that is to lead.
	mostBehind = 100
)

// standing is what one member says of itself.
type standing struct {
	name    string
	id      uint64
	leader  uint64
	applied uint64
	learner bool
	alarm   bool
	err     error
}

// transferee returns the member that shall lead instead of own; 0 when there is no
// reason, or nobody. busy are the nodes that hold a VIP.
func transferee(own uint64, all []standing, busy []string) uint64 {
	i := slices.IndexFunc(all, func(s standing) bool { return s.id == own && s.err == nil })
	if i < 0 || all[i].leader != own || !slices.Contains(busy, all[i].name) {
		return 0
	}
	var best *standing
	for j := range all {
		s := &all[j]
		if s.err != nil || s.id == own || s.learner || s.alarm || s.leader != own ||
			slices.Contains(busy, s.name) || s.applied+mostBehind < all[i].applied {
			continue
		}
		if best == nil || s.name < best.name {
			best = s
		}
	}
	if best == nil {
		return 0
	}
	return best.id
}

// Leadership keeps the leadership of etcd off the hosts that hold a VIP.
type Leadership struct {
	Config Config
	TLS    *tls.Config     // to ask the members; nil without certificates
	Busy   func() []string // the nodes that hold a VIP now
	Log    hclog.Logger
}

// Run looks and moves until ctx ends, and returns nil then. What fails is tried
// again: a leader in the wrong place is no fault.
func (l *Leadership) Run(ctx context.Context) error {
	clients, err := l.clients()
	defer func() {
		for _, c := range clients {
			_ = c.Close() // nothing is under way
		}
	}()
	if err != nil {
		return err
	}
	tick := time.NewTicker(leaderEvery)
	defer tick.Stop()
	var since time.Time // this member leads, on the host of a holder; zero: it does not
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !slices.Contains(l.Busy(), l.Config.Name) {
			since = time.Time{}
			continue
		}
		switch own := ask(ctx, l.Config.Name, clients[l.Config.Name], l.Config.own()); {
		case own.err != nil, own.leader != own.id:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		case time.Since(since) >= leaderSettle:
			if err := l.move(ctx, own, clients); err != nil && ctx.Err() == nil {
				l.Log.Debug("leadership of etcd stays on the host that holds the VIP", "err", err)
			}
		}
	}
}

// clients are one for each member.
func (l *Leadership) clients() (map[string]*clientv3.Client, error) {
	out := map[string]*clientv3.Client{}
	for _, p := range l.Config.Peers {
		u := l.Config.url(p.Addr, l.Config.ClientPort)
		c, err := clientv3.New(clientv3.Config{
			Endpoints: []string{u.String()}, TLS: l.TLS, DialTimeout: leaderTry, Logger: zap.NewNop(),
		})
		if err != nil {
			return out, fmt.Errorf("client of member %s: %w", p.Name, err)
		}
		out[p.Name] = c
	}
	return out, nil
}

// move asks the others, and hands leadership to the best of them. It stalls writes
// for 50 to 80 ms at an election timeout of 1 s.
func (l *Leadership) move(ctx context.Context, own standing, clients map[string]*clientv3.Client) error {
	ctx, cancel := context.WithTimeout(ctx, leaderTry)
	defer cancel()
	all := []standing{own}
	for _, p := range l.Config.others() {
		all = append(all, ask(ctx, p.Name, clients[p.Name], p))
	}
	to := transferee(own.id, all, l.Busy())
	if to == 0 {
		return errors.New("no other member can have it")
	}
	if _, err := clients[l.Config.Name].MoveLeader(ctx, to); err != nil {
		return fmt.Errorf("move it: %w", err)
	}
	i := slices.IndexFunc(all, func(s standing) bool { return s.id == to })
	l.Log.Info("leadership of etcd moved off the host that holds the VIP", "to", all[i].name)
	return nil
}

func ask(ctx context.Context, name string, c *clientv3.Client, p Peer) standing {
	ctx, cancel := context.WithTimeout(ctx, leaderTry/4)
	defer cancel()
	s := standing{name: name}
	r, err := c.Status(ctx, c.Endpoints()[0])
	if err != nil {
		s.err = fmt.Errorf("member %s: %w", p.Name, err)
		return s
	}
	s.id, s.leader, s.applied, s.learner = r.Header.MemberId, r.Leader, r.RaftAppliedIndex, r.IsLearner
	s.alarm = len(r.Errors) > 0
	return s
}
