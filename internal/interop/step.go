package interop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/internal/chaos"
	"leasehold/internal/lab"
)

// Seen is what was seen of a step.
type Seen struct {
	lab.Report // what a client saw
	Asked      []lab.ARPAnswer
	Voices     []chaos.Violation // two spoke as the VIP in turn
	Adverts    []lab.Advert
	State      map[string]string
	Status     map[string]string // what status of ours said, where it is wanted
	Broke      bool              // the TCP connection
}

// step lets one thing happen, waits for who shall answer in the end, and watches
// for a little longer: what comes late counts as well.
func (s *stage) step(ctx context.Context, step Step) (Line, error) {
	line := Line{Step: step}
	from := time.Now()
	if err := s.openSession(ctx); err != nil {
		return line, err
	}
	for _, do := range step.Do {
		if err := do(ctx, s); err != nil {
			return line, fmt.Errorf("bring it about: %w", err)
		}
	}
	missed := s.await(ctx, step)
	if err := s.obs.Prober.Watch(ctx, cmp.Or(step.For, time.Second)); err != nil {
		return line, err
	}
	said := s.awaitStates(ctx, step)
	to := time.Now()
	if err := lab.Pass(ctx, 50*time.Millisecond); err != nil { // for answers on their way
		return line, err
	}
	s.see(ctx, &line, from, to)
	if step.What == "" {
		return line, errors.Join(missed, said)
	}
	line.Wrong = step.Want.judge(line.Seen, s.trial)
	if missed != nil {
		line.Wrong = append(line.Wrong, missed.Error())
	}
	fmt.Fprintf(s.log, "%-30s %-44s %s\n", s.trial.Name, step.What, strings.Join(append(line.cells(), line.verdict()), "  "))
	return line, nil
}

// openSession opens the TCP connection of a trial that has one, while somebody
// answers.
func (s *stage) openSession(ctx context.Context) (err error) {
	host, at := s.obs.Prober.Answering()
	if !s.trial.Session || host == "" || time.Since(at) > time.Second || s.session != nil {
		return nil
	}
	s.session, err = s.OpenSession(ctx, s.VIP.Addr(), s.trial.holders()...)
	return err
}

// await waits until the host answers that shall in the end.
func (s *stage) await(ctx context.Context, step Step) error {
	if step.By == "" {
		return nil
	}
	if !s.trial.Mute {
		return s.obs.Prober.WaitAnswer(ctx, step.By, generous)
	}
	from := time.Now()
	return lab.Wait(ctx, generous, "an ARP answer of host "+step.By, func() (bool, error) {
		return slices.ContainsFunc(s.answers(from, time.Now()), func(a lab.ARPAnswer) bool {
			return len(a.By) == 1 && a.By[0].Host == step.By
		}), nil
	})
}

// awaitStates waits until the daemons say what they shall.
func (s *stage) awaitStates(ctx context.Context, step Step) error {
	return lab.Wait(ctx, generous, "what the daemons say", func() (bool, error) {
		got, err := s.states(ctx)
		for host, want := range step.Want.State {
			if got[host] != want {
				return false, errors.Join(err, fmt.Errorf("%s says %s, want %s", host, got[host], want))
			}
		}
		return true, nil
	})
}

// see fills in what was seen from then on.
func (s *stage) see(ctx context.Context, line *Line, from, to time.Time) {
	line.Seen = Seen{Report: s.obs.Report(from, to), Asked: s.answers(from, to)}
	if s.trial.Mute {
		line.Seen.Report = lab.Summarize(lab.AnswerProbes(lab.ARPAnswers(s.obs.Wire.Frames(), s.VIP.Addr())), from, to)
	}
	line.Seen.Adverts = slices.DeleteFunc(s.adverts.Since(from), func(a lab.Advert) bool { return a.At.After(to) })
	if s.voices != nil {
		t := &chaos.Trace{Nodes: s.trial.holders(), Start: from, End: to}
		t.Voices = slices.DeleteFunc(s.voices.Since(0), func(v lab.Voice) bool { return v.At.Before(from) || v.At.After(to) })
		line.Seen.Voices = chaos.JudgeVoices(t)
	}
	line.Seen.State, _ = s.states(ctx) // what cannot be read is unknown
	line.Seen.Status = map[string]string{}
	for host := range line.Want.Status {
		// Its exit code says that something is wrong, which is what is looked for.
		line.Seen.Status[host], _ = s.leasehold(ctx, host, "status")
	}
	if s.session != nil {
		ended, _ := s.session.Ended()
		last, _ := s.session.LastEcho()
		if line.Seen.Broke = !ended.IsZero() || time.Since(last) > time.Second; line.Seen.Broke {
			_ = s.session.Close() // it is broken
			s.session = nil
		}
	}
}

// leasehold runs an operator's command on a host.
func (s *stage) leasehold(ctx context.Context, host string, args ...string) (string, error) {
	return s.Exec(ctx, host, s.binary, append(args, "--config", s.ConfigFile(host))...)
}
