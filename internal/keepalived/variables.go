package keepalived

import (
	"fmt"
	"path/filepath"
	"strings"
)

// maxReplaced bounds the substitutions in one line: a variable that names itself
// would go on for ever.
const maxReplaced = 1000

// variable is what a $NAME=TEXT line defines, or keepalived itself.
type variable struct {
	name  string
	lines []line                   // one, unless multi
	multi bool                     // lines that end with \ follow the first
	value func(args string) string // of a variable that keepalived defines
	args  bool                     // that one takes numbers: ${_RANDOM 1 9}
}

// standard are the variables that keepalived defines itself
// (set_std_definitions in lib/parser.c). _RANDOM gives its lowest value here, and
// the line is marked as drawn.
func (r *reader) standard() {
	fixed := func(s string) func(string) string { return func(string) string { return s } }
	for name, value := range map[string]func(string) string{
		"_PWD":      func(string) string { return filepath.Dir(r.dirFile()) },
		"_INSTANCE": fixed(r.id),
		"_HASH":     fixed("#"),
		"_BANG":     fixed("!"),
		"_RANDOM":   lowest,
	} {
		r.vars[name] = &variable{name: name, value: value, args: name == "_RANDOM"}
	}
}

func lowest(args string) string {
	if low := strings.Fields(args); len(low) > 0 {
		return low[0]
	}
	return "0"
}

// expand does the conditions, definitions, repetitions and substitutions of a
// line. Nothing is left of one that is for another host, or that defines.
func (r *reader) expand(l line) (line, error) {
	for replaced := 0; ; {
		if strings.HasPrefix(l.text, "@") {
			if l.text = r.condition(l); l.text == "" {
				return l, nil
			}
		}
		if name, value, ok := cutDefinition(l.text); ok {
			r.define(name, value, l)
			return line{}, nil
		}
		if strings.HasPrefix(l.text, "~SEQ") || strings.HasPrefix(l.text, "~LST") {
			return line{}, r.addRepeat(l)
		}
		if strings.HasPrefix(l.text, "~") {
			return l, nil
		}
		n, err := r.replace(&l, maxReplaced-replaced)
		if err != nil || n == 0 {
			return l, err
		}
		replaced += n
		text, open := uncomment(l.text)
		if open {
			return l, errorAt(l.at, `a " is opened and not closed once the variables are in: close it`)
		}
		l.text = text
		if !strings.HasPrefix(text, "@") && !strings.Contains(text, "$") {
			return l, nil
		}
	}
}

// condition returns what is left of a line behind @id or @^id: nothing when it is
// for another host.
func (r *reader) condition(l line) string {
	i := strings.IndexAny(l.text, blank)
	if i < 0 {
		r.src.took(l.at, "@", notNeeded+"no statement follows the condition")
		return ""
	}
	condition, rest := l.text[:i], strings.TrimLeft(l.text[i:], blank)
	id, not := strings.CutPrefix(condition[1:], "^")
	if (id == r.id) == not {
		r.src.took(l.at, condition, notNeeded+fmt.Sprintf("for another host, as this is %s (-i)", r.id))
		return ""
	}
	return rest
}

// cutDefinition takes a $NAME=TEXT line apart (check_definition in lib/parser.c).
func cutDefinition(text string) (name, value string, ok bool) {
	text, ok = strings.CutPrefix(text, "$")
	if !ok {
		return "", "", false
	}
	name, value, ok = strings.Cut(text, "=")
	if !ok || nameLength(name) != len(name) || name == "" {
		return "", "", false
	}
	return name, strings.TrimLeft(value, blank), true
}

// nameLength returns how much of s is the name of a variable.
func nameLength(s string) int {
	for i := range len(s) {
		if !isLetter(s[i]) && s[i] != '_' && (i == 0 || !isDigit(s[i])) {
			return i
		}
	}
	return len(s)
}

