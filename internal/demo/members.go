package demo

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"leasehold/internal/lab"
)

// askLimit bounds one question to one member.
const askLimit = 500 * time.Millisecond

// members asks etcd's members, each from its own host: no fault of the network is
// in the way.
type members struct {
	lab *lab.Lab
	tls *tls.Config

	mu      sync.Mutex
	clients map[string]*clientv3.Client
}

func newMembers(l *lab.Lab, t *tls.Config) *members {
	return &members{lab: l, tls: t, clients: map[string]*clientv3.Client{}}
}

func (m *members) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, c := range m.clients {
		errs = append(errs, c.Close())
	}
	clear(m.clients)
	return errors.Join(errs...)
}

// at returns the client for the member of a host. A member that was started again
// is found within half a second.
func (m *members) at(host string) (*clientv3.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clients[host]; c != nil {
		return c, nil
	}
	dial := m.lab.GRPCDialer(host)
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{endpoint(host)}, TLS: m.tls, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, addr) }),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: 500 * time.Millisecond},
				MinConnectTimeout: askLimit,
			}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("ask etcd on %s: %w", host, err)
	}
	m.clients[host] = c
	return c, nil
}

// endpoint is the client URL of a host's member.
func endpoint(host string) string {
	return "https://" + netip.AddrPortFrom(address(host), 2379).String()
}

// opinion is what the member of a host says of itself and of the leader.
type opinion struct{ member, leader uint64 }

// ask asks the member of a host.
func (m *members) ask(ctx context.Context, host string) (opinion, error) {
	c, err := m.at(host)
	if err != nil {
		return opinion{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	s, err := c.Status(ctx, endpoint(host))
	if err != nil {
		return opinion{}, fmt.Errorf("ask etcd on %s: %w", host, err)
	}
	return opinion{member: s.Header.MemberId, leader: s.Leader}, nil
}

// leader returns the host of the leader that all members agree on.
func (m *members) leader(ctx context.Context) (string, error) {
	byID, seen := map[uint64]string{}, map[uint64]bool{}
	for _, host := range nodes() {
		o, err := m.ask(ctx, host)
		if err != nil {
			return "", err
		}
		byID[o.member], seen[o.leader] = host, true
	}
	for id := range seen {
		if len(seen) == 1 && byID[id] != "" {
			return byID[id], nil
		}
	}
	return "", errors.New("etcd's members do not agree on a leader")
}

// move makes the member of a host the leader, and returns when all say so.
func (m *members) move(ctx context.Context, to string) error {
	return patiently(ctx, "etcd's leader to be on "+to, func() (bool, error) {
		from, err := m.leader(ctx)
		if err != nil || from == to {
			return err == nil, err
		}
		target, err := m.ask(ctx, to)
		if err != nil {
			return false, err
		}
		c, err := m.at(from)
		if err != nil {
			return false, err
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err = c.MoveLeader(ctx, target.member)
		return false, err
	})
}

// keys are the service's keys in etcd, as far as the demo looks at them.
type keys struct {
	holder   string
	eligible []string
	paused   bool
}

// keys reads them through the witness, which no fault of the demo takes away.
func (m *members) keys(ctx context.Context) (keys, error) {
	c, err := m.at(witness)
	if err != nil {
		return keys{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	prefix := "/leasehold/" + service + "/"
	r, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return keys{}, fmt.Errorf("read the keys in etcd: %w", err)
	}
	var k keys
	for _, kv := range r.Kvs {
		var v struct {
			Node     string `json:"node"`
			Eligible bool   `json:"eligible"`
		}
		name := strings.TrimPrefix(string(kv.Key), prefix)
		switch {
		case name == "pause":
			k.paused = true
		case name == "holder", path.Dir(name) == "members":
			if err := json.Unmarshal(kv.Value, &v); err != nil {
				return keys{}, fmt.Errorf("key %s: %q: %w", kv.Key, kv.Value, err)
			}
		}
		if name == "holder" {
			k.holder = v.Node
		} else if path.Dir(name) == "members" && v.Eligible {
			k.eligible = append(k.eligible, v.Node)
		}
	}
	return k, nil
}
