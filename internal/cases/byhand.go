package cases

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// byHand are the cases of what operators do, to the VIP and to HA: P1 to P3.
func byHand() []Case {
	return []Case{
		{"P1", "VIP without a prefix length in the config", "refused, with what to write", noPrefix},
		{"P1", "VIP/8 added by hand on the standby", "gone in 200 ms, its 10/8 route too", strayOn(lab.B)},
		{"P1", "VIP/8 added by hand beside the holder's /24", "gone in 200 ms, its 10/8 route too", strayOn(lab.A)},
		{"P1", "take-over and back", "routes as before", routesAfterMove},
		{"P2", "ifcfg-eth0:1 brings the VIP up on the standby", "gone in 200 ms", ifcfgOnStandby},
		{"P2", "ifdown eth0, ifup eth0 on the holder", "moves, then only one has it", ifdownIfup},
		{"P2", "VIP deleted by hand on the holder", "back and announced in 200 ms", deletedByHand},
		{"P3", "pause 1h, daemon stopped, started, killed, upgraded", "stays, no probe lost", pauseDaemon},
		{"P3", "pause 1h, mysqld restarted", "stays, no probe lost", pauseMysqld},
		{"P3", "pause 1h, all of etcd stopped", "stays, no probe lost", pauseEtcd},
		{"P3", "pause by etcdctl put, then del", "stays; HA returns", pauseByKey},
		{"P3", "the pause ends by itself", "HA returns", pauseEnds},
	}
}

func noPrefix(ctx context.Context, s *Site) (Measured, error) {
	c, err := s.NodeConfig(lab.A, s.Etcd)
	if err != nil {
		return Measured{}, err
	}
	c.VIPs = []string{"10.20.8.188 dev eth0 label eth0:1"}
	file := s.ConfigFile(lab.A) + ".bad"
	if err := os.WriteFile(file, []byte(c.YAML()), 0o600); err != nil {
		return Measured{}, err
	}
	out, err := s.Exec(ctx, lab.A, s.binary, "check", "--config", file)
	if err == nil || !strings.Contains(out, "10.20.8.188/24") {
		return Measured{}, fmt.Errorf("check of a VIP without a prefix length: %w\n%s\nwant it refused, and what to write instead", err, out)
	}
	return Measured{Note: "refused"}, nil
}

// removal is how long a stray address may stay: the table's 200 ms, and what our
// own looking costs.
const removal = 200 * time.Millisecond

// stray adds the VIP by hand and measures until it is gone again.
func (s *Site) stray(ctx context.Context, host, prefix string) (time.Duration, error) {
	if _, err := s.Exec(ctx, host, "ip", "addr", "add", prefix, "dev", "eth0", "label", "eth0:1"); err != nil {
		return 0, err
	}
	from := time.Now()
	err := lab.Wait(ctx, generous, "stray "+prefix+" gone from host "+host, func() (bool, error) {
		addrs, err := s.Addrs(ctx, host)
		return !strings.Contains(strings.Join(addrs, "\n"), prefix), err
	})
	return time.Since(from), err
}

func strayOn(host string) func(context.Context, *Site) (Measured, error) {
	return func(ctx context.Context, s *Site) (Measured, error) {
		wide := s.VIP.Addr().String() + "/8"
		from := time.Now()
		var took time.Duration
		err := s.routesKept(ctx, host, func() (err error) {
			took, err = s.stray(ctx, host, wide)
			return err
		})
		if took > removal {
			err = errors.Join(err, fmt.Errorf("gone after %v, want at most %v", took, removal))
		}
		m := Measured{Took: took, Report: lab.Report{From: from}}
		m, err = s.report(ctx, m, errors.Join(err, s.quiet(ctx, 300*time.Millisecond)))
		if m.Path() != "a" || host == lab.A && m.Lost > 0 {
			err = errors.Join(err, fmt.Errorf("answered by %s, %d lost", m.Path(), m.Lost))
		}
		return m, err
	}
}

func routesAfterMove(ctx context.Context, s *Site) (Measured, error) {
	from := time.Now()
	err := s.routesKept(ctx, lab.A, func() error {
		if out, err := s.Leasehold(ctx, lab.A, "switchover", "--to", s.node(lab.B)); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if err := s.Obs.Prober.WaitAnswer(ctx, lab.B, generous); err != nil {
			return err
		}
		routes, err := s.Routes(ctx, lab.B)
		if wide := strings.Join(routes, "\n"); strings.Contains(wide, "10.0.0.0/8") {
			err = errors.Join(err, fmt.Errorf("a route wider than the VIP's on host b:\n%s", wide))
		}
		if err != nil {
			return err
		}
		if out, err := s.Leasehold(ctx, lab.A, "switchover", "--to", s.node(lab.A)); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return s.Obs.Prober.WaitAnswer(ctx, lab.A, generous)
	})
	m, err := s.report(ctx, Measured{Report: lab.Report{From: from}}, err)
	return m, errors.Join(err, never(m.Report))
}

