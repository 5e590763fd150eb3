package bench

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// QuietResult is what a run of Quiet measured.
type QuietResult struct {
	QuietOptions
	rows    []quietRow
	machine string
}

// quietRow is one ttl in one phase.
type quietRow struct {
	way, phase string
	ttl        time.Duration
	lasted     time.Duration
	elections  int
	silence
	renewals
}

// Err says that two hosts answered. What was silent does not fail a run.
func (r *QuietResult) Err() error {
	var errs []error
	for _, row := range r.rows {
		if row.twice > 0 {
			errs = append(errs, fmt.Errorf("%s, %s, ttl %v: two hosts answered %d questions", row.way, row.phase, row.ttl, row.twice))
		}
	}
	return errors.Join(errs...)
}

// Print writes the table for people, and then as lines of Markdown.
func (r *QuietResult) Print(w io.Writer) {
	cells := [][]string{{
		"daemons", "phase", "lasted", "etcd elections", "ttl", "silent", "moved", "longest silence",
		"renewals", "late", "apart: median, p99, max", "took: median, p99, max", "least left",
	}}
	for _, row := range r.rows {
		cells = append(cells, []string{
			row.way, row.phase, row.lasted.Round(time.Second).String(), fmt.Sprint(row.elections), row.ttl.String(),
			fmt.Sprint(row.shuts), fmt.Sprint(row.moves), fmt.Sprintf("%.0f", ms(row.longest)),
			fmt.Sprint(len(row.took)), fmt.Sprint(row.late), quantiles(row.apart), quantiles(row.took), fmt.Sprintf("%.0f", ms(row.least)),
		})
	}
	WriteTable(w, cells)
	fmt.Fprintf(w, "\n%s\netcd: election timeout %v, heartbeat %v, three members on hosts a, b, c, nice %d.\n%s\n\n",
		quietNotes, r.Election, r.Heartbeat, r.EtcdNice, r.machine)
	writeMarkdown(w, cells)
}

const quietNotes = `Times in ms. silent: times without an answer to ARP questions each 10 ms, without a move. late: sent
two periods (ttl/5) or more after the one before. apart: between two renewals that were sent and
succeeded. took: from the sending until the fence was armed. least left: of the deadline when it was
extended. cpu: four busy loops at nice 0. compaction: compaction and the defragmentation of a member
each 3 s. leader: etcd's leader moved and killed in turn each 20 s.`

// quantiles writes what is sorted.
func quantiles(sorted []time.Duration) string {
	n := len(sorted)
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f, %.1f, %.1f", ms(median(sorted)), ms(sorted[n*99/100]), ms(sorted[n-1]))
}
