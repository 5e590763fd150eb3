package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"leasehold/internal/lab"
)

// EmbeddedResult is what a run of Embedded measured.
type EmbeddedResult struct {
	EmbeddedOptions
	cost    upkeep
	rounds  map[string][]lab.Report // by the fault's name
	machine string
}

// Err says that two hosts answered, or that the VIP was not where it had to be.
// Times do not fail a run.
func (r *EmbeddedResult) Err() error {
	var errs []error
	for _, f := range memberFaults() {
		for i, m := range r.rounds[f.name] {
			want := "a → b"
			if f.stays {
				want = "a"
			}
			switch {
			case len(m.Duals) > 0:
				errs = append(errs, fmt.Errorf("%s, round %d: two hosts had the VIP: %v", f.name, i+1, m))
			case m.Path() != want, f.stays && m.Lost > 0:
				errs = append(errs, fmt.Errorf("%s, round %d: %v, want %s", f.name, i+1, m, want))
			}
		}
	}
	return errors.Join(errs...)
}

// Print writes the table for people, and then as lines of Markdown.
func (r *EmbeddedResult) Print(w io.Writer) {
	cells := [][]string{{"fault", "n", "without service, ms: median (min–max)", "p90", "rounds with a lost probe", "moved"}}
	for _, f := range memberFaults() {
		rounds := r.rounds[f.name]
		if len(rounds) == 0 {
			continue
		}
		var gaps []time.Duration
		lost, moved := 0, 0
		for _, m := range rounds {
			gap := time.Duration(0)
			if m.Lost > 0 {
				gap = m.Gap.Length()
				lost++
			}
			if m.Path() != "a" {
				moved++
			}
			gaps = append(gaps, gap)
		}
		slices.Sort(gaps)
		ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d.Microseconds())/1000) }
		cells = append(cells, []string{
			f.name, fmt.Sprint(len(rounds)), fmt.Sprintf("%s (%s–%s)", ms(median(gaps)), ms(gaps[0]), ms(gaps[len(gaps)-1])),
			ms(gaps[(len(gaps)*9+9)/10-1]), fmt.Sprint(lost), fmt.Sprint(moved),
		})
	}
	fmt.Fprintf(w, "Two MySQL hosts and a witness, one leasehold run on each with its own etcd member; ttl %s, election 500ms, data on a disk\n\n", r.TTL)
	WriteTable(w, cells)
	if c := r.cost; c.lasted > 0 {
		hour := float64(time.Hour) / float64(c.lasted)
		fmt.Fprintf(w, "\nA witness in %s: %.1f MB resident, %.2f %% of a core, %.0f MB written to the disk per hour (daemon and member)\n",
			c.lasted.Round(time.Second), float64(c.rss)/(1<<20), 100*float64(c.cpu)/float64(c.lasted), float64(c.wrote)/(1<<20)*hour)
	}
	fmt.Fprintf(w, "%s\n\n", r.machine)
	writeMarkdown(w, cells)
}
