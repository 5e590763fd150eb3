package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"

	"leasehold/internal/member"
	"leasehold/vip"
)

// checkCapabilities asks for what VIPs need; a witness has none.
func (c *Config) checkCapabilities() error {
	if len(c.Services) == 0 {
		return nil
	}
	return vip.CheckCapabilities()
}

// memberChild is the process of the etcd member, when it is a child of this one.
func (c *Config) memberChild() int {
	if c.Etcd.Embedded == nil {
		return 0
	}
	return member.Child(c.Etcd.Embedded.Dir)
}

// strain is why this host should rather not hold a VIP, as far as its disk says.
type strain struct {
	dir string
	why atomic.Pointer[string]
}

// newStrain watches nothing yet; without an embedded member it never will: a disk
// of which nothing is known says nothing about mysqld's.
func newStrain(cfg *Config) *strain {
	s := &strain{}
	if cfg.Etcd.Embedded != nil {
		s.dir = cfg.Etcd.Embedded.Dir
	}
	return s
}

// Why is empty while the host is well.
func (s *strain) Why() string {
	if w := s.why.Load(); w != nil {
		return *w
	}
	return ""
}

// diskEvery is how often the free space is looked at: a system call of 2 µs. A
// disk that fills with 500 MB/s has then lost no more than it needs to in between.
const diskEvery = 100 * time.Millisecond

// run watches until ctx ends. A host is strained below the reserve at which its
// member stops, and until there is as much as it needs to start.
func (s *strain) run(ctx context.Context, free func(string) (uint64, error), log hclog.Logger) error {
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		switch left, err := free(s.dir); {
		case err != nil:
			log.Debug("free space not known", "err", err)
		case left < member.Reserve && s.Why() == "":
			why := fmt.Sprintf("the disk of %s is full (%d MB free)", s.dir, left>>20)
			s.why.Store(&why)
			log.Error("disk full: the VIP goes to another host that can have it, and the etcd member stops", "dir", s.dir, "free_mb", left>>20)
		case left >= member.StartReserve && s.Why() != "":
			s.why.Store(nil)
			log.Info("disk has space again", "dir", s.dir, "free_mb", left>>20)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// memberTasks are what a daemon with an embedded member does besides.
func memberTasks(cfg *Config, units []*unit, s *strain, log hclog.Logger) ([]task, error) {
	if cfg.Etcd.Embedded == nil {
		return nil, nil
	}
	var t *tls.Config
	if cfg.Etcd.TLS() {
		var err error
		if t, err = tlsConfig(cfg.Etcd); err != nil {
			return nil, Problems{{cfg.File, cfg.Etcd.line, "etcd.tls: " + err.Error()}}
		}
	}
	l := &member.Leadership{Config: cfg.memberConfig(), TLS: t, Busy: func() []string { return holders(units) }, Log: log.Named("etcd")}
	return []task{
		{"disk", func(ctx context.Context) error { return s.run(ctx, member.Free, log) }},
		{"leadership of etcd", l.Run},
	}, nil
}

// holders are the nodes that hold a VIP, as far as this one knows.
func holders(units []*unit) []string {
	var nodes []string
	for _, u := range units {
		if h := u.candidate.State().View.Holder; h != nil && !slices.Contains(nodes, h.Node) {
			nodes = append(nodes, h.Node)
		}
	}
	return nodes
}

// idleTasks stand in for the loops where there are none: a witness is ready at
// once, and feeds the watchdog by the clock.
func (n *notifier) idleTasks() []task {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.names) > 0 {
		return nil
	}
	n.ready = true
	n.tell(daemon.SdNotifyReady + "\nSTATUS=witness: no services here, an etcd member only")
	return []task{{"idle", func(ctx context.Context) error {
		tick := time.NewTicker(max(n.every, time.Second/4))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				n.Ping()
			}
		}
	}}}
}
