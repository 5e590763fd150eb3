package interop

import (
	"fmt"
	"io"
	"strings"
	"time"

	"leasehold/internal/bench"
)

// cells are the columns of what was seen: who answered, the longest time without
// service, questions that two answered, and what each daemon said in the end.
func (l Line) cells() []string {
	s := l.Seen
	outage := "0"
	if s.Outage > 0 {
		outage = short(s.Outage)
	}
	path := s.Path()
	if path == "" {
		path = "nobody"
	}
	return []string{path, outage, fmt.Sprintf("%d of %d", s.Twice(s.From), len(s.Asked)), states(s.State)}
}

// verdict is the last column, on one line.
func (l Line) verdict() string {
	if len(l.Wrong) == 0 {
		return "ok"
	}
	first, _, _ := strings.Cut(strings.Join(l.Wrong, "; "), "\n")
	return "FAIL: " + first
}

func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// states is what the daemons said, in the order of the hosts.
func states(all map[string]string) string {
	var parts []string
	for _, h := range allHosts() {
		if state := all[h.Key]; state != "" {
			parts = append(parts, h.Key+" "+state)
		}
	}
	return strings.Join(parts, ", ")
}

// Print writes the tables: mixed pairs with keepalived alone beside them, then
// migrations. What failed is printed with all that happened around it.
func (r *Result) Print(w io.Writer) {
	for _, o := range r.Trials {
		if o.Timeline != "" {
			fmt.Fprintf(w, "%s:\n%s\n", o.Name, o.Timeline)
		}
	}
	table := func(title string, which func(Trial) bool, session bool) {
		header := []string{"configuration", "what happens", "answers", "without service", "answered by two", "says in the end", ""}
		if session {
			header[6] = "TCP connection"
			header = append(header, "")
		}
		cells := [][]string{header}
		for _, o := range r.Trials {
			if which(o.Trial) {
				cells = append(cells, o.rows(session)...)
			}
		}
		if len(cells) > 1 {
			fmt.Fprintf(w, "%s\n\n", title)
			bench.WriteTable(w, cells)
			fmt.Fprintln(w)
		}
	}
	table("keepalived alone", func(t Trial) bool { return t.Alone && !t.Session }, false)
	table("keepalived and Leasehold in one VRRP router", func(t Trial) bool { return !t.Alone && !t.Session }, false)
	table("migrations", func(t Trial) bool { return t.Session }, true)
	fmt.Fprintf(w, "%s\n%s", notes, r.sum())
}

const notes = `a, b: ours; k, l: keepalived 2.2.7. without service: what a client saw that asks by UDP every 2 ms
(under vrrp_strict: by ARP every 10 ms). answered by two: questions who has a VIP, by ARP or neighbour
solicitation every 10 ms, that two hosts answered. ttl 1s, but for migrations (3s), with the fence.`

// rows are the lines of a trial.
func (o Outcome) rows(session bool) [][]string {
	var all [][]string
	name := o.Name
	for _, l := range o.Lines {
		verdict := l.verdict()
		if o.Alone && len(l.Wrong) == 0 {
			verdict = "" // nothing was asked for
		}
		cells := append([]string{name, l.What}, l.cells()...)
		if session {
			kept := "kept"
			if l.Seen.Broke {
				kept = "broken"
			}
			cells = append(cells, kept)
		}
		all = append(all, append(cells, verdict))
		name = ""
	}
	if o.Err != nil {
		failed := make([]string, 7, 8)
		if session {
			failed = append(failed, "")
		}
		failed[0], failed[len(failed)-1] = name, "FAIL: "+firstLine(o.Err)
		all = append(all, failed)
	}
	return all
}

// sum is the last line.
func (r *Result) sum() string {
	rows, failed, asked, twice, unheard := 0, 0, 0, 0, 0
	for _, o := range r.Trials {
		if o.Err != nil {
			failed++
		}
		for _, l := range o.Lines {
			rows++
			if len(l.Wrong) > 0 {
				failed++
			}
			if !o.Alone {
				n := l.Seen.Twice(l.Want.known(l.Seen))
				asked, twice, unheard = asked+len(l.Seen.Asked), twice+n, unheard+l.Seen.Twice(l.Seen.From)-n
			}
		}
	}
	return fmt.Sprintf("%d rows in %s, %d failed; where one of ours was there, %d of %d questions were answered by two,\n"+
		"and %d while keepalived took the VIP unheard, until it announced itself.\n",
		rows, r.Took.Round(time.Second), failed, twice, asked, unheard)
}
