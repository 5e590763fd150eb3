package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"leasehold/internal/lab"
)

// stand is a test network with several VIPs on it, so that one fault meets all
// of them: one Leasehold per host with a service for each of its VIPs, one
// keepalived per host with an instance for each of its own.
type stand struct {
	*lab.Lab
	etcd   *lab.Etcd
	vips   []*tried
	kernel *lab.KernelWatch
	wire   *lab.Sniffer

	binary     string
	launch     []string // what starts the daemon: "nice", "-n", "-15"; may be empty
	keepalived bool     // there is keepalived
	ours       map[string]*lab.Process
	theirs     map[string]*lab.Process
}

// tried is one VIP of a stand with what keeps it, and the column of its figures.
type tried struct {
	name string
	addr netip.Addr
	ours bool

	service string // Leasehold's
	ttl     time.Duration

	version, id int // keepalived's VRRP version and VRID
	advert      time.Duration

	prober *lab.Prober
}

// standConfig says what to build.
type standConfig struct {
	binary              string
	launch              []string
	ttls                []time.Duration // a VIP of Leasehold each
	keepalived          bool            // two more VIPs, see theirVIPs
	election, heartbeat time.Duration   // etcd's
	etcdNice            int
}

// vip returns one of the addresses of the test network that no host has.
func vip(n byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, 8, 180 + n}) }

func ourVIPs(ttls []time.Duration) []*tried {
	var all []*tried
	for i, ttl := range ttls {
		all = append(all, &tried{
			name: "ttl " + ttl.String(), addr: vip(byte(i)), ours: true,
			service: fmt.Sprintf("service%d", i+1), ttl: ttl,
		})
	}
	return all
}

// theirVIPs are keepalived as the operators' hosts have it, and the fastest that
// it can. Their scripts and trackers watch mysqld, which has no part in what a
// stand measures, and are left out.
func theirVIPs() []*tried {
	return []*tried{
		{name: "keepalived as set", addr: vip(8), version: 2, id: 51, advert: time.Second},
		{name: "keepalived fast", addr: vip(9), version: 3, id: 52, advert: 100 * time.Millisecond},
	}
}

// openStand builds a stand on an empty network, with etcd and no daemon running.
// Closing the lab removes it all.
func openStand(ctx context.Context, l *lab.Lab, c standConfig) (*stand, error) {
	s := &stand{
		Lab: l, binary: c.binary, launch: c.launch, keepalived: c.keepalived, vips: ourVIPs(c.ttls),
		ours: map[string]*lab.Process{}, theirs: map[string]*lab.Process{},
	}
	var err error
	if c.keepalived {
		s.vips = append(s.vips, theirVIPs()...)
	}
	etcd, err := niceEtcd(l, c.etcdNice)
	if err != nil {
		return nil, err
	}
	// pre-vote is the default since etcd 3.5: a member that returns then does not
	// make the leader step down.
	s.etcd, err = l.StartEtcd(ctx, lab.EtcdConfig{
		Binary: etcd, Election: c.election, Heartbeat: c.heartbeat, ExtraArgs: []string{"--pre-vote"},
	})
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, v := range s.vips {
		addrs = append(addrs, v.addr)
	}
	if s.kernel, err = l.WatchKernels(hosts(), addrs...); err != nil {
		return nil, err
	}
	if s.wire, err = l.StartSniffer(); err != nil {
		return nil, err
	}
	for _, v := range s.vips {
		if _, err := l.StartARPProber(v.addr, 0); err != nil {
			return nil, err
		}
	}
	for _, h := range hosts() {
		if err := s.configure(h); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// niceEtcd writes a script that starts etcd with a nice value.
func niceEtcd(l *lab.Lab, value int) (string, error) {
	etcd, err := findProgram("etcd")
	if err != nil {
		return "", err
	}
	file := filepath.Join(l.Dir(), "etcd")
	text := fmt.Sprintf("#!/bin/sh\nexec nice -n %d '%s' \"$@\"\n", value, etcd)
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		return "", fmt.Errorf("write the script that starts etcd: %w", err)
	}
	return file, nil
}

// prio is a host's. Host a is preferred by keepalived, which comes back to it by
// itself, and by Leasehold, which does not.
func prio(host string) int {
	if host == lab.A {
		return 100
	}
	return 90
}

// configure writes the config of Leasehold on a host.
func (s *stand) configure(host string) error {
	c, err := s.NodeConfig(host, s.etcd)
	if err != nil {
		return err
	}
	ours := slices.DeleteFunc(slices.Clone(s.vips), func(v *tried) bool { return !v.ours })
	c.Service, c.TTL, c.Priority, c.VIPs = ours[0].service, ours[0].ttl, prio(host), []string{ours[0].device()}
	for _, v := range ours[1:] {
		c.Extra += fmt.Sprintf("  %s:\n    vips: [%s]\n    ttl: %s\n    priority: %d\n", v.service, v.device(), v.ttl, prio(host))
	}
	return s.WriteConfig(host, c.YAML())
}

// theirConfig is the keepalived.conf of a host.
func (s *stand) theirConfig(host string) string {
	var conf strings.Builder
	conf.WriteString("global_defs {\n  vrrp_version 2\n}\n")
	for _, v := range s.vips {
		if !v.ours {
			fmt.Fprintf(&conf, "vrrp_instance V%d {\n  state BACKUP\n  version %d\n  interface eth0\n  virtual_router_id %d\n"+
				"  priority %d\n  advert_int %g\n  virtual_ipaddress {\n    %s/24 dev eth0\n  }\n}\n",
				v.id, v.version, v.id, prio(host), v.advert.Seconds(), v.addr)
		}
	}
	return conf.String()
}

// device is a VIP in the words of ip address add.
func (v *tried) device() string { return v.addr.String() + "/24 dev eth0" }

// start starts the daemons of a host that do not run, and thaws those that are
// frozen.
func (s *stand) start(host string) error {
	if p := s.ours[host]; p != nil && p.Running() {
		if err := p.Thaw(); err != nil {
			return err
		}
	} else {
		args := append(slices.Clone(s.launch), s.binary, "run", "--config", s.ConfigFile(host))
		p, err := s.Start(host, "leasehold", nil, args[0], args[1:]...)
		if err != nil {
			return err
		}
		s.ours[host] = p
	}
	if !s.keepalived {
		return nil
	}
	if p := s.theirs[host]; p != nil && p.Running() {
		return p.SignalGroup(syscall.SIGCONT)
	}
	p, err := s.StartKeepalived(host, s.theirConfig(host))
	s.theirs[host] = p
	return err
}

// daemons are those that run on a host.
func (s *stand) daemons(host string) []*lab.Process {
	var all []*lab.Process
	for _, p := range []*lab.Process{s.ours[host], s.theirs[host]} {
		if p != nil && p.Running() {
			all = append(all, p)
		}
	}
	return all
}

// signal sends a signal to all daemons of a host at once.
func (s *stand) signal(host string, sig syscall.Signal) error {
	var errs []error
	for _, p := range s.daemons(host) {
		errs = append(errs, p.SignalGroup(sig))
	}
	return errors.Join(errs...)
}
