package cases

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"leasehold/internal/lab"
)

// network are the cases of the network: N1 to N4.
func network() []Case {
	return []Case{
		{"N1", "holder's NIC fails, and comes back", "moves within TTL + 1 s", holderNIC},
		{"N2", "standby's NIC fails, and comes back", "stays, no probe lost", standbyNIC},
		{"N2", "standby's NIC fails, etcd's leader is there", "stays, no probe lost", standbyNICLeader},
		{"N3", "the two hosts cannot reach each other", "stays, no probe lost", cutBetween(lab.C)},
		{"N3", "the same, etcd's leader on the holder", "stays, no probe lost", cutBetween(lab.A)},
		{"N3", "the same, etcd's leader on the standby", "stays, no probe lost", cutBetween(lab.B)},
		{"N3", "iptables -A INPUT -s PEER -j DROP on the holder", "stays, no probe lost", dropInput},
		{"N4", "both NICs fail, and come back", "gone within the TTL, back on one", bothNICs},
	}
}

func holderNIC(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error { return s.CablePull(lab.A) }, func() error {
		if err := s.Obs.Prober.WaitAnswer(ctx, lab.B, generous); err != nil {
			return err
		}
		// The cable comes back, and with it the old address if it is still there.
		return errors.Join(s.CablePlug(lab.A), s.quiet(ctx, 2*time.Second))
	})
	m.Took = 0
	return m, errors.Join(err, moved(m.Report, s.TTL+time.Second))
}

func standbyNIC(ctx context.Context, s *Site) (Measured, error) {
	if err := s.Etcd.MoveLeader(ctx, lab.C); err != nil {
		return Measured{}, err
	}
	return pullStandby(ctx, s)
}

func standbyNICLeader(ctx context.Context, s *Site) (Measured, error) {
	if err := s.Etcd.MoveLeader(ctx, lab.B); err != nil {
		return Measured{}, err
	}
	return pullStandby(ctx, s)
}

func pullStandby(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error { return s.CablePull(lab.B) }, func() error {
		return errors.Join(s.quiet(ctx, 2*s.TTL), s.CablePlug(lab.B), s.quiet(ctx, s.TTL))
	})
	m.Took = 0
	return m, errors.Join(err, stayed(m.Report))
}

func cutBetween(leader string) func(context.Context, *Site) (Measured, error) {
	return func(ctx context.Context, s *Site) (Measured, error) {
		if err := s.Etcd.MoveLeader(ctx, leader); err != nil {
			return Measured{}, err
		}
		m, err := s.fault(ctx, func() error { return s.Cut(ctx, lab.A, lab.B) }, func() error {
			return errors.Join(s.quiet(ctx, 2*s.TTL), s.Heal(ctx), s.quiet(ctx, s.TTL))
		})
		m.Took = 0
		return m, errors.Join(err, stayed(m.Report))
	}
}

func dropInput(ctx context.Context, s *Site) (Measured, error) {
	if err := s.Etcd.MoveLeader(ctx, lab.C); err != nil {
		return Measured{}, err
	}
	m, err := s.fault(ctx, func() error { return s.DropInput(ctx, lab.A, lab.B) }, func() error {
		return errors.Join(s.quiet(ctx, 2*s.TTL), s.RestoreInput(ctx, lab.A), s.quiet(ctx, s.TTL))
	})
	m.Took = 0
	return m, errors.Join(err, stayed(m.Report))
}

func bothNICs(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error { return errors.Join(s.CablePull(lab.A), s.CablePull(lab.B)) }, s.nowhere(ctx))
	gone := m.Took
	if gone > s.TTL {
		err = errors.Join(err, fmt.Errorf("the VIP was still in a kernel after %v, want at most the ttl", gone))
	}
	plugged := time.Now()
	err = errors.Join(err, s.CablePlug(lab.A), s.CablePlug(lab.B), s.Obs.Prober.WaitAnswer(ctx, "", generous))
	back := time.Since(plugged)
	m, err = s.report(ctx, m, errors.Join(err, s.quiet(ctx, time.Second)))
	m.Took = 0
	m.Note = fmt.Sprintf("gone after %s, back %s after the NICs", short(gone), short(back))
	if holders, herr := s.Holders(hosts()...); herr != nil || len(holders) != 1 {
		err = errors.Join(err, herr, fmt.Errorf("kernels with the VIP: %v, want one", holders))
	}
	return m, errors.Join(err, never(m.Report))
}

// routesKept runs f and holds that the routes of a host are then as they were.
func (s *Site) routesKept(ctx context.Context, host string, f func() error) error {
	before, err := s.Routes(ctx, host)
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	var after []string
	err = lab.Wait(ctx, 5*time.Second, "routes of host "+host+" as before", func() (bool, error) {
		var err error
		after, err = s.Routes(ctx, host)
		return slices.Equal(before, after), err
	})
	if err != nil {
		return fmt.Errorf("%w\nbefore %v\nafter  %v", err, before, after)
	}
	return nil
}