func ifcfgOnStandby(ctx context.Context, s *Site) (Measured, error) {
	from := time.Now()
	took, err := s.stray(ctx, lab.B, s.VIP.String())
	if took > removal {
		err = errors.Join(err, fmt.Errorf("gone after %v, want at most %v", took, removal))
	}
	m := Measured{Took: took, Report: lab.Report{From: from}}
	m, err = s.report(ctx, m, errors.Join(err, s.quiet(ctx, 300*time.Millisecond)))
	if m.Path() != "a" {
		err = errors.Join(err, fmt.Errorf("answered by %s, want a", m.Path()))
	}
	return m, err
}

func ifdownIfup(ctx context.Context, s *Site) (Measured, error) {
	host, err := s.Host(lab.A)
	if err != nil {
		return Measured{}, err
	}
	var took time.Duration
	m, err := s.fault(ctx, func() error {
		_, err := s.Exec(ctx, lab.A, "sh", "-c", "ip addr flush dev eth0; ip link set eth0 down")
		return err
	}, func() error {
		if err := s.Obs.Prober.WaitAnswer(ctx, lab.B, generous); err != nil {
			return err
		}
		if _, err := s.Exec(ctx, lab.A, "sh", "-c", "ip link set eth0 up; ip addr add "+host.Addr.String()+" dev eth0"); err != nil {
			return err
		}
		var err error
		took, err = s.stray(ctx, lab.A, s.VIP.String()) // what ifcfg-eth0:1 does
		return errors.Join(err, s.quiet(ctx, s.TTL))
	})
	m.Took, m.Note = 0, fmt.Sprintf("stray gone after %s", short(took))
	if took > removal {
		err = errors.Join(err, fmt.Errorf("stray address gone after %v, want at most %v", took, removal))
	}
	holders, herr := s.Holders(hosts()...)
	if herr != nil || len(holders) != 1 || holders[0] != lab.B {
		err = errors.Join(err, herr, fmt.Errorf("kernels with the VIP: %v, want b alone", holders))
	}
	if last := m.Moves[len(m.Moves)-1].To; last != lab.B || m.Gap.Open || m.Gap.Length() > s.TTL+time.Second {
		err = errors.Join(err, fmt.Errorf("answered by %s, gap %v", m.Path(), m.Gap.Length()))
	}
	return m, err
}

func deletedByHand(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error {
		_, err := s.Exec(ctx, lab.A, "ip", "addr", "del", s.VIP.String(), "dev", "eth0")
		return err
	}, s.answeredBy(ctx, lab.A))
	m.Took = 0
	if late(m.Report, removal) || m.Path() != "a" {
		err = errors.Join(err, fmt.Errorf("%v without service, answered by %s; want at most %v, a", m.Gap.Length(), m.Path(), removal))
	}
	announced := false
	for _, c := range m.Claims {
		announced = announced || c.Gratuitous() && c.At.Sub(m.From) < removal
	}
	if !announced {
		err = errors.Join(err, fmt.Errorf("not announced again within %v", removal))
	}
	return m, errors.Join(err, never(m.Report))
}

// paused pauses HA, runs f, resumes, and holds that the VIP stayed and that HA
// works again.
func (s *Site) paused(ctx context.Context, f func() error) (Measured, error) {
	if out, err := s.Leasehold(ctx, lab.A, "pause", "--for", "1h", "--reason", "acceptance"); err != nil {
		return Measured{}, fmt.Errorf("pause: %w: %s", err, out)
	}
	if err := s.waitTTL(ctx, time.Hour); err != nil {
		return Measured{}, err
	}
	m, err := s.fault(ctx, f, func() error { return s.mend0(ctx) })
	if out, rerr := s.Leasehold(ctx, lab.A, "resume"); rerr != nil {
		err = errors.Join(err, fmt.Errorf("resume: %w: %s", rerr, out))
	}
	m, err = s.report(ctx, m, errors.Join(err, s.waitTTL(ctx, 0), s.quiet(ctx, s.TTL), s.Obs.Prober.WaitAnswer(ctx, lab.A, generous)))
	m.Took = 0
	return m, errors.Join(err, stayed(m.Report))
}

