package cases

import (
	"slices"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// leasesRevoked: what `etcdctl lease revoke` is documented to do.
func leasesRevoked(s *twoServices) {
	const rounds = 5
	from := time.Now()
	var took, gaps []time.Duration
	here, there := lab.A, lab.B
	for range rounds {
		h, err := s.Holder(s.t.Context())
		s.must(err)
		revoked := time.Now()
		s.must(s.Etcd.RevokeLease(s.t.Context(), h.Lease))
		s.answered(there, s.mysqlVIPs()...)
		r := s.seen(s.VIP.Addr().String(), revoked)
		took, gaps = append(took, r.Moves[len(r.Moves)-1].At.Sub(revoked)), append(gaps, r.Gap.Length())
		here, there = there, here
		s.eligible(there)
	}
	s.stayed(reportVIP, lab.A, from)
	s.t.Logf("moved %v after the start of etcdctl, %v without service", took, gaps)
	if slices.Sort(gaps); gaps[rounds/2] > 200*time.Millisecond || gaps[rounds-1] > time.Second {
		s.t.Errorf("without service for %v; want less than 200ms", gaps)
	}
	s.switchover("mysql", lab.A, s.mysqlVIPs()...)
	s.eligible(lab.B)
}

// etcdEach does something to each member of etcd.
func (s *twoServices) etcdEach(f func(*lab.Process) error) {
	s.t.Helper()
	for _, h := range []string{lab.A, lab.B, lab.C} {
		s.must(f(s.Etcd.Process(h)))
	}
}

func etcdFrozen(s *twoServices) {
	from := time.Now()
	s.etcdEach(func(p *lab.Process) error { return p.Freeze(s.t.Context()) })
	s.must(s.quiet(s.t.Context(), time.Until(from.Add(time.Second))))
	s.etcdEach((*lab.Process).Thaw)
	s.must(s.quiet(s.t.Context(), s.TTL))
	for vip := range s.probes {
		s.stayed(vip, lab.A, from)
	}
	s.must(s.Etcd.WaitReady(s.t.Context()))
}

func etcdGone(s *twoServices) {
	ctx := s.t.Context()
	from := time.Now()
	s.etcdEach((*lab.Process).Kill)
	s.must(s.WaitHeld(ctx, generous))
	gone := time.Since(from)
	if gone > s.TTL+time.Second {
		s.t.Errorf("the VIP was there for another %v", gone)
	}
	s.must(s.quiet(ctx, s.TTL))
	for _, h := range []string{lab.A, lab.B, lab.C} {
		s.must(s.Etcd.Start(h))
	}
	started := time.Now()
	s.answered("")
	back := time.Since(started)
	s.t.Logf("etcd gone: VIP gone after %s; etcd started: all VIPs back after %s", short(gone), short(back))
	if back > Election+s.TTL+10*time.Second {
		s.t.Errorf("back %v after etcd was started", back)
	}
	s.must(s.Etcd.WaitReady(ctx))
	s.eligible(lab.A)
	s.eligible(lab.B)
}

// strangers: somebody writes our keys by hand.
func strangers(s *twoServices) {
	ctx := s.t.Context()
	for _, c := range []struct{ name, key, value string }{ // the records first: they must move nothing
		{"a tenure that is no JSON", "tenure", `garbage`},
		{"a tenure of another node", "tenure", `{"epoch":1,"node":"db99-999","lease":"1","ttl":"3s","state":"released","at":"2026-11-22T20:00:00Z"}`},
		{"a key that is none of ours", "somebody", "was here"},
		{"a holder that is no JSON", "holder", `{"node":`},
		{"a holder that is another node", "holder", `{"node":"db99-999","ttl":"3s","epoch":1,"vips":["10.20.8.188/24"],"since":"2026-11-22T20:00:00Z"}`},
	} {
		from := time.Now()
		_, err := s.Etcd.Ctl(ctx, "put", "/leasehold/mysql/"+c.key, c.value)
		s.must(err)
		out, err := s.Leasehold(ctx, lab.A, "status", "mysql")
		if !strings.Contains(out, "Service: mysql") || strings.Contains(out, "panic") {
			s.t.Errorf("%s: status: %v\n%s", c.name, err, out)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, "WRONG") {
				s.t.Logf("%s: status says %s", c.name, strings.TrimSpace(line))
			}
		}
		s.must(lab.Wait(ctx, generous, "a holder key of ours", func() (bool, error) {
			h, err := s.Holder(ctx)
			return err == nil && (h.Node == s.node(lab.A) || h.Node == s.node(lab.B)), nil
		}))
		s.answered("", s.mysqlVIPs()...)
		r := s.seen(s.VIP.Addr().String(), from)
		s.t.Logf("%s: %v", c.name, r)
		if c.key != "holder" && (r.Lost > 0 || len(r.Moves) != 1) {
			s.t.Errorf("%s: %v; want the VIP to stay", c.name, r)
		}
		if r.Gap.Length() > 2*s.TTL {
			s.t.Errorf("%s: %v without service; want it back after a ttl", c.name, r.Gap.Length())
		}
		s.eligible(lab.A)
		s.eligible(lab.B)
	}
	// HA works on.
	here, there := lab.A, lab.B
	if h, err := s.Holder(ctx); err != nil {
		s.must(err)
	} else if h.Node == s.node(there) {
		here, there = there, here
	}
	s.switchover("mysql", there, s.mysqlVIPs()...)
	s.eligible(here)
	s.switchover("mysql", here, s.mysqlVIPs()...)
}
