package interop

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/internal/chaos"
	"leasehold/internal/lab"
)

// timeline is all that happened around the steps that failed, in order; empty when
// none did.
func (s *stage) timeline(o Outcome) string {
	failed := slices.DeleteFunc(slices.Clone(o.Lines), func(l Line) bool { return len(l.Wrong) == 0 })
	end := time.Now()
	if o.Err != nil {
		failed = append(failed, Line{Seen: Seen{Report: lab.Report{From: end.Add(-generous), To: end}}, Wrong: []string{firstLine(o.Err)}})
	}
	if len(failed) == 0 {
		return ""
	}
	t := &chaos.Trace{
		Nodes: s.trial.holders(), Start: s.began, End: end, Probes: s.obs.Prober.Probes(),
		Asked: s.answers(s.began, end), Held: s.obs.Kernel.Intervals(),
	}
	if s.voices != nil {
		t.Voices = s.voices.Since(0)
	}
	for _, l := range o.Lines {
		t.Events = append(t.Events, chaos.Event{Fault: chaos.Fault{Kind: l.What}, From: l.Seen.From, To: l.Seen.To})
	}
	all := append(t.Timeline(), said(s.adverts.Since(s.began))...)
	for u, p := range s.running {
		all = append(all, chaos.LogLines(fmt.Sprintf("%.4s %s", u, u.Host), p.Log, s.began)...)
	}
	chaos.SortLines(all)
	var b strings.Builder
	for _, l := range failed {
		v := chaos.Violation{From: l.Seen.From, To: l.Seen.To}
		fmt.Fprintf(&b, "\nFAIL %s: %s\n", l.What, strings.Join(l.Wrong, "; "))
		chaos.PrintAround(&b, all, v, s.began)
	}
	return b.String()
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// said are the adverts, the first of each kind: those that follow in time are left
// out.
func said(adverts []lab.Advert) []chaos.Line {
	var all []chaos.Line
	var last lab.Advert
	for _, a := range adverts {
		if a.Port == last.Port && a.Priority == last.Priority && a.At.Sub(last.At) < 1500*time.Millisecond {
			last.At = a.At
			continue
		}
		what := fmt.Sprintf("vrrp    %s advertises version %d, VRID %d, priority %d", a.Port, a.Version, a.VRID, a.Priority)
		if a.AH {
			what += ", behind AH"
		}
		all, last = append(all, chaos.Line{At: a.At, What: what}), a
	}
	return all
}
