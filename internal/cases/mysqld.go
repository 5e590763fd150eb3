package cases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// mysqld are the cases of the server: M1 to M3.
func mysqld() []Case {
	return []Case{
		{"M1", "holder's mysqld stopped", "moves, < 100 ms without service", mysqldStopped},
		{"M1", "holder's mysqld killed (-9)", "moves, < 100 ms without service", mysqldKilled},
		{"M1", "holder's mysqld frozen (STOP)", "moves after fall × interval + timeout", mysqldFrozen},
		{"M2", "standby's mysqld stopped", "stays; shown as not eligible", standbyMysqldStopped},
		{"M3", "both mysqld stopped, one comes back", "nowhere, then on the first that is well", bothMysqldStopped},
		{"M3", "the same with last_standing: keep", "stays on the last holder", lastStanding},
	}
}

func mysqldStopped(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, s.DB.Process(lab.A).Term, s.answeredBy(ctx, lab.B))
	return m, errors.Join(err, moved(m.Report, 100*time.Millisecond))
}

func mysqldKilled(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, s.DB.Process(lab.A).Kill, s.answeredBy(ctx, lab.B))
	if m.Took > 500*time.Millisecond {
		err = errors.Join(err, fmt.Errorf("moved %v after the kill, want at once", m.Took))
	}
	return m, errors.Join(err, moved(m.Report, 100*time.Millisecond))
}

// hang is how long a mysqld that hangs is borne: fall × interval + timeout of
// the site's mysql check.
const hang = 2*500*time.Millisecond + time.Second

func mysqldFrozen(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error { return s.DB.Process(lab.A).Freeze(ctx) }, s.answeredBy(ctx, lab.B))
	// Two runs, the second an interval after the first began and no sooner than
	// the first ended: each may take the whole timeout.
	if limit := hang + 2*time.Second; m.Took > limit {
		err = errors.Join(err, fmt.Errorf("moved %v after the freeze, want at most %v", m.Took, limit))
	}
	return m, errors.Join(err, moved(m.Report, 100*time.Millisecond))
}

func standbyMysqldStopped(ctx context.Context, s *Site) (Measured, error) {
	var why string
	m, err := s.fault(ctx, s.DB.Process(lab.B).Term, func() error {
		var err error
		why, err = s.WaitEligible(ctx, lab.B, false)
		return errors.Join(err, s.quiet(ctx, s.TTL))
	})
	m.Took, m.Note = 0, strings.ReplaceAll(why, s.Dir(), "…")
	out, serr := s.Leasehold(ctx, lab.A, "status")
	if !strings.Contains(out, s.node(lab.B)) || !strings.Contains(out, "not eligible") && !strings.Contains(out, "no") {
		err = errors.Join(err, serr, fmt.Errorf("status does not show that %s is not eligible:\n%s", s.node(lab.B), out))
	}
	return m, errors.Join(err, stayed(m.Report))
}

func bothMysqldStopped(ctx context.Context, s *Site) (Measured, error) {
	m, err := s.fault(ctx, func() error {
		return errors.Join(s.DB.Process(lab.B).Stop(ctx), s.DB.Process(lab.A).Stop(ctx))
	}, s.nowhere(ctx))
	err = errors.Join(err, s.quiet(ctx, s.TTL), s.WaitHeld(ctx, time.Second), s.DB.Start(lab.B), s.DB.WaitReady(ctx, lab.B))
	well := time.Now()
	err = errors.Join(err, s.Obs.Prober.WaitAnswer(ctx, lab.B, generous))
	m.Took, m.Note = 0, fmt.Sprintf("up on b %s after its mysqld was ready", short(time.Since(well)))
	m, err = s.report(ctx, m, err)
	return m, errors.Join(err, never(m.Report))
}

func lastStanding(ctx context.Context, s *Site) (Measured, error) {
	if err := s.reconfigure(ctx, "    last_standing: keep\n"); err != nil {
		return Measured{}, err
	}
	m, err := s.fault(ctx, func() error {
		if err := s.DB.Process(lab.B).Stop(ctx); err != nil {
			return err
		}
		if _, err := s.WaitEligible(ctx, lab.B, false); err != nil {
			return err
		}
		return s.DB.Process(lab.A).Stop(ctx)
	}, s.during(ctx, s.TTL))
	m.Took = 0
	err = errors.Join(err, stayed(m.Report), s.mend(ctx))
	return m, errors.Join(err, s.reconfigure(ctx, ""))
}

// reconfigure restarts both daemons with more keys in the service's config, and
// settles.
func (s *Site) reconfigure(ctx context.Context, extra string) error {
	for _, h := range hosts() {
		if err := errors.Join(s.Daemon(h).Stop(ctx), s.Configure(h, extra), s.StartDaemon(h)); err != nil {
			return err
		}
	}
	return s.Settle(ctx)
}
