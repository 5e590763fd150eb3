package bench

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"leasehold/internal/lab"
)

// FailoverResult is what a run of Failover measured.
type FailoverResult struct {
	FailoverOptions
	columns []string
	rounds  map[string][]shot // by the fault's name
	machine string
}

// Err says that two hosts answered for a VIP of Leasehold, which must not be.
// Times do not fail a run.
func (r *FailoverResult) Err() error {
	var errs []error
	for _, row := range r.rows() {
		for i := range r.TTLs {
			if n := twice(row.of(i)) + row.back(i); n > 0 && row.all {
				errs = append(errs, fmt.Errorf("leasehold, %s: %s: two hosts answered in %d of %d rounds", r.columns[i], row.name, n, len(row.shots)))
			}
		}
	}
	return errors.Join(errs...)
}

// failoverRow is one line of the table.
type failoverRow struct {
	name  string
	all   bool // every round of a fault; else a part of them
	shots []shot
}

// of returns the rounds of one column.
func (row failoverRow) of(column int) []Round {
	rounds := make([]Round, len(row.shots))
	for i, s := range row.shots {
		rounds[i] = s.rounds[column]
	}
	return rounds
}

// back counts the rounds in which two hosts answered while all was repaired.
func (row failoverRow) back(column int) int {
	n := 0
	for _, s := range row.shots {
		if s.back[column] {
			n++
		}
	}
	return n
}

// rows are the faults, and those that may take etcd's leader along a second time
// in two parts.
func (r *FailoverResult) rows() []failoverRow {
	var rows []failoverRow
	for _, b := range blows() {
		all := r.rounds[b.name]
		if len(all) == 0 {
			continue
		}
		rows = append(rows, failoverRow{name: b.name, all: true, shots: all})
		if !b.leader {
			continue
		}
		with, without := failoverRow{name: "- etcd's leader too"}, failoverRow{name: "- etcd's leader elsewhere"}
		for _, s := range all {
			if s.leader == lab.A {
				with.shots = append(with.shots, s)
			} else {
				without.shots = append(without.shots, s)
			}
		}
		for _, part := range []failoverRow{without, with} {
			if len(part.shots) > 0 {
				rows = append(rows, part)
			}
		}
	}
	return rows
}

// Print writes the table for people, and then as lines of Markdown.
func (r *FailoverResult) Print(w io.Writer) {
	fmt.Fprint(w, "Time without service in ms, median (min–max), by UDP every 2 ms\n\n")
	cells := [][]string{append([]string{"fault", "n"}, r.columns...)}
	for i := range r.TTLs {
		cells[0][2+i] = "Leasehold " + r.columns[i]
	}
	for _, row := range r.rows() {
		line := []string{row.name, fmt.Sprint(len(row.shots))}
		for i := range r.columns {
			line = append(line, failoverCell(row.of(i)))
		}
		cells = append(cells, line)
	}
	WriteTable(w, cells)
	fmt.Fprint(w, "\nTwo hosts answered the same question while all was repaired, rounds\n\n")
	back := [][]string{cells[0]}
	for _, row := range r.rows() {
		if row.all {
			back = append(back, r.backLine(row))
		}
	}
	WriteTable(w, back)
	fmt.Fprintf(w, "\n%s\netcd: election timeout %v, heartbeat %v, three members on hosts a, b, c.\n%s\n\n",
		failoverNotes, r.Election, r.Heartbeat, r.machine)
	writeMarkdown(w, cells)
	fmt.Fprintln(w)
	writeMarkdown(w, back)
}

func (r *FailoverResult) backLine(row failoverRow) []string {
	line := []string{row.name, fmt.Sprint(len(row.shots))}
	for i := range r.columns {
		line = append(line, fmt.Sprint(row.back(i)))
	}
	return line
}

const failoverNotes = `host lost: cable dead, all on it killed. daemon killed: -9 and not restarted, keepalived's likewise.
daemon frozen: STOP until the other host had the VIP. keepalived as set: VRRPv2, advert_int 1; fast:
VRRPv3, advert_int 0.1; both without scripts, which have no part in these faults. Every fault
meets all columns at once, on one network.`

// failoverCell is a time, or that two hosts answered.
func failoverCell(rounds []Round) string {
	if n := twice(rounds); n > 0 {
		return fmt.Sprintf("two hosts! %d of %d", n, len(rounds))
	}
	return spread(rounds)
}

// WriteTable writes cells in aligned columns.
func WriteTable(w io.Writer, cells [][]string) {
	width := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for _, line := range cells {
		var b strings.Builder
		for i, c := range line {
			b.WriteString(c + strings.Repeat(" ", width[i]-len([]rune(c))+2))
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// writeMarkdown writes cells as a table of Markdown.
func writeMarkdown(w io.Writer, cells [][]string) {
	for i, line := range cells {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat(" --- |", len(line)))
		}
	}
}
