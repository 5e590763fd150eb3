package cases

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/lab"
)

// daemons are the cases of our own daemon: D1 to D5.
func daemons() []Case {
	return []Case{
		{"D1", "holder's daemon stopped", "moves, < 100 ms without service", daemonStopped},
		{"D2", "standby's daemon stopped", "stays, no probe lost", standbyDaemonStopped},
		{"D3", "both daemons stopped", "gone from both at once", bothDaemonsStopped},
		{"D4", "after D3 the holder's daemon starts", "back within 1 s of the start", daemonStartsAlone},
		{"D5", "holder's daemon killed (-9)", "moves within TTL + 1 s", daemonKilled},
		{"D5", "holder's daemon frozen (STOP), then thawed", "moves within TTL + 1 s", daemonFrozen},
		{"D5", "holder's daemon killed, restarted at once", "stays, no probe lost", daemonRestarted},
	}
}

func daemonStopped(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, s.Daemon(lab.A).Term, s.answeredBy(ctx, lab.B))
	m.Took = 0
	return m, errors.Join(err, moved(m.Report, 100*time.Millisecond))
}

func standbyDaemonStopped(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, s.Daemon(lab.B).Term, s.during(ctx, s.TTL+time.Second))
	m.Took = 0
	return m, errors.Join(err, stayed(m.Report))
}

func bothDaemonsStopped(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error { return errors.Join(s.Daemon(lab.B).Term(), s.Daemon(lab.A).Term()) }, s.nowhere(ctx))
	if m.Took > time.Second {
		err = errors.Join(err, fmt.Errorf("gone after %v, want at once", m.Took))
	}
	m, err = s.report(ctx, m, errors.Join(err, s.quiet(ctx, s.TTL), s.WaitHeld(ctx, time.Second)))
	err = errors.Join(err, never(m.Report))
	m.Sent = 0 // nobody answers, and that is what was asked for
	return m, err
}

func daemonStartsAlone(ctx context.Context, s *Site) (Measured, error) {
	for _, h := range []string{lab.B, lab.A} {
		if err := s.Daemon(h).Stop(ctx); err != nil {
			return Measured{}, err
		}
	}
	if err := s.WaitHeld(ctx, generous); err != nil {
		return Measured{}, err
	}
	m, err := s.fault(ctx, func() error { return s.StartDaemon(lab.A) }, s.answeredBy(ctx, lab.A))
	m.Gap, m.Sent = lab.Gap{}, 0 // it begins before the case
	if m.Took > time.Second {
		err = errors.Join(err, fmt.Errorf("back %v after the start, want at most 1s", m.Took))
	}
	return m, errors.Join(err, never(m.Report))
}

func daemonKilled(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, s.Daemon(lab.A).Kill, s.answeredBy(ctx, lab.B))
	m.Took = 0
	return m, errors.Join(err, moved(s.silent(m.Report), s.TTL+time.Second))
}

func daemonFrozen(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error { return s.Daemon(lab.A).Freeze(ctx) }, func() error {
		err := s.Obs.Prober.WaitAnswer(ctx, lab.B, generous)
		// Thawed, it must find out that its time is over before it does anything.
		return errors.Join(err, s.quiet(ctx, time.Second), s.Daemon(lab.A).Thaw(), s.quiet(ctx, s.TTL))
	})
	m.Took = 0
	return m, errors.Join(err, moved(s.silent(m.Report), s.TTL+time.Second))
}

func daemonRestarted(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error {
		old := s.Daemon(lab.A)
		if err := old.Kill(); err != nil {
			return err
		}
		if err := old.Wait(ctx); err != nil && ctx.Err() != nil {
			return err
		}
		return s.StartDaemon(lab.A)
	}, s.during(ctx, 2*s.TTL))
	m.Took = 0
	return m, errors.Join(err, stayed(m.Report))
}