// mend0 starts what a pause survived without, and leaves the pause alone.
func (s *Site) mend0(ctx context.Context) error {
	var errs []error
	for _, h := range []string{lab.A, lab.B, lab.C} {
		if p := s.Etcd.Process(h); !p.Running() {
			errs = append(errs, s.Etcd.Start(h))
		}
	}
	errs = append(errs, s.Etcd.WaitReady(ctx))
	for _, h := range hosts() {
		if p := s.DB.Process(h); !p.Running() {
			errs = append(errs, s.DB.Start(h), s.DB.WaitReady(ctx, h))
		}
		errs = append(errs, s.StartDaemon(h))
	}
	return errors.Join(errs...)
}

// waitTTL waits until the holder key says a ttl of at least that, or with 0 the
// configured one.
func (s *Site) waitTTL(ctx context.Context, least time.Duration) error {
	return lab.Wait(ctx, generous, fmt.Sprintf("tenure of at least %v", least), func() (bool, error) {
		h, err := s.Holder(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // asked again
		}
		ttl, err := time.ParseDuration(h.TTL)
		return err == nil && (least > 0 && ttl >= least || least == 0 && ttl == s.TTL), err
	})
}

func pauseDaemon(ctx context.Context, s *Site) (Measured, error) {
	return s.paused(ctx, func() error {
		for _, end := range []func() error{
			func() error { return s.Daemon(lab.A).Stop(ctx) },
			func() error { return s.Daemon(lab.A).Kill() },
		} {
			old := s.Daemon(lab.A)
			if err := end(); err != nil {
				return err
			}
			if err := old.Wait(ctx); err != nil && ctx.Err() != nil {
				return err
			}
			if err := errors.Join(s.quiet(ctx, s.TTL+time.Second), s.StartDaemon(lab.A), s.quiet(ctx, time.Second)); err != nil {
				return err
			}
		}
		return nil
	})
}

func pauseMysqld(ctx context.Context, s *Site) (Measured, error) {
	return s.paused(ctx, func() error {
		return errors.Join(s.DB.Process(lab.A).Stop(ctx), s.quiet(ctx, s.TTL), s.DB.Start(lab.A), s.DB.WaitReady(ctx, lab.A))
	})
}

func pauseEtcd(ctx context.Context, s *Site) (Measured, error) {
	return s.paused(ctx, func() error {
		var errs []error
		for _, h := range []string{lab.A, lab.B, lab.C} {
			errs = append(errs, s.Etcd.Process(h).Kill())
		}
		return errors.Join(append(errs, s.quiet(ctx, 2*s.TTL))...)
	})
}

func pauseByKey(ctx context.Context, s *Site) (Measured, error) {
	if _, err := s.Etcd.Ctl(ctx, "put", "/leasehold/mysql/pause", ""); err != nil {
		return Measured{}, err
	}
	if err := s.waitTTL(ctx, 24*time.Hour); err != nil {
		return Measured{}, err
	}
	m, err := s.fault(ctx, s.DB.Process(lab.A).Kill, s.during(ctx, s.TTL))
	m.Took = 0
	err = errors.Join(err, stayed(m.Report))
	// HA returns, finds mysqld down, and moves the VIP after a round of checks.
	if _, derr := s.Etcd.Ctl(ctx, "del", "/leasehold/mysql/pause"); derr != nil {
		return m, errors.Join(err, derr)
	}
	back := time.Now()
	err = errors.Join(err, s.Obs.Prober.WaitAnswer(ctx, lab.B, generous))
	m.Note = fmt.Sprintf("after del it moved in %s", short(time.Since(back)))
	m, err = s.report(ctx, m, err)
	return m, errors.Join(err, moved(m.Report, 100*time.Millisecond))
}

func pauseEnds(ctx context.Context, s *Site) (Measured, error) {
	const length = 6 * time.Second
	if out, err := s.Leasehold(ctx, lab.A, "pause", "--for", length.String(), "--reason", "short"); err != nil {
		return Measured{}, fmt.Errorf("pause: %w: %s", err, out)
	}
	from := time.Now()
	if err := s.waitTTL(ctx, length); err != nil {
		return Measured{}, err
	}
	if err := s.DB.Process(lab.A).Kill(); err != nil {
		return Measured{}, err
	}
	err := s.Obs.Prober.WaitAnswer(ctx, lab.B, generous)
	took := time.Since(from)
	if took < length-time.Second {
		err = errors.Join(err, fmt.Errorf("moved %v into a pause of %v", took, length))
	}
	m, err := s.report(ctx, Measured{Took: took, Report: lab.Report{From: from}}, err)
	return m, errors.Join(err, moved(m.Report, 100*time.Millisecond))
}
