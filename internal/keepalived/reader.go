package keepalived

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// What a configuration may be at most. maxLine is keepalived's own (MAXBUF less
// the end mark, lib/parser.h); no real configuration comes near the others, which
// bound the memory and the time that a file can take.
const (
	maxLine    = 1023
	maxFile    = 1 << 20
	maxFiles   = 500
	maxInclude = 32      // files that are open at once
	maxLines   = 50_000  // with every repetition of ~SEQ, ~LST and variables
	maxText    = 4 << 20 // bytes in these lines
)

// line is one line while it is worked on. at is where its text stands: for one
// out of a definition of several lines, that is in the definition.
type line struct {
	text  string
	at    Pos
	drawn bool // ${_RANDOM} is in it
}

// openFile is a file that is being read.
type openFile struct {
	name  string // absolute
	shown string // as it is told
	rest  []line
}

// pending are files that an include names, of which one is open at a time.
type pending struct {
	names []string
	open  *openFile
}

// reader hands out the lines that keepalived sees: comments, @conditions,
// variables, repetitions and includes are done with. The order in which text that
// waits is taken is that of read_line in lib/parser.c: what is left of the line,
// the repetitions, the definition being spelled out, the innermost file.
type reader struct {
	files files
	id    string

	residue  *line
	repeats  []*repeat
	body     []line    // of the definition being spelled out
	bodies   []stacked // of those around it
	floor    int       // so many of repeats belong to the lines around the body
	stack    []*pending
	vars     map[string]*variable
	defining *variable // its lines are being collected

	src    *Source
	opened int
	lines  int
	text   int
}

// stacked is a definition whose spelling out waits for another one's end.
type stacked struct {
	rest  []line
	floor int
}

// next returns the next line, with every brace on a line of its own; ok is false
// at the end.
func (r *reader) next() (l line, ok bool, err error) {
	for {
		l, ok, err := r.fetch()
		if err != nil || !ok {
			return line{}, false, err
		}
		if r.defining != nil {
			r.collect(l)
			continue
		}
		if l, err = r.expand(l); err != nil {
			return line{}, false, err
		}
		if l.text == "" {
			continue
		}
		if included, err := r.include(l); included || err != nil {
			if err != nil {
				return line{}, false, err
			}
			continue
		}
		head, rest := cutBrace(l.text)
		if rest != "" {
			r.residue = &line{rest, l.at, l.drawn}
		}
		l.text = head
		return l, true, nil
	}
}

// fetch returns the next line as it is written.
func (r *reader) fetch() (line, bool, error) {
	l, ok, err := r.take()
	if err != nil || !ok {
		return line{}, false, err
	}
	r.lines++
	r.text += len(l.text)
	if r.lines > maxLines || r.text > maxText {
		return line{}, false, errorAt(l.at, "with this line there are more than %d lines or %d bytes, repetitions included: that is not a configuration for one host", maxLines, maxText)
	}
	return l, true, nil
}

func (r *reader) take() (line, bool, error) {
	if r.residue != nil {
		l := *r.residue
		r.residue = nil
		return l, true, nil
	}
	if len(r.repeats) > r.floor {
		return r.again(), true, nil
	}
	if len(r.body) > 0 {
		l := r.body[0]
		if r.body = r.body[1:]; len(r.body) == 0 {
			r.leaveBody()
		}
		return l, true, nil
	}
	for len(r.stack) > 0 {
		top := r.stack[len(r.stack)-1]
		if top.open != nil && len(top.open.rest) > 0 {
			l := top.open.rest[0]
			top.open.rest = top.open.rest[1:]
			if l.text == "" {
				r.blankLine()
				continue
			}
			if err := r.clean(&l); err != nil {
				return line{}, false, err
			}
			if l.text == "" {
				continue
			}
			return l, true, nil
		}
		if more, err := r.openNext(top); err != nil {
			return line{}, false, err
		} else if !more {
			r.stack = r.stack[:len(r.stack)-1]
		}
	}
	return line{}, false, nil
}

