// Package cases is the operators' acceptance table: two MySQL hosts, three etcd
// members and one VIP on a test network, the faults of the table one after the
// other, and what was seen from outside for each.
//
// It judges from the wire and from the kernels, never from the daemons' logs.
package cases

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// Options say what to build.
type Options struct {
	Binary string        // the leasehold binary
	TTL    time.Duration // default 3s
	Fence  string        // auto, off or required; default is the daemon's
	Extra  string        // more keys of the service in the config
	// Embedded has Leasehold's own members run on both MySQL hosts and a witness,
	// instead of Debian's etcd.
	Embedded bool
}

// Site is the network with everything running on it.
type Site struct {
	*lab.Lab
	Etcd *lab.Etcd
	DB   *lab.MariaDB
	Obs  *lab.Observer
	TTL  time.Duration

	binary   string
	fence    string
	flags    []string // of each daemon
	daemons  map[string]*lab.Process
	unfenced time.Time // when a fence was last taken away
}

// Fenced reports whether a fence ends the tenures at this site.
func (s *Site) Fenced() bool { return s.fence != "off" }

// Etcd runs with --pre-vote, as it does by default since 3.5: without it a member
// that comes back from a partition makes the leader step down.

// Election is etcd's election timeout at the site: what a LAN should have. With
// etcd's own second a lost leader stalls renewals for up to 1.7 s.
const Election = 500 * time.Millisecond

// generous is the limit for what is waited for and not measured.
const generous = 30 * time.Second

// hosts are the MySQL hosts, the holder of the table first.
func hosts() []string { return []string{lab.A, lab.B} }

// Open builds a site on an empty network: etcd, MariaDB and a daemon on each
// MySQL host, the VIP on host a. Closing the lab removes it all.
func Open(ctx context.Context, l *lab.Lab, o Options) (*Site, error) {
	s := &Site{Lab: l, TTL: cmp.Or(o.TTL, 3*time.Second), binary: o.Binary, fence: o.Fence, daemons: map[string]*lab.Process{}}
	var err error
	etcd := lab.EtcdConfig{Election: Election, ExtraArgs: []string{"--pre-vote"}}
	if o.Embedded {
		etcd = lab.EtcdConfig{Election: Election, Leasehold: o.Binary}
		s.flags = []string{"--no-member"} // the lab runs them, as units of their own would
	}
	if s.Etcd, err = l.StartEtcd(ctx, etcd); err != nil {
		return nil, err
	}
	if s.DB, err = l.StartMariaDB(ctx, lab.MariaDBConfig{}); err != nil {
		return nil, err
	}
	for _, h := range hosts() {
		if err := s.DB.WaitReady(ctx, h); err != nil {
			return nil, err
		}
	}
	if err := s.Etcd.WaitReady(ctx); err != nil {
		return nil, err
	}
	if s.Obs, err = l.Observe(hosts()...); err != nil {
		return nil, err
	}
	for _, h := range hosts() {
		if err := s.Configure(h, o.Extra); err != nil {
			return nil, err
		}
		if err := s.StartDaemon(h); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Configure writes the config of the daemon on a host.
func (s *Site) Configure(host, extra string) error {
	c, err := s.NodeConfig(host, s.Etcd)
	if err != nil {
		return err
	}
	c.TTL, c.Fence, c.Checks, c.Extra = s.TTL, s.fence, s.DB.Checks(host), extra
	if host == lab.A {
		c.Priority = 110
	}
	return s.WriteConfig(host, c.YAML())
}

// StartDaemon starts the daemon on a host, unless it runs.
func (s *Site) StartDaemon(host string) error {
	if p := s.daemons[host]; p != nil && p.Running() {
		return nil
	}
	p, err := s.Lab.StartDaemon(host, s.binary, s.flags...)
	if err != nil {
		return err
	}
	s.daemons[host] = p
	return nil
}

// Daemon returns the daemon on a host.
func (s *Site) Daemon(host string) *lab.Process { return s.daemons[host] }

// Leasehold runs an operator's command on a host.
func (s *Site) Leasehold(ctx context.Context, host string, args ...string) (string, error) {
	return s.Exec(ctx, host, s.binary, append(args, "--config", s.ConfigFile(host))...)
}

// Member is what etcd has of a node.
type Member struct {
	Node     string `json:"node"`
	Eligible bool   `json:"eligible"`
	Why      string `json:"why"`
}

// Members reads the members' keys as an operator would, with etcdctl.
func (s *Site) Members(ctx context.Context) (map[string]Member, error) {
	out, err := s.Etcd.Ctl(ctx, "get", "--prefix", "--print-value-only", "/leasehold/mysql/members/")
	if err != nil {
		return nil, err
	}
	members := map[string]Member{}
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		var m Member
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return nil, fmt.Errorf("member value %q: %w", line, err)
		}
		members[m.Node] = m
	}
	return members, nil
}

