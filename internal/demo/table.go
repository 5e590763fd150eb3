package demo

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// row is one line of the final table.
type row struct {
	step   *step
	report lab.Report
	took   time.Duration // from the fault to what was waited for; 0: nothing was
	err    error
}

// path is who answered, one after the other, by letter.
func (r row) path() string {
	var all []string
	for _, m := range r.report.Moves {
		all = append(all, letter(m.To))
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, " → ")
}

// gap is the longest time without service; "none" when no probe was lost. A ~ says
// that the prober was held up, see heldUp.
func (r row) gap() string {
	switch {
	case r.report.Sent == 0:
		return "-"
	case r.report.Lost == 0:
		return "none"
	case heldUp(r.report, r.report.Gap.Length()):
		return "~" + short(r.report.Gap.Length())
	}
	return short(r.report.Gap.Length())
}

// measured says in a line what was seen.
func (r row) measured() string {
	switch {
	case r.report.Sent == 0:
		return "not done"
	case r.took > 0:
		return fmt.Sprintf("up on %s %s after the last start", r.path(), short(r.took))
	case r.report.Lost == 0:
		return fmt.Sprintf("%s, none of %d probes lost", r.path(), r.report.Sent)
	}
	return fmt.Sprintf("%s, %s without service, %d of %d probes lost", r.path(), r.gap(), r.report.Lost, r.report.Sent)
}

func (r row) verdict() string {
	if r.err != nil {
		return "FAIL"
	}
	return "ok"
}

// writeTable writes the rows in 80 columns, and below each that failed why.
func writeTable(w io.Writer, rows []row, on ink) error {
	var errs []error
	line := func(id, fault, must, holder, gap, lost, two, verdict, sgr string) {
		text := fmt.Sprintf("%s %s %s %s %8s %5s %3s  %s", pad(id, 5), pad(fault, 25), pad(must, 14), pad(holder, 6), gap, lost, two, on.paint(sgr, verdict))
		_, err := fmt.Fprintln(w, strings.TrimRight(text, " "))
		errs = append(errs, err)
	}
	line("case", "fault", "must hold", "holder", "gap", "lost", "two", "", "")
	for _, r := range rows {
		sgr := sgrGood
		if r.err != nil {
			sgr = sgrBad
		}
		line(r.step.ID, r.step.Short, r.step.Must, r.path(), r.gap(), fmt.Sprint(r.report.Lost), fmt.Sprint(len(r.report.Duals)), r.verdict(), sgr)
		if r.err == nil {
			continue
		}
		for l := range strings.Lines(r.err.Error()) {
			_, err := fmt.Fprintf(w, "      %s\n", strings.TrimRight(l, "\n"))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
