package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// EtcdStatus is what one member says of itself.
type EtcdStatus struct {
	Member uint64 // its id
	Leader uint64 // the id of the member that it takes for the leader; 0 is none
}

// Status asks one member, from its own host, so that no fault of the network is
// in the way.
func (e *Etcd) Status(ctx context.Context, host string) (EtcdStatus, error) {
	var reply struct {
		Header struct {
			Member uint64 `json:"member_id,string"`
		} `json:"header"`
		Leader uint64 `json:"leader,string"`
	}
	err := e.call(ctx, host, "/v3/maintenance/status", struct{}{}, &reply)
	return EtcdStatus{Member: reply.Header.Member, Leader: reply.Leader}, err
}

// Leader returns the host of the leader that all running members agree on. It
// is an error when they do not, or know none. Members that are frozen or cut
// off have an opinion as well, so ask before the fault.
func (e *Etcd) Leader(ctx context.Context) (string, error) {
	hosts := map[uint64]string{}
	var leader uint64
	for i, host := range e.running() {
		s, err := e.Status(ctx, host)
		if err != nil {
			return "", err
		}
		hosts[s.Member] = host
		if i > 0 && s.Leader != leader {
			return "", errors.New("etcd's members do not agree on a leader")
		}
		leader = s.Leader
	}
	if hosts[leader] == "" {
		return "", errors.New("etcd has no leader")
	}
	return hosts[leader], nil
}

// MoveLeader makes the member on host the leader and returns when all running
// members say so.
func (e *Etcd) MoveLeader(ctx context.Context, host string) error {
	from, err := e.Leader(ctx)
	if err != nil || from == host {
		return err
	}
	to, err := e.Status(ctx, host)
	if err != nil {
		return err
	}
	target := map[string]string{"targetID": fmt.Sprint(to.Member)}
	if err := e.call(ctx, from, "/v3/maintenance/transfer-leadership", target, nil); err != nil {
		return err
	}
	return Wait(ctx, 10*time.Second, "etcd's leader to move to host "+host, func() (bool, error) {
		now, err := e.Leader(ctx)
		return now == host, err
	})
}

// Ctl runs etcdctl (API version 3) on the client's host, towards the members
// that run, and returns all that it wrote.
func (e *Etcd) Ctl(ctx context.Context, args ...string) (string, error) {
	return e.CtlAt(ctx, Client, e.running(), args...)
}

// CtlAt runs etcdctl on one host, towards the members of some hosts.
func (e *Etcd) CtlAt(ctx context.Context, host string, members []string, args ...string) (string, error) {
	path, err := findProgram("etcdctl")
	if err != nil {
		return "", err
	}
	var urls []string
	for _, key := range members {
		h, err := e.lab.Host(key)
		if err != nil {
			return "", err
		}
		urls = append(urls, e.url(h))
	}
	all := append([]string{"--endpoints", strings.Join(urls, ",")}, e.cfg.CtlArgs...)
	cmd, err := e.lab.Command(ctx, host, path, append(all, args...)...)
	if err != nil {
		return "", err
	}
	cmd.Env = append(cmd.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("etcdctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// RevokeLease ends a lease, as etcdctl lease revoke does; id is in hexadecimal,
// as etcdctl writes it.
func (e *Etcd) RevokeLease(ctx context.Context, id string) error {
	_, err := e.Ctl(ctx, "lease", "revoke", id)
	return err
}

// GRPCDialer returns what grpc.WithContextDialer wants, for an etcd client that
// sits on a host. Endpoints must be literal addresses, as Endpoints returns.
func (l *Lab) GRPCDialer(host string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) { return l.Dial(ctx, host, "tcp", addr) }
}

// call asks a member's JSON gateway, see etcd's api_grpc_gateway page: without
// the reconnect back-off of a gRPC client, a restarted member is seen at once.
func (e *Etcd) call(ctx context.Context, host, path string, ask, reply any) error {
	h, err := e.lab.Host(host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	body, err := json.Marshal(ask)
	if err != nil {
		return fmt.Errorf("ask etcd on host %s: %w", host, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url(h)+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask etcd on host %s: %w", host, err)
	}
	conn := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: e.cfg.TLS,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return e.lab.Dial(ctx, host, network, addr)
		},
	}
	resp, err := conn.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask etcd on host %s: %w", host, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("ask etcd on host %s: %w", host, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask etcd on host %s: %s: %s: %s", host, path, resp.Status, bytes.TrimSpace(text))
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return fmt.Errorf("ask etcd on host %s: %s: %w", host, path, err)
	}
	return nil
}
