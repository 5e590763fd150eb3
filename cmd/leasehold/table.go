package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// grid is a table with a frame, as patronictl draws it. The last column wraps.
type grid struct {
	title string // on the left of the upper edge
	right string // on its right
	head  []string
	rows  [][]string
}

// minLast is how narrow the last column may get before the table grows past the
// width that was asked for.
const minLast = 9

// write draws the table into width columns, where that can be done.
func (g grid) write(w io.Writer, width int) {
	cols := g.widths(width)
	fmt.Fprintln(w, g.topEdge(cols))
	g.writeRow(w, cols, g.head)
	fmt.Fprintln(w, edge(cols))
	for _, r := range g.rows {
		g.writeRow(w, cols, r)
	}
	fmt.Fprintln(w, edge(cols))
}

// widths gives every column what its widest cell needs, and the last one what is
// left of the width.
func (g grid) widths(width int) []int {
	cols := make([]int, len(g.head))
	for _, r := range append([][]string{g.head}, g.rows...) {
		for i, cell := range r {
			cols[i] = max(cols[i], utf8.RuneCountInString(cell))
		}
	}
	last := len(cols) - 1
	rest := width - 1
	for _, c := range cols[:last] {
		rest -= c + 3
	}
	cols[last] = max(minLast, rest-3)
	return cols
}

func edge(cols []int) string {
	var b strings.Builder
	for _, c := range cols {
		b.WriteString("+" + strings.Repeat("-", c+2))
	}
	return b.String() + "+"
}

// topEdge lays the titles over the edge.
func (g grid) topEdge(cols []int) string {
	line := []rune(edge(cols))
	title, right := []rune("+ "+g.title+" "), []rune("+")
	if g.right != "" {
		right = []rune(" " + g.right + " -+")
	}
	if len(title)+len(right) > len(line) {
		return string(title) + "-" + string(right)
	}
	copy(line, title)
	copy(line[len(line)-len(right):], right)
	return string(line)
}

func (g grid) writeRow(w io.Writer, cols []int, cells []string) {
	last := len(cols) - 1
	for i, text := range wrap(cells[last], cols[last]) {
		var b strings.Builder
		for j, c := range cols {
			cell := ""
			switch {
			case j == last:
				cell = text
			case i == 0:
				cell = cells[j]
			}
			fmt.Fprintf(&b, "| %-*s ", c, cell)
		}
		fmt.Fprintln(w, b.String()+"|")
	}
}

// wrap breaks text between words into lines of at most width runes; a word that
// is longer is broken itself.
func wrap(text string, width int) []string {
	var lines []string
	line := []rune{}
	for word := range strings.FieldsSeq(text) {
		r := []rune(word)
		if len(line) > 0 && len(line)+1+len(r) > width {
			lines, line = append(lines, string(line)), nil
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, r...)
		for len(line) > width {
			lines, line = append(lines, string(line[:width])), line[width:]
		}
	}
	return append(lines, string(line))
}

// sayer returns what writes a line "  key text" under a table, wrapped to the width.
func sayer(w io.Writer, width int) func(key, text string) {
	return func(key, text string) {
		for i, line := range wrap(clean(text), max(20, width-11)) {
			if i > 0 {
				key = ""
			}
			fmt.Fprintf(w, "  %-8s %s\n", key, line)
		}
	}
}

// clean makes text that strangers wrote fit for a terminal: no line breaks, no
// escape sequences.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// short prints a duration with its two largest units, as kubectl does.
func short(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// moment prints a time of today as a time, else with its day.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	t = t.In(now.Location())
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("Jan 02 15:04")
}
