package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vip/fence"
)

// facts is what could be found out about one service just now: from etcd, from
// this host's kernel and from this host's daemon. Each may have failed.
type facts struct {
	now     time.Time
	nowBoot boottime.Instant
	node    string
	service *Service

	view    election.View
	etcdErr error
	took    time.Duration
	left    map[election.LeaseID]time.Duration

	copies    []vip.Copy
	kernelErr error
	fences    []fenceOf

	daemon    *daemonReply
	daemonErr error

	member *OwnMemberStatus // this host's of etcd; nil: it runs none
}

// daemonReply is what the daemon says through its socket, and what status -f
// json passes on.
type daemonReply struct {
	PID      int                      `json:"pid"`
	Version  string                   `json:"version"`
	Node     string                   `json:"node"`
	At       time.Time                `json:"at"`
	Services map[string]daemonService `json:"services"`
}

// daemonService is the daemon's word on one service.
type daemonService struct {
	Loop   LoopStatus   `json:"loop"`
	Checks ChecksStatus `json:"checks"`
}

// sources is where facts come from; tests have their own.
type sources struct {
	read   func(ctx context.Context, service string) (election.View, error)
	left   func(context.Context, election.LeaseID) (time.Duration, error)
	kernel func([]vip.Spec) ([]vip.Copy, error)
	fences func(*Service) []fenceOf
	daemon func(context.Context) (*daemonReply, error)

	members func(ctx context.Context, timeout time.Duration) memberFacts // nil: etcd runs by itself
}

// gather asks all sources about one service, and etcd for no longer than the
// timeout. It does not fail: what could not be found out is in the facts. The
// kernel is read right after etcd has answered, or has not: the two are compared.
func (s sources) gather(ctx context.Context, timeout time.Duration, node string, service *Service) facts {
	f := facts{node: node, service: service, left: map[election.LeaseID]time.Duration{}}
	etcd, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	begin := time.Now()
	f.view, f.etcdErr = s.read(etcd, service.Name)
	f.took = time.Since(begin)
	f.copies, f.kernelErr = s.kernel(service.specs())
	f.fences = s.fences(service)
	if f.etcdErr == nil {
		s.leases(etcd, &f)
	}
	f.daemon, f.daemonErr = s.daemon(ctx)
	f.now, f.nowBoot = time.Now(), boottime.Now()
	return f
}

// everything is what could be found out for one status.
type everything struct {
	services []facts
	members  *memberFacts // nil: etcd runs by itself

	daemon    *daemonReply // of a node without services
	daemonErr error
}

// gatherAll asks about all services and the etcd members at once, so that an etcd
// that is gone costs one timeout.
func (s sources) gatherAll(ctx context.Context, timeout time.Duration, node string, services []Service) everything {
	all := everything{services: make([]facts, len(services))}
	var wg sync.WaitGroup
	for i := range services {
		wg.Go(func() { all.services[i] = s.gather(ctx, timeout, node, &services[i]) })
	}
	if s.members != nil {
		wg.Go(func() {
			m := s.members(ctx, timeout)
			all.members = &m
		})
	}
	wg.Wait()
	if len(services) == 0 {
		all.daemon, all.daemonErr = s.daemon(ctx)
	}
	return all
}

// leases asks what is left of the leases. One that cannot be asked about is
// shown without.
func (s sources) leases(ctx context.Context, f *facts) {
	ask := func(id election.LeaseID) {
		if _, known := f.left[id]; known || id == 0 {
			return
		}
		if left, err := s.left(ctx, id); err == nil {
			f.left[id] = left
		}
	}
	if f.view.Holder != nil {
		ask(f.view.Holder.Lease)
	}
	for _, m := range f.view.Members {
		ask(m.Lease)
	}
}

// errNoDaemon says that no daemon runs here.
var errNoDaemon = errors.New("not running on this host")

// localSources are the real ones.
func localSources(cfg *Config, cluster *election.Cluster) sources {
	s := sources{
		read: func(ctx context.Context, service string) (election.View, error) {
			return election.Read(ctx, cluster, service)
		},
		left: func(ctx context.Context, id election.LeaseID) (time.Duration, error) {
			return election.LeaseLeft(ctx, cluster, id)
		},
		kernel: vip.Read,
		fences: func(s *Service) []fenceOf { return readFences(cfg.BPFDir, s, fence.Read) },
		daemon: func(ctx context.Context) (*daemonReply, error) { return askDaemon(ctx, socketPath(cfg.RunDir)) },
	}
	if cfg.Etcd.Embedded != nil {
		s.members = func(ctx context.Context, timeout time.Duration) memberFacts {
			return localMembers(cfg).gather(ctx, cfg, timeout)
		}
	}
	return s
}

// brokenEtcd are sources whose etcd cannot even be opened, so that the rest is
// shown all the same.
func brokenEtcd(s sources, err error) sources {
	s.read = func(context.Context, string) (election.View, error) { return election.View{}, err }
	return s
}

// daemonProblem turns what went wrong with the socket into words.
func daemonProblem(path string, err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), isRefused(err):
		return errNoDaemon
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("does not answer within %s: it hangs or is frozen, and the fence or the address's lifetime ends its tenure", socketTimeout)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s is not for this user; use sudo, or join the group that owns it", path)
	}
	return err
}
