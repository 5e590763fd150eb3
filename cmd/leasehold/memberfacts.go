package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
	"leasehold/internal/member"
)

// memberFacts is what could be found out just now about the etcd members: from the
// cluster, from each of them, and from the process of the one on this host. Each
// may have failed.
type memberFacts struct {
	now      time.Time
	node     string
	file     string // the configuration's
	secure   bool   // with certificates
	embedded *EmbeddedConfig

	list      []election.EtcdMember
	confirmed bool // by the leader, and not from one member's memory
	listErr   error
	answers   []election.Endpoint // of every URL that is known

	process    member.State
	runs       bool
	processErr error // it could not be looked at, and runs says nothing
	free       uint64
	freeErr    error
}

// memberSources is where they come from; tests have their own.
type memberSources struct {
	survey  func(ctx context.Context, urls []string, timeout time.Duration) []election.Endpoint
	list    func(ctx context.Context, urls []string, confirmed bool) ([]election.EtcdMember, error)
	process func(dir string) (member.State, bool, error)
	free    func(dir string) (uint64, error)
}

// gather asks every member that the configuration or the cluster names, and each
// for no longer than the timeout. It does not fail: what could not be found out is
// in the facts.
func (s memberSources) gather(ctx context.Context, cfg *Config, timeout time.Duration) memberFacts {
	f := memberFacts{node: cfg.Node, file: cfg.File, secure: cfg.Etcd.TLS(), embedded: cfg.Etcd.Embedded}
	f.process, f.runs, f.processErr = s.process(f.embedded.Dir)
	f.free, f.freeErr = s.free(f.embedded.Dir)
	f.answers = s.survey(ctx, cfg.Etcd.Endpoints, timeout)
	f.readList(ctx, s, timeout)
	var more []string
	for _, m := range f.list {
		for _, u := range m.ClientURLs {
			if !slices.Contains(cfg.Etcd.Endpoints, u) && !slices.Contains(more, u) {
				more = append(more, u)
			}
		}
	}
	if len(more) > 0 {
		f.answers = append(f.answers, s.survey(ctx, more, timeout)...)
	}
	f.now = time.Now()
	return f
}

// readList asks those for the list that have just answered, so that one that hangs
// costs nothing. A member that has a read confirmed has a list confirmed too.
func (f *memberFacts) readList(ctx context.Context, s memberSources, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var sure, others []string
	for _, a := range f.answers {
		switch {
		case a.Err != nil || a.Learner: // a learner does not tell
		case a.ReadErr == nil:
			sure = append(sure, a.URL)
		default:
			others = append(others, a.URL)
		}
	}
	f.listErr = errNoMember
	if len(sure) > 0 {
		if f.list, f.listErr = s.list(ctx, sure, true); f.listErr == nil {
			f.confirmed = true
			return
		}
	}
	if rest := append(others, sure...); len(rest) > 0 {
		f.list, f.listErr = s.list(ctx, rest, false)
	}
}

// errNoMember says that there is nobody to ask.
var errNoMember = errors.New("no etcd member answers")

// localMembers are the real sources.
func localMembers(cfg *Config) memberSources {
	return memberSources{
		survey: func(ctx context.Context, urls []string, timeout time.Duration) []election.Endpoint {
			var all []election.Endpoint
			err := at(cfg, urls, func(c *election.Cluster) error {
				all = election.Survey(ctx, c, timeout)
				return nil
			})
			for i := len(all); err != nil && i < len(urls); i++ {
				all = append(all, election.Endpoint{URL: urls[i], Err: err})
			}
			return all
		},
		list: func(ctx context.Context, urls []string, confirmed bool) (list []election.EtcdMember, err error) {
			err = at(cfg, urls, func(c *election.Cluster) error {
				list, err = election.Membership(ctx, c, confirmed)
				return err
			})
			return list, err
		},
		process: readProcess,
		free:    member.Free,
	}
}

// at opens the way to some of the members for one question.
func at(cfg *Config, urls []string, ask func(*election.Cluster) error) error {
	some := *cfg
	some.Etcd.Endpoints = urls
	c, err := openEtcd(&some, hclog.NewNullLogger())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // what was asked has been answered
	return ask(c)
}

// readProcess is member.ReadState for users who may not look.
func readProcess(dir string) (member.State, bool, error) {
	if s, ok := member.ReadState(dir); ok {
		return s, true, nil
	}
	f, err := os.Open(member.LockFile(dir))
	switch {
	case err == nil:
		return member.State{}, false, f.Close()
	case errors.Is(err, fs.ErrNotExist):
		return member.State{}, false, nil
	}
	return member.State{}, false, err
}

// urls are where a member listens, as its configuration has it.
func (f *memberFacts) urls(addr netip.Addr) (client, peer string) {
	scheme := "http://"
	if f.secure {
		scheme = "https://"
	}
	at := func(port int) string { return scheme + net.JoinHostPort(addr.String(), strconv.Itoa(port)) }
	return at(f.embedded.ClientPort), at(f.embedded.PeerPort)
}

// configured is the member of the configuration that a listed one is: the one of
// its name, or, as long as it has none, the one at its address; nil: there is none.
func (f *memberFacts) configured(m election.EtcdMember) *EmbeddedMember {
	for i := range f.embedded.Members {
		c := &f.embedded.Members[i]
		_, peer := f.urls(c.Addr)
		if c.Name == m.Name || m.Name == "" && slices.Contains(m.PeerURLs, peer) {
			return c
		}
	}
	return nil
}

// listed is the listed member that one of the configuration is; nil: there is none.
func (f *memberFacts) listed(c EmbeddedMember) *election.EtcdMember {
	for i := range f.list {
		if got := f.configured(f.list[i]); got != nil && got.Name == c.Name {
			return &f.list[i]
		}
	}
	return nil
}
