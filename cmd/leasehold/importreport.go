package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	keepalivedconf "leasehold/internal/keepalived"
)

// importReport tells what became of each line of a keepalived.conf.
type importReport struct {
	src *keepalivedconf.Source
	res *keepalivedconf.Result
	to  string // the file that was written; empty for stdout
}

// told is one line of the report: what is said of a keyword on neighbouring lines.
type told struct {
	file     string
	from, to int
	keywords []string
	text     string
}

func (r importReport) write(w io.Writer) {
	var mapped, left []told
	for i, l := range r.res.Lines {
		to := &left
		if l.Mapped() {
			to = &mapped
		}
		// Only neighbours in the file are put together, so that a range of lines
		// has no line of the other list in it.
		joins := i > 0 && r.res.Lines[i-1].Mapped() == l.Mapped()
		*to = tell(*to, l, joins)
	}
	if len(mapped) > 0 {
		fmt.Fprintln(w, "taken over, or not needed:")
		writeTold(w, mapped)
	}
	if len(left) > 0 {
		fmt.Fprintln(w, "left out:")
		writeTold(w, left)
	}
	fmt.Fprintln(w, "to do, and to know:")
	for _, n := range r.res.Notes {
		fmt.Fprintf(w, "  %s\n", clean(n))
	}
	fmt.Fprintln(w, r.summary())
}

// summary is the last line, which is what is seen when the rest has scrolled away.
func (r importReport) summary() string {
	out := 0
	for _, l := range r.res.Lines {
		if !l.Mapped() {
			out++
		}
	}
	what := fmt.Sprintf("lines: %d, files: %d; all taken over, or not needed", len(r.res.Lines), len(r.src.Files))
	if out > 0 {
		what = fmt.Sprintf("lines: %d, files: %d; left out, at least in part: %d", len(r.res.Lines), len(r.src.Files), out)
	}
	switch {
	case r.res.YAML == nil:
		return what + "; no configuration was written"
	case r.to != "":
		return fmt.Sprintf("%s; written to %s", what, clean(r.to))
	}
	return what
}

// tell adds what is said of a line. Where the same is said of the line before, and
// of nothing else on either, both become a range.
func tell(list []told, l keepalivedconf.Line, joins bool) []told {
	for _, o := range l.Outcomes {
		t := told{l.Pos.File, l.Pos.Line, l.Pos.Line, []string{clean(o.Keyword)}, textOf(o)}
		last := len(list) - 1
		if last >= 0 && joins && len(l.Outcomes) == 1 && list[last].file == t.file && list[last].text == t.text {
			list[last].to = t.to
			if !slices.Contains(list[last].keywords, t.keywords[0]) {
				list[last].keywords = append(list[last].keywords, t.keywords[0])
			}
			continue
		}
		list = append(list, t)
	}
	return list
}

func textOf(o keepalivedconf.Outcome) string {
	switch {
	case o.Left != "":
		return ": " + clean(o.Left)
	case strings.HasPrefix(o.Became, "not needed: "):
		return ": " + clean(o.Became)
	}
	return " → " + clean(o.Became)
}

func writeTold(w io.Writer, list []told) {
	for _, t := range list {
		where := clean(t.file)
		switch {
		case t.from != t.to:
			where += fmt.Sprintf(":%d-%d", t.from, t.to)
		case t.from != 0:
			where += fmt.Sprintf(":%d", t.from)
		}
		fmt.Fprintf(w, "  %s: %s%s\n", where, strings.Join(t.keywords, ", "), t.text)
	}
}