// clean takes the comment off a line of a file, and notes that there is one.
func (r *reader) clean(l *line) error {
	text, open := uncomment(l.text)
	if open {
		return errorAt(l.at, `a " is opened and not closed on this line: what belongs to it cannot be known; close it`)
	}
	l.text = text
	if strings.Trim(text, whiteSpace+`{}\`) != "" {
		r.src.saw(l.at)
	}
	return nil
}

// push opens what an include, or the command line, names.
func (r *reader) push(names []string) { r.stack = append(r.stack, &pending{names: names}) }

// openNext opens the next file of a list; more is false when there is none left.
func (r *reader) openNext(p *pending) (more bool, err error) {
	p.open = nil
	for len(p.names) > 0 {
		name := p.names[0]
		p.names = p.names[1:]
		shown := r.src.shown(name)
		if err := r.mayOpen(name, shown); err != nil {
			return false, err
		}
		data, err := r.files.read(name, maxFile+1)
		switch {
		case errors.Is(err, errSkipped) && len(r.src.Files) > 0:
			r.src.left(Pos{File: shown}, "include", errSkipped.Error()+"; chmod -x it if it is to count")
			continue
		case err != nil:
			return false, errorAt(Pos{File: shown}, "%s", whyUnread(err))
		case len(data) > maxFile:
			return false, errorAt(Pos{File: shown}, "has more than %d bytes: that is not a configuration of keepalived", maxFile)
		case bytes.IndexByte(data, 0) >= 0:
			return false, errorAt(Pos{File: shown}, "has a NUL byte in it: that is not a text file")
		}
		r.opened++
		r.src.Files = append(r.src.Files, shown)
		p.open = &openFile{name, shown, pieces(data, shown)}
		return true, nil
	}
	return false, nil
}

// whyUnread leaves the name out of an error of the file system: it stands before it.
func whyUnread(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

// mayOpen refuses loops and floods.
func (r *reader) mayOpen(name, shown string) error {
	for _, p := range r.stack {
		if p.open != nil && p.open.name == name {
			return errorAt(Pos{File: shown}, "includes itself, by way of %s: keepalived would read for ever; take one include out", r.src.shown(r.dirFile()))
		}
	}
	if r.opened >= maxFiles || len(r.stack) > maxInclude {
		return errorAt(Pos{File: shown}, "with this file there are more than %d, or more than %d inside one another", maxFiles, maxInclude)
	}
	return nil
}

// dirFile returns the innermost open file: relative names count from its folder.
func (r *reader) dirFile() string {
	for _, p := range slices.Backward(r.stack) {
		if p.open != nil {
			return p.open.name
		}
	}
	return r.src.path
}

// pieces cuts a file into lines; one that is longer than keepalived's buffer into
// several, each of which keepalived takes for a line (fgets in read_line).
func pieces(data []byte, file string) []line {
	var all []line
	for n := 1; len(data) > 0; n++ {
		text, rest, _ := bytes.Cut(data, []byte("\n"))
		for len(text) >= maxLine {
			all = append(all, line{text: strings.TrimRight(string(text[:maxLine]), "\r"), at: Pos{file, n}})
			text = text[maxLine:]
		}
		all = append(all, line{text: strings.TrimRight(string(text), "\r"), at: Pos{file, n}})
		data = rest
	}
	return all
}

// include opens what an include line names. keepalived.conf(5) says that an
// include behind an @condition or out of a variable does not work; it does when
// keepalived starts, and is read here as it is then.
func (r *reader) include(l line) (bool, error) {
	kind, pattern, ok := cutInclude(l.text)
	if !ok {
		return false, nil
	}
	full := pattern
	if !filepath.IsAbs(full) {
		full = filepath.Join(filepath.Dir(r.dirFile()), pattern)
	}
	names, err := r.files.glob(full)
	if err != nil {
		return false, errorAt(l.at, "%v", err)
	}
	if len(names) == 0 {
		if kind != "include" {
			return false, errorAt(l.at, "no file matches, and %s asks for one: keepalived counts that as an error; write the file, or include", kind)
		}
		r.src.left(l.at, kind, "no file matches, and keepalived goes on without; see whether one is missing here, and import again with it")
		return true, nil
	}
	r.src.took(l.at, kind, fmt.Sprintf("the files it names, in its place: %d", len(names)))
	r.push(names)
	return true, nil
}

// cutInclude takes an include line apart: is_include and check_include in
// lib/parser.c.
func cutInclude(text string) (kind, pattern string, ok bool) {
	rest, ok := strings.CutPrefix(text, "include")
	if !ok {
		return "", "", false
	}
	kind = "include"
	if rest != "" && strings.IndexByte("rmwba", rest[0]) >= 0 {
		kind, rest = kind+rest[:1], rest[1:]
	}
	if rest == "" || strings.IndexByte(whiteSpace, rest[0]) < 0 {
		return "", "", false
	}
	return kind, strings.TrimLeft(rest[1:], blank), true
}