// node returns the name of the node on a host.
func (s *Site) node(host string) string {
	h, err := s.Host(host)
	if err != nil {
		return host
	}
	return h.Name
}

// WaitEligible waits until the members' keys say of a host's node that it is
// eligible, or that it is not, and returns why not.
func (s *Site) WaitEligible(ctx context.Context, host string, want bool) (why string, err error) {
	err = lab.Wait(ctx, generous, fmt.Sprintf("node of host %s eligible: %t", host, want), func() (bool, error) {
		members, err := s.Members(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // etcd may be without a leader for now
		}
		m, ok := members[s.node(host)]
		why = m.Why
		return ok && m.Eligible == want, nil
	})
	return why, err
}

// Settle brings the site back to where every case begins: everything runs and
// is connected, no pause, the VIP on host a and answering, the other eligible.
func (s *Site) Settle(ctx context.Context) error {
	if err := s.mend(ctx); err != nil {
		return fmt.Errorf("mend the site: %w", err)
	}
	for _, h := range hosts() {
		if _, err := s.WaitEligible(ctx, h, true); err != nil {
			return err
		}
	}
	if err := s.Obs.Prober.WaitAnswer(ctx, "", generous); err != nil {
		return err
	}
	if who, _ := s.Obs.Prober.Answering(); who != lab.A {
		if out, err := s.Leasehold(ctx, lab.A, "switchover", "--to", s.node(lab.A)); err != nil {
			return fmt.Errorf("switchover: %w: %s", err, out)
		}
	}
	if err := s.Obs.Prober.WaitAnswer(ctx, lab.A, generous); err != nil {
		return err
	}
	if _, err := s.WaitEligible(ctx, lab.B, true); err != nil {
		return err
	}
	return s.WaitHeld(ctx, generous, lab.A)
}

// mend starts what is not running and connects what is not connected.
func (s *Site) mend(ctx context.Context) error {
	errs := []error{s.Heal(ctx)}
	for _, h := range hosts() {
		errs = append(errs, s.CablePlug(h), s.RestoreInput(ctx, h))
	}
	for _, h := range []string{lab.A, lab.B, lab.C} {
		if p := s.Etcd.Process(h); p != nil && p.Running() {
			errs = append(errs, p.Thaw())
			continue
		}
		errs = append(errs, s.Etcd.Start(h))
	}
	for _, h := range hosts() {
		if p := s.DB.Process(h); p != nil && p.Running() {
			errs = append(errs, p.Thaw())
		} else {
			errs = append(errs, s.DB.Start(h))
		}
		if p := s.daemons[h]; p != nil && p.Running() {
			errs = append(errs, p.Thaw())
		}
	}
	errs = append(errs, s.Etcd.WaitReady(ctx))
	for _, h := range hosts() {
		errs = append(errs, s.DB.WaitReady(ctx, h), s.StartDaemon(h))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := s.Etcd.Ctl(ctx, "del", "/leasehold/mysql/pause")
	return err
}

// HolderKey is the holder key, as etcdctl shows it.
type HolderKey struct {
	Node  string `json:"node"`
	TTL   string `json:"ttl"`
	Epoch int64  `json:"epoch"`
	Lease string `json:"-"` // in hexadecimal, as etcdctl takes it
}

// Holder reads the holder key of the service mysql with etcdctl.
func (s *Site) Holder(ctx context.Context) (HolderKey, error) { return s.HolderOf(ctx, "mysql") }

// HolderOf reads the holder key of a service with etcdctl.
func (s *Site) HolderOf(ctx context.Context, service string) (HolderKey, error) {
	var h HolderKey
	var reply struct {
		KVs []struct {
			Value []byte `json:"value"`
			Lease int64  `json:"lease"`
		} `json:"kvs"`
	}
	out, err := s.Etcd.Ctl(ctx, "get", "--write-out", "json", "/leasehold/"+service+"/holder")
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		return h, fmt.Errorf("etcdctl get: %q: %w", out, err)
	}
	if len(reply.KVs) == 0 {
		return h, fmt.Errorf("nobody holds %s", service)
	}
	if err := json.Unmarshal(reply.KVs[0].Value, &h); err != nil {
		return h, fmt.Errorf("holder value %q: %w", reply.KVs[0].Value, err)
	}
	h.Lease = fmt.Sprintf("%x", reply.KVs[0].Lease)
	return h, nil
}

// All are the cases of the table, in its order. The last of them need a fence.
func All() []Case {
	var all []Case
	for _, group := range [][]Case{network(), daemons(), mysqld(), byHand(), fenced()} {
		all = append(all, group...)
	}
	return all
}
