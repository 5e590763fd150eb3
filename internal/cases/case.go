package cases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// Case is one row of the operators' table, or one way to bring its fault about.
type Case struct {
	ID     string // of the table: N1
	Name   string // what happens: "holder's NIC fails"
	Expect string // in a few words, for the table
	Run    func(context.Context, *Site) (Measured, error)
}

// Measured is what was seen from outside.
type Measured struct {
	lab.Report
	Took time.Duration // from the fault to what was waited for; 0: nothing was
	Note string
}

// String is the measured column.
func (m Measured) String() string {
	var b strings.Builder
	if m.Took > 0 {
		fmt.Fprintf(&b, "after %s, ", short(m.Took))
	}
	switch {
	case m.Sent > 0 && m.Lost == 0:
		fmt.Fprintf(&b, "%s, none of %d probes lost", m.Path(), m.Sent)
	case m.Sent > 0:
		fmt.Fprintf(&b, "%s, %s without service, %d of %d probes lost", m.Path(), short(m.Gap.Length()), m.Lost, m.Sent)
	}
	if m.Note != "" {
		fmt.Fprintf(&b, "; %s", m.Note)
	}
	return strings.TrimPrefix(strings.TrimSuffix(b.String(), ", "), "; ")
}

func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// Row is one line of the printed table.
type Row struct {
	Case
	Measured Measured
	Err      error
}

// Table prints rows as operators read them.
func Table(w io.Writer, rows []Row) error {
	var errs []error
	line := func(id, name, expect, verdict, measured string) {
		_, err := fmt.Fprintf(w, "%-4s %-53s %-39s %-5s %s\n", id, name, expect, verdict, measured)
		errs = append(errs, err)
	}
	line("case", "fault", "expected", "", "measured")
	for _, r := range rows {
		verdict := "ok"
		if r.Err != nil {
			verdict = "FAIL"
		}
		line(r.ID, r.Name, r.Expect, verdict, r.Measured.String())
		if r.Err != nil {
			for l := range strings.Lines(r.Err.Error()) {
				_, err := fmt.Fprintf(w, "     %s\n", strings.TrimRight(l, "\n"))
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// never holds what must be true in every case: at no instant two hosts.
func never(r lab.Report) error {
	var errs []error
	if len(r.Duals) > 0 {
		errs = append(errs, fmt.Errorf("%d questions for the VIP were answered by two hosts, first %+v", len(r.Duals), r.Duals[0]))
	}
	if r.Overlap() > 0 {
		errs = append(errs, fmt.Errorf("two kernels had the VIP for %v", r.Overlap()))
	}
	return errors.Join(errs...)
}

// silent leaves out of a report that two kernels had the VIP, where a fence has
// ended the tenure of a daemon that could not: the address stays for up to three
// seconds more, on a host that no frame of it enters or leaves.
func (s *Site) silent(r lab.Report) lab.Report {
	if s.Fenced() {
		r.Overlaps = nil
	}
	return r
}

// moved holds that the VIP went from host a to host b within a limit, and back to
// nobody.
func moved(r lab.Report, limit time.Duration) error {
	err := never(r)
	if r.Path() != "a → b" {
		err = errors.Join(err, fmt.Errorf("answered by %s, want a → b", r.Path()))
	}
	if late(r, limit) {
		err = errors.Join(err, fmt.Errorf("%v without service, %d probes lost, want at most %v", r.Gap.Length(), r.Lost, limit))
	}
	return err
}

// late reports that there was no service for longer than the limit. A prober that
// the machine held up for as long has seen nothing of it: it must have lost at
// least half of the probes that it sends in the limit, one every 2 ms.
func late(r lab.Report, limit time.Duration) bool {
	const every = 2 * time.Millisecond
	return r.Gap.Open || r.Gap.Length() > limit && r.Lost > int(limit/every/2)
}

// stayed holds that host a answered every probe.
func stayed(r lab.Report) error {
	err := never(r)
	if r.Path() != "a" || r.Lost > 0 {
		err = errors.Join(err, fmt.Errorf("answered by %s with %d probes lost, want a and none", r.Path(), r.Lost))
	}
	return err
}

// fault brings a fault about, waits for what shall follow, and reports.
func (s *Site) fault(ctx context.Context, do, wait func() error) (Measured, error) {
	from := time.Now()
	m := Measured{Report: lab.Report{From: from, To: from}}
	if err := do(); err != nil {
		return m, fmt.Errorf("bring the fault about: %w", err)
	}
	err := wait()
	m.Took = time.Since(from)
	if err == nil {
		// What comes late counts as well: a second host, an address that returns.
		err = s.quiet(ctx, 300*time.Millisecond)
	}
	return s.report(ctx, m, err)
}

// report fills in what was seen from m.From to now, with time for the answers
// that are still on their way.
func (s *Site) report(ctx context.Context, m Measured, err error) (Measured, error) {
	to := time.Now()
	err = errors.Join(err, s.quiet(ctx, 100*time.Millisecond))
	m.Report = s.Obs.Report(m.From, to)
	return m, err
}

// quiet lets d pass under observation.
func (s *Site) quiet(ctx context.Context, d time.Duration) error {
	return s.Obs.Prober.Watch(ctx, d)
}

func (s *Site) answeredBy(ctx context.Context, host string) func() error {
	return func() error { return s.Obs.Prober.WaitAnswer(ctx, host, generous) }
}

func (s *Site) during(ctx context.Context, d time.Duration) func() error {
	return func() error { return s.quiet(ctx, d) }
}

func (s *Site) nowhere(ctx context.Context) func() error {
	return func() error { return s.WaitHeld(ctx, generous) }
}
