package chaos

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// verdict judges the run, prints what there is to say, and keeps what is needed
// to understand a failure.
func (w *world) verdict(t *Trace) error {
	violations := t.Judge()
	t.summary(w.o.Out)
	if len(violations) == 0 {
		return nil
	}
	dir, err := w.o.keepDir()
	if err != nil {
		return err
	}
	f := &Failure{w.o.Seed, violations, dir}
	report, err := os.Create(filepath.Join(dir, "report.txt"))
	if err != nil {
		return errors.Join(f, err)
	}
	out := io.MultiWriter(w.o.Out, report)
	lines := w.timeline(t)
	for _, v := range firstOfEach(violations) {
		fmt.Fprintf(out, "\nVIOLATION %s\n", v)
		PrintAround(out, lines, v, t.Start)
	}
	fmt.Fprintf(report, "\nseed %d, %d nodes, ttl %v, fence: %s\n%v\n\neverything:\n", w.o.Seed, w.o.Nodes, w.o.TTL, w.o.Fence, f)
	for _, l := range lines {
		l.print(report, t.Start)
	}
	return errors.Join(f, report.Close(), w.keepLogs(dir))
}

// firstOfEach returns the first violation of each rule.
func firstOfEach(all []Violation) []Violation {
	var some []Violation
	for _, v := range all {
		if !slices.ContainsFunc(some, func(s Violation) bool { return s.Rule == v.Rule }) {
			some = append(some, v)
		}
	}
	return some
}

// summary prints the figures of a run.
func (t *Trace) summary(out io.Writer) {
	count := map[string]int{}
	for _, e := range t.Events {
		count[e.Kind]++
	}
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(count)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", k, count[k]))
	}
	fmt.Fprintf(out, "%d faults in %v: %s\n", len(t.Events), round(t.End.Sub(t.Start)), strings.Join(kinds, ", "))
	ended := map[string]int{}
	for _, x := range t.Exits {
		ended[x.Unit]++
	}
	for _, u := range slices.Sorted(maps.Keys(ended)) {
		fmt.Fprintf(out, "%s ended by itself %d times\n", u, ended[u])
	}
	gaps := t.Gaps()
	var longest, well, sum time.Duration
	for _, g := range gaps {
		longest, well, sum = max(longest, g.Length()), max(well, g.Well), sum+g.Length()
	}
	fmt.Fprintf(out, "%d gaps, %v in all, the longest %v; well meanwhile for at most %v (bound %v)\n", len(gaps), round(sum), round(longest), round(well), t.Bound())
	moves, dual, before := 0, 0, ""
	for _, p := range t.Probes {
		if p.By != "" && p.By != before {
			moves, before = moves+1, p.By
		}
	}
	excuses := map[string]int{}
	for _, a := range t.Asked {
		if a.Dual() {
			dual++
			excuses[t.excuse(a)]++
		}
	}
	var overlap time.Duration
	for _, o := range lab.Overlaps(t.Held, t.End) {
		overlap += o.To.Sub(o.From)
	}
	fmt.Fprintf(out, "%d probes, %d ARP questions (%d with two answers), %d frames as the VIP, %d moves; two kernels had it for %v, both fences open in %d of %d looks\n",
		len(t.Probes), len(t.Asked), dual, len(t.Voices), max(0, moves-1), round(overlap), len(t.Ajar), t.Looks)
	for _, why := range slices.Sorted(maps.Keys(excuses)) {
		fmt.Fprintf(out, "  with two answers: %d %s\n", excuses[why], why)
	}
}

// Line is one thing that happened.
type Line struct {
	At   time.Time
	What string
}

func (l Line) print(out io.Writer, start time.Time) {
	fmt.Fprintf(out, "%9.3f  %s  %s\n", l.At.Sub(start).Seconds(), l.At.Format("15:04:05.000"), l.What)
}

// timeline is all that happened, in order: what Timeline has, and what the daemons
// wrote.
func (w *world) timeline(t *Trace) []Line {
	all := t.Timeline()
	for _, h := range w.nodes {
		all = append(all, LogLines("log "+h, w.units["daemon "+h].process().Log, t.Start)...)
	}
	SortLines(all)
	return all
}

// SortLines puts lines in order.
func SortLines(all []Line) {
	slices.SortStableFunc(all, func(x, y Line) int { return x.At.Compare(y.At) })
}

// LogLines reads the log of a daemon. A line without a time is as old as the one
// before, the first as old as the beginning.
func LogLines(name, file string, start time.Time) []Line {
	text, err := os.ReadFile(file)
	if err != nil {
		return []Line{{start, fmt.Sprintf("%-7s %v", name, err)}}
	}
	var all []Line
	at := start
	for l := range strings.Lines(string(text)) {
		if s, rest := cutStamp(l); !s.IsZero() {
			at, l = s, rest
		}
		all = append(all, Line{at, fmt.Sprintf("%-7s %s", name, strings.TrimSpace(l))})
	}
	return all
}

// Timeline is all that was seen and done, in order: faults, who answered, who
// spoke, what the kernels and etcd had.
func (t *Trace) Timeline() []Line {
	var all []Line
	add := func(at time.Time, format string, args ...any) {
		all = append(all, Line{at, fmt.Sprintf(format, args...)})
	}
	for _, e := range t.Events {
		add(e.From, "FAULT   %s", e)
		if e.For > 0 {
			add(e.To, "  ended %s", e)
		}
	}
	for _, g := range t.Gaps() {
		add(g.From, "GAP     nobody answers any more (%s did), for %v", orNobody(g.Before), round(g.Length()))
		add(g.To, "GAP     %s answers again", orNobody(g.After))
	}
	for _, i := range t.Held {
		add(i.From, "kernel  %s has the VIP", i.Host)
		if !i.To.IsZero() {
			add(i.To, "kernel  %s has it no more", i.Host)
		}
	}
	before := ""
	for i, v := range t.Voices {
		if v.Claim || v.Port != before || i+1 < len(t.Voices) && t.Voices[i+1].Port != v.Port {
			add(v.At, "wire    %s speaks as the VIP%s%s", v.Port, when(v.Claim, ": an announcement"), when(v.Reset, ": a reset"))
		}
		before = v.Port
	}
	for _, x := range t.Ajar {
		add(x.At, "kernel  the fences of %s and %s are both open", x.Hosts[0], x.Hosts[1])
	}
	for _, p := range t.Pages {
		add(p.At, "etcd    holder %q, epoch %d of %s, ttl %v (tenure %v), lease %s%s%s, eligible %v", p.Holder, p.Epoch, p.Owner, p.TTL, p.Promise, p.Lease, when(p.Released, ", released"), when(p.Paused, ", PAUSED"), p.Eligible)
	}
	for _, x := range t.Exits {
		add(x.At, "EXIT    %s ended by itself", x.Unit)
	}
	for _, c := range t.Calms {
		add(c.From, "CALM    begins")
		add(c.To, "CALM    ends: %s", when(c.Err != "", c.Err))
	}
	SortLines(all)
	return all
}

func when(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// PrintAround prints the timeline around a violation, with the times since a
// beginning.
func PrintAround(out io.Writer, lines []Line, v Violation, start time.Time) {
	const before, after, most = 12 * time.Second, 3 * time.Second, 200
	n := 0
	for _, l := range lines {
		if l.At.Before(v.From.Add(-before)) || l.At.After(v.To.Add(after)) {
			continue
		}
		if n++; n > most {
			fmt.Fprintln(out, "           … the rest is in the report")
			return
		}
		l.print(out, start)
	}
}
