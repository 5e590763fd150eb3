package keepalived

import (
	"fmt"
	"slices"
)

// Outcome is what became of one statement. Exactly one of Became and Left is set,
// unless a part of the statement was taken over and a part was not: then both are.
type Outcome struct {
	Keyword string // never a value, which may be a password
	Became  string // the key it became, or "not needed: " and why
	Left    string // why it was not taken over, and what to do instead
}

// notNeeded begins what is said of something that nothing is lost by.
const notNeeded = "not needed: "

// Line is one line of the input and what became of it.
type Line struct {
	Pos      Pos
	Outcomes []Outcome
}

// Mapped reports whether everything on the line was taken over, or is not needed.
func (l Line) Mapped() bool {
	return !slices.ContainsFunc(l.Outcomes, func(o Outcome) bool { return o.Left != "" })
}

// ledger keeps what became of each statement, so that none is forgotten.
type ledger struct{ of map[*statement][]Outcome }

func (l ledger) enter(s *statement, o Outcome) {
	if s == nil {
		return // the setting is keepalived's default, which stands nowhere
	}
	o.Keyword = s.keyword()
	if !slices.Contains(l.of[s], o) {
		l.of[s] = append(l.of[s], o)
	}
}

// became says which key a statement is now.
func (l ledger) became(s *statement, key string) { l.enter(s, Outcome{Became: key}) }

// nothing says that a statement is not needed, and why.
func (l ledger) nothing(s *statement, why string) { l.enter(s, Outcome{Became: notNeeded + why}) }

// left says that a statement, or a part of it, is lost, why, and what to do.
func (l ledger) left(s *statement, format string, args ...any) {
	l.enter(s, Outcome{Left: fmt.Sprintf(format, args...)})
}

// all enters the same for a statement and everything in its block that has no
// entry yet.
func (l ledger) all(s *statement, o Outcome) {
	if len(l.of[s]) == 0 {
		l.enter(s, o)
	}
	for _, inner := range s.Block {
		l.all(inner, o)
	}
}

// settled reports whether there is an entry for a statement.
func (l ledger) settled(s *statement) bool { return len(l.of[s]) > 0 }

// unknown is what becomes of a statement that nobody asked about.
const unknown = "no keyword of keepalived 2.2.7 in this place, which ignores it: misspelt, or of a later version; see whether it matters"

// unknownBlock is the same of one with a block inside another. keepalived takes
// its } for that of the block around it (process_stream in lib/parser.c).
const unknownBlock = "no block of keepalived 2.2.7 in this place, which takes its } for the end of the block around it, and ignores all that follows there: what follows was taken over here; see whether it is meant, and correct the name"

// linesOf returns what became of every line of a source, by file and line.
func (l ledger) linesOf(src *Source) []Line {
	by := map[Pos]*Line{}
	var order []*Line
	at := func(p Pos) *Line {
		if by[p] == nil {
			by[p] = &Line{Pos: p}
			order = append(order, by[p])
		}
		return by[p]
	}
	for _, p := range src.lines {
		at(p)
	}
	said := map[note]bool{}
	add := func(p Pos, o Outcome) {
		if n := (note{p, o}); !said[n] {
			said[n] = true
			at(p).Outcomes = append(at(p).Outcomes, o)
		}
	}
	for _, n := range src.notes {
		add(n.at, n.outcome)
	}
	var walk func(all []*statement, depth int)
	walk = func(all []*statement, depth int) {
		for _, s := range all {
			switch {
			case l.settled(s):
			case s.block && depth > 0:
				l.left(s, unknownBlock)
			default:
				l.left(s, unknown)
			}
			for _, o := range l.of[s] {
				add(s.Pos, o)
			}
			walk(s.Block, depth+1)
		}
	}
	walk(src.statements, 0)
	return inOrder(order, src.Files)
}

// inOrder sorts lines by file, in the order of reading, and number. A line of
// which nothing came, which no path above knows, would be told as lost.
func inOrder(order []*Line, names []string) []Line {
	slices.SortStableFunc(order, func(a, b *Line) int {
		if a.Pos.File != b.Pos.File {
			return slices.Index(names, a.Pos.File) - slices.Index(names, b.Pos.File)
		}
		return a.Pos.Line - b.Pos.Line
	})
	lines := make([]Line, len(order))
	for i, p := range order {
		if len(p.Outcomes) == 0 {
			p.Outcomes = []Outcome{{Left: "nothing came of it, and keepalived ignores it; see whether it matters"}}
		}
		lines[i] = *p
	}
	return lines
}