// define sets a variable. When the value ends with a backslash, the lines that
// follow are its text; what is before the backslash is its first line.
func (r *reader) define(name, value string, l line) {
	r.src.took(l.at, "$"+name, "the variable $"+name)
	v := &variable{name: name}
	if first, ok := strings.CutSuffix(value, `\`); ok {
		v.multi = true
		r.defining = v
		if first = strings.TrimRight(first, blank); first != "" {
			v.lines = append(v.lines, line{first, l.at, l.drawn})
		}
	} else {
		v.lines = []line{{value, l.at, l.drawn}}
	}
	r.vars[name] = v
}

// collect takes a line into the definition that is being read.
func (r *reader) collect(l line) {
	v := r.defining
	text, more := strings.CutSuffix(l.text, `\`)
	text = strings.TrimRight(text, blank)
	if text != "" {
		v.lines = append(v.lines, line{text, l.at, l.drawn})
	}
	if strings.Trim(text, whiteSpace+`{}`) != "" {
		r.src.took(l.at, "$"+v.name, "a line of the variable $"+v.name)
	}
	if !more {
		r.endDefinition()
	}
}

// blankLine ends a definition, as an empty line does.
func (r *reader) blankLine() {
	if r.defining != nil {
		r.endDefinition()
	}
}

func (r *reader) endDefinition() {
	if len(r.defining.lines) == 0 {
		r.defining.multi = false
		r.defining.lines = []line{{}}
	}
	r.defining = nil
}

// replace puts the values of variables into a line, and says how many
// (replace_param in lib/parser.c). Of a definition of several lines the first
// takes the place, and the others follow.
func (r *reader) replace(l *line, most int) (n int, err error) {
	from := 0
	for {
		i := strings.IndexByte(l.text[from:], '$')
		if i < 0 || from+i+1 == len(l.text) {
			return n, nil
		}
		i += from
		v, args, size := r.lookUp(l.text[i+1:])
		if v == nil {
			from = i + 1
			continue
		}
		value, drawn := r.valueOf(v, args)
		l.drawn = l.drawn || drawn
		l.text = l.text[:i] + value + l.text[i+1+size:]
		if n++; n > most {
			return n, errorAt(l.at, "the variable $%s names itself: keepalived would go on for ever; take that out of its value", v.name)
		}
		if len(l.text) > maxLine {
			return n, errorAt(l.at, "with $%s in it this line has more than %d bytes, where keepalived gives up; write it on several", v.name, maxLine)
		}
		if strings.HasPrefix(strings.TrimLeft(value, blank), "~") {
			return n, nil
		}
		from = i
	}
}

// valueOf returns what stands for a variable, and starts the spelling out of one
// with several lines.
func (r *reader) valueOf(v *variable, args string) (value string, drawn bool) {
	if v.value != nil {
		return v.value(args), v.args
	}
	if v.multi {
		if len(r.body) > 0 {
			r.bodies = append(r.bodies, stacked{r.body, r.floor})
		}
		r.body, r.floor = v.lines[1:], len(r.repeats)
		if len(r.body) == 0 {
			r.leaveBody()
		}
	}
	return v.lines[0].text, v.lines[0].drawn
}

// leaveBody goes back to the definition around the one that is spelled out.
func (r *reader) leaveBody() {
	r.body, r.floor = nil, 0
	if last := len(r.bodies) - 1; last >= 0 {
		r.body, r.floor = r.bodies[last].rest, r.bodies[last].floor
		r.bodies = r.bodies[:last]
	}
}

// lookUp returns the variable that s, the text behind a $, begins with, and how
// much of s names it; nil when none (find_definition in lib/parser.c). Without
// braces the name must be followed by a blank, a comma, a bracket or the end; one
// of several lines must be the last thing on the line.
func (r *reader) lookUp(s string) (v *variable, args string, size int) {
	name, braced := strings.CutPrefix(s, "{")
	n := nameLength(name)
	if n == 0 {
		return nil, "", 0
	}
	rest := name[n:]
	size = n
	if braced {
		args = rest[:len(rest)-len(strings.TrimLeft(rest, " 0123456789"))]
		numbers := strings.TrimLeft(args, " ") != ""
		if !strings.HasPrefix(rest[len(args):], "}") || numbers && strings.HasSuffix(args, " ") {
			return nil, "", 0
		}
		rest = rest[len(args)+1:]
		size += len(args) + 2
	} else if rest != "" && strings.IndexByte(" \t,)", rest[0]) < 0 {
		return nil, "", 0
	}
	v = r.vars[name[:n]]
	if v == nil || v.multi && rest != "" || strings.TrimLeft(args, " ") != "" && !v.args {
		return nil, "", 0
	}
	return v, args, size
}
