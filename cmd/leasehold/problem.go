package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing in the configuration that cannot stand: where it is, what
// it is and why it matters, and what to write instead.
type Problem struct {
	File string
	Line int // 0: the file as a whole
	What string
}

// String is "file:line: what: why; what to write instead", as compilers print
// it and editors jump to it.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.What)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
}

// Problems is everything that was found wrong with a configuration, by line.
type Problems []Problem

// Error lists all of them, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// byLine orders problems for slices.SortFunc.
func byLine(a, b Problem) int { return cmp.Compare(a.Line, b.Line) }

// report collects problems and notes while a configuration is read.
type report struct {
	file     string
	problems Problems
	notes    []Problem
}

func (r *report) problem(line int, format string, args ...any) {
	r.problems = append(r.problems, Problem{r.file, line, fmt.Sprintf(format, args...)})
}

// note adds something that the operator should know, and that refuses nothing.
func (r *report) note(line int, format string, args ...any) {
	r.notes = append(r.notes, Problem{r.file, line, fmt.Sprintf(format, args...)})
}

// err returns the problems in the order of their lines, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, byLine)
	return r.problems
}
