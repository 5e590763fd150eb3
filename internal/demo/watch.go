package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"
)

// watchEvery is how often the screen's facts are asked for.
const watchEvery = 200 * time.Millisecond

// watch looks at all nodes again and again, for the screen. What is judged comes
// from the lab's observer.
type watch struct {
	net *network

	mu   sync.Mutex
	seen map[string]sighting
}

// sighting is what a node and its member said last.
type sighting struct {
	role     string
	answered bool      // the daemon, this time
	deadline time.Time // of the tenure that the daemon had
	paused   bool
	opinion  opinion
	etcd     bool // the member answered
}

// run looks until ctx ends; at each node by itself, as one that hangs must not age
// the others.
func (w *watch) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, host := range nodes() {
		wg.Go(func() {
			tick := time.NewTicker(watchEvery)
			defer tick.Stop()
			for {
				w.look(ctx, host)
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	wg.Wait()
}

func (w *watch) look(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	loop, err := askDaemon(ctx, w.net.lab.RunDir(host))
	o, etcdErr := w.net.etcd.ask(ctx, host)
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.seen[host]
	s.answered, s.etcd, s.opinion = err == nil, etcdErr == nil, o
	if err == nil { // a dead daemon's tenure runs on: its deadline stays
		s.role, s.paused = loop.Role, loop.Paused
		s.deadline = loop.At.Add(time.Duration(loop.LeftSeconds * float64(time.Second)))
	}
	w.seen[host] = s
}

// loopStatus is what the demo reads of a daemon's status, see docs/reference.md.
type loopStatus struct {
	At          time.Time `json:"at"`
	Role        string    `json:"role"`
	LeftSeconds float64   `json:"left_seconds"`
	Paused      bool      `json:"paused"`
}

// askDaemon asks the daemon that has a run_dir. A witness has no service, and the
// role "".
func askDaemon(ctx context.Context, runDir string) (loopStatus, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(runDir, "status.sock"))
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://leasehold/v1/status", nil)
	if err != nil {
		return loopStatus{}, fmt.Errorf("ask the daemon: %w", err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return loopStatus{}, fmt.Errorf("ask the daemon: %w", err)
	}
	defer res.Body.Close()
	var reply struct {
		Services map[string]struct {
			Loop loopStatus `json:"loop"`
		} `json:"services"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&reply); err != nil {
		return loopStatus{}, fmt.Errorf("the daemon's answer: %w", err)
	}
	return reply.Services[service].Loop, nil
}

// hosts returns what the screen shows of the nodes.
func (w *watch) hosts(now time.Time) []hostView {
	w.mu.Lock()
	defer w.mu.Unlock()
	leader := w.leader()
	var all []hostView
	for _, host := range nodes() {
		s := w.seen[host]
		h := hostView{
			name: host, addr: address(host).String(), mysqld: w.net.mysqlState(host), role: w.net.nodeState(host),
			etcd: isDown, left: s.deadline.Sub(now), ttl: w.net.ttl,
		}
		h.off, h.unplugged = w.net.cable(host)
		if holders, err := w.net.lab.Holders(host); err == nil {
			h.vip = len(holders) > 0
		}
		if h.role == isUp {
			h.role = s.shown(host)
		}
		if s.etcd && !h.off {
			h.etcd = "member"
			if s.opinion.member == leader && leader != 0 {
				h.etcd = isLeader
			}
		}
		all = append(all, h)
	}
	return all
}

// shown is the role of a daemon that runs.
func (s sighting) shown(host string) string {
	switch {
	case !s.answered:
		return "starting"
	case host == witness:
		return "witness"
	case s.role == "holder" && s.paused:
		return isHolder + ", HA paused"
	case s.role == "holder":
		return isHolder
	case s.role == "":
		return "starting"
	}
	return s.role
}

// leader returns the member that more than half of the members take for it.
func (w *watch) leader() uint64 {
	votes := map[uint64]int{}
	for _, s := range w.seen {
		if s.etcd {
			votes[s.opinion.leader]++
		}
	}
	for id, n := range votes {
		if n > len(nodes())/2 {
			return id
		}
	}
	return 0
}

// mysqlState is the state of a host's server.
func (n *network) mysqlState(host string) string {
	if host == witness {
		return isNone
	}
	if p := n.mysqld.Process(host); p != nil && p.Running() {
		return isUp
	}
	return isDown
}

// nodeState is the state of a host's daemon.
func (n *network) nodeState(host string) string {
	if p := n.node(host); p != nil && p.Running() {
		return isUp
	}
	return isDown
}

// cable says whether a host is without power, and whether its cable is out.
func (n *network) cable(host string) (off, unplugged bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.off[host], n.unplugged[host]
}
