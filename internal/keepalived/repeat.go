package keepalived

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// repeat is a ~SEQ or ~LST line that is being gone through: its text comes once
// for each value.
type repeat struct {
	line line // what follows the bracket
	vars []string

	next, step, last int64 // of ~SEQ
	hex              bool
	sets             [][]string // of ~LST; nil for ~SEQ
}

// again returns the text of the innermost repetition with its variables set to
// the next value, and ends it with the last one.
func (r *reader) again() line {
	top := r.repeats[len(r.repeats)-1]
	done := false
	if top.sets == nil {
		text := strconv.FormatInt(top.next, 10)
		if top.hex {
			text = strconv.FormatInt(top.next, 16)
		}
		r.set(top.vars[0], text, top.line)
		top.next += top.step
		done = top.step > 0 && top.next > top.last || top.step < 0 && top.next < top.last
	} else {
		for i, name := range top.vars {
			r.set(name, top.sets[0][i], top.line)
		}
		top.sets = top.sets[1:]
		done = len(top.sets) == 0
	}
	if done {
		r.repeats = r.repeats[:len(r.repeats)-1]
	}
	return top.line
}

func (r *reader) set(name, value string, l line) {
	r.vars[name] = &variable{name: name, lines: []line{{value, l.at, l.drawn}}}
}

// addRepeat starts the repetition that a line asks for.
func (r *reader) addRepeat(l line) error {
	var rep *repeat
	var why string
	if rest, ok := strings.CutPrefix(l.text, "~SEQ"); ok {
		rep, why = r.sequence(rest)
	} else {
		rep, why = list(strings.TrimPrefix(l.text, "~LST"))
	}
	if why != "" {
		return errorAt(l.at, "%s %s; see keepalived.conf(5)", l.text[:4], why)
	}
	for _, name := range rep.vars {
		if name == "" || nameLength(name) != len(name) {
			return errorAt(l.at, "%s: a variable needs a name of letters, digits and underscores", l.text[:4])
		}
	}
	r.src.took(l.at, l.text[:4], "the rest of the line, once for each value")
	rep.line.at, rep.line.drawn = l.at, l.drawn
	r.repeats = append(r.repeats, rep)
	return nil
}

// sequence reads (var, start, step, end) or (var, start, end) or (var, end), and
// what follows (add_seq in lib/parser.c).
func (r *reader) sequence(text string) (rep *repeat, why string) {
	text, hex := strings.CutPrefix(text, "x")
	text, ok := strings.CutPrefix(strings.TrimLeft(text, blank), "(")
	inside, after, closed := strings.Cut(text, ")")
	name, numbers, more := strings.Cut(inside, ",")
	if !ok || !closed || !more {
		return nil, "is not followed by (variable, start, step, end)"
	}
	values := line{text: numbers + ")"} // behind which no variable of several lines is taken
	if _, err := r.replace(&values, maxReplaced); err != nil {
		return nil, "has a variable in its brackets that is no number"
	}
	var n []int64
	for part := range strings.SplitSeq(strings.TrimSuffix(values.text, ")"), ",") {
		v, err := strconv.ParseInt(strings.Trim(part, blank), 0, 64)
		if err != nil || v < math.MinInt32 || v > math.MaxInt32 {
			return nil, "has something in its brackets that is no number, or too large"
		}
		n = append(n, v)
	}
	rep = &repeat{vars: []string{strings.Trim(name, blank)}, hex: hex, line: line{text: strings.TrimLeft(after, blank)}}
	switch len(n) {
	case 1:
		rep.next, rep.step, rep.last = 1, 1, n[0]
		if n[0] < 1 {
			rep.step = -1
		}
		if n[0] < 0 {
			rep.next = -1
		}
	case 2:
		rep.next, rep.step, rep.last = n[0], 1, n[1]
		if n[0] > n[1] {
			rep.step = -1
		}
	case 3:
		rep.next, rep.step, rep.last = n[0], n[1], n[2]
	default:
		return nil, "has more than three numbers"
	}
	switch {
	case rep.step == 0, rep.next < rep.last && rep.step < 0, rep.next > rep.last && rep.step > 0:
		return nil, fmt.Sprintf("never gets from %d to %d in steps of %d", rep.next, rep.last, rep.step)
	case hex && (rep.next < 0 || rep.last < 0):
		return nil, "counts below zero, which is not done in hexadecimal"
	}
	return rep, ""
}

// list reads (var, value, …) or ({var, …}, {value, …}, …), and what follows
// (add_lst in lib/parser.c). Values that are missing are empty.
func list(text string) (rep *repeat, why string) {
	const form = "is not followed by (variable, value, …) or ({variable, …}, {value, …}, …)"
	text, ok := strings.CutPrefix(strings.TrimLeft(text, blank), "(")
	if !ok {
		return nil, form
	}
	rep = &repeat{}
	rep.vars, text, ok = wordGroup(text)
	for ok && strings.HasPrefix(text, ",") {
		var set []string
		if set, text, ok = wordGroup(text[1:]); len(set) > len(rep.vars) {
			return nil, "has more values than variables in one of its groups"
		}
		for len(set) < len(rep.vars) {
			set = append(set, "")
		}
		rep.sets = append(rep.sets, set)
	}
	if !ok || len(rep.sets) == 0 || !strings.HasPrefix(text, ")") {
		return nil, form
	}
	rep.line.text = strings.TrimLeft(text[1:], blank)
	return rep, ""
}

// wordGroup reads one word, or several in braces, and returns what follows.
func wordGroup(text string) (words []string, rest string, ok bool) {
	text = strings.TrimLeft(text, blank)
	inner, braced := strings.CutPrefix(text, "{")
	for {
		inner = strings.TrimLeft(inner, blank)
		end := strings.IndexAny(inner, " \t,})")
		if end < 0 {
			return nil, "", false
		}
		words = append(words, inner[:end])
		inner = strings.TrimLeft(inner[end:], blank)
		switch {
		case !braced:
			return words, inner, inner != "" && inner[0] != '}'
		case strings.HasPrefix(inner, "}"):
			return words, strings.TrimLeft(inner[1:], blank), true
		case !strings.HasPrefix(inner, ","):
			return nil, "", false
		}
		inner = inner[1:]
	}
}
