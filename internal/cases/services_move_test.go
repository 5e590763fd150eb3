package cases

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/mdlayher/ndp"

	"leasehold/internal/lab"
)

// announcement is a neighbour advertisement that the client got.
type announcement struct {
	at time.Time
	na *ndp.NeighborAdvertisement
}

// listenNDP hears neighbour advertisements on the client until the test ends.
func (s *twoServices) listenNDP() <-chan announcement {
	var conn *ndp.Conn
	s.must(s.Do(lab.Client, func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, _, err = ndp.Listen(eth0, ndp.LinkLocal)
		return err
	}))
	heard, done := make(chan announcement, 1000), make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, _, _, err := conn.ReadFrom()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if na, ok := m.(*ndp.NeighborAdvertisement); err == nil && ok {
				select {
				case heard <- announcement{time.Now(), na}:
				default: // nobody reads them
				}
			}
		}
	}()
	s.t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			s.t.Error(err)
		}
		<-done
	})
	return heard
}

func moveTogether(s *twoServices) {
	ctx := s.t.Context()
	heard := s.listenNDP()
	sessions := map[string]*lab.Session{}
	for _, vip := range append(s.mysqlVIPs(), reportVIP) {
		var err error
		sessions[vip], err = s.OpenSession(ctx, netip.MustParseAddr(vip))
		s.must(err)
	}
	from := time.Now()
	s.switchover("mysql", lab.B, s.mysqlVIPs()...)
	s.must(s.quiet(ctx, 300*time.Millisecond))
	s.stayed(reportVIP, lab.A, from)

	var first, last time.Time
	for _, i := range append(s.kernel.Intervals(), s.Obs.Kernel.Intervals()...) {
		if i.Host == lab.B && i.From.After(from) {
			if first.IsZero() || i.From.Before(first) {
				first = i.From
			}
			if i.From.After(last) {
				last = i.From
			}
		}
	}
	if apart := last.Sub(first); first.IsZero() || apart > 20*time.Millisecond {
		s.t.Errorf("the VIPs came to host b %v apart", apart)
	} else {
		s.t.Logf("the VIPs came to host b %s apart", short(apart))
	}
	for _, vip := range s.mysqlVIPs() {
		r := s.seen(vip, from)
		s.t.Logf("%-14s %v", vip, r)
		if r.Path() != "a → b" || r.Gap.Open || r.Gap.Length() > 500*time.Millisecond {
			s.t.Errorf("%s: %v; want it to move in 500ms", vip, r)
		}
		select {
		case <-sessions[vip].Done():
		case <-time.After(generous):
		}
		at, err := sessions[vip].Ended()
		if !errors.Is(err, syscall.ECONNRESET) {
			s.t.Errorf("session to %s ended with %v; want a reset", vip, err)
		} else {
			s.t.Logf("session to %-14s reset %s after the command, %s before b answered", vip, short(at.Sub(from)), short(r.Moves[len(r.Moves)-1].At.Sub(at)))
		}
	}
	if at, err := sessions[reportVIP].Ended(); !at.IsZero() {
		s.t.Errorf("session to the other service ended: %v", err)
	}
	s.must(sessions[reportVIP].Close())
	s.heardNA(heard, lab.B, first)
}

// heardNA holds that a host's take-over of the IPv6 VIP was announced.
func (s *twoServices) heardNA(heard <-chan announcement, host string, bound time.Time) {
	h, err := s.Host(host)
	s.must(err)
	for {
		select {
		case a := <-heard:
			var mac string
			for _, o := range a.na.Options {
				if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == ndp.Target {
					mac = lla.Addr.String()
				}
			}
			if a.na.TargetAddress.String() != mysqlVIP6 || mac != h.MAC().String() || a.na.Solicited {
				continue
			}
			s.t.Logf("announced by NDP %s after it was bound", short(a.at.Sub(bound)))
			if !a.na.Override {
				s.t.Error("the announcement does not override what neighbours have")
			}
			return
		default:
			s.t.Errorf("host %s has not announced %s", host, mysqlVIP6)
			return
		}
	}
}

func daemonOfTwoStopped(s *twoServices) {
	s.switchover("report", lab.B, reportVIP)
	s.eligible(lab.A)
	from := time.Now()
	s.must(s.Daemon(lab.B).Stop(s.t.Context()))
	s.answered(lab.A)
	for vip := range s.probes {
		r := s.seen(vip, from)
		s.t.Logf("%-14s %v", vip, r)
		if r.Path() != "b → a" || r.Gap.Length() > time.Second {
			s.t.Errorf("%s: %v; want it on a in a second", vip, r)
		}
	}
	s.must(s.StartDaemon(lab.B))
	s.eligible(lab.B)
}

// cannotBind: a host on which IPv6 was turned off gets the service, and must not
// keep it from the host that can have it.
func cannotBind(s *twoServices) {
	ctx := s.t.Context()
	h, err := s.Holder(ctx)
	s.must(err)
	here, there := lab.A, lab.B
	if h.Node != s.node(here) {
		here, there = there, here
	}
	_, err = s.Exec(ctx, there, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
	s.must(err)
	from := time.Now()
	if out, err := s.Leasehold(ctx, here, "switchover", "mysql", "--to", s.node(there)); err != nil {
		s.t.Fatalf("switchover: %v: %s", err, out)
	}
	why, err := s.WaitEligible(ctx, there, false)
	s.must(err)
	s.answered(here, s.mysqlVIPs()...)
	r := s.seen(s.VIP.Addr().String(), from)
	s.t.Logf("%v; host %s: %s", r, there, why)
	if r.Gap.Length() > 3*time.Second {
		s.t.Errorf("%v without service", r.Gap.Length())
	}
}
