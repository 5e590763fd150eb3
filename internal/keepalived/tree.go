package keepalived

import (
	"path/filepath"
	"strings"
)

const (
	maxStatements = 20_000
	maxDepth      = 16 // of blocks inside one another; keepalived's own have four
)

// statement is one line as keepalived takes it, with the block that follows.
type statement struct {
	Pos   Pos
	Words []string
	Block []*statement

	text  string // all of it, for what has its own idea of words
	block bool   // there is one, which may be empty
	drawn bool   // ${_RANDOM} is in it: its value is another at each start
}

// Source is a configuration as it was read, with everything that it includes.
type Source struct {
	Files      []string // in the order of reading; the first is the one named
	ID         string   // what @conditions are compared with
	statements []*statement

	path  string // absolute, of the first file
	name  string // the same as the caller wrote it
	lines []Pos  // every one that says something
	notes []note // what became of those that are no statement
}

// note is what became of a line, or a part of it, that reading has dealt with.
type note struct {
	at      Pos
	outcome Outcome
}

// Read reads a configuration and what it includes, as keepalived would on a host
// whose configuration id (its option -i) is id. An *Error says what it cannot be
// read for.
func Read(file, id string) (*Source, error) { return read(disk{}, file, id) }

func read(fs files, file, id string) (*Source, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, errorAt(Pos{File: file}, "its folder: %v", err)
	}
	src := &Source{ID: id, path: path, name: file}
	r := &reader{files: fs, id: id, vars: map[string]*variable{}, src: src}
	r.standard()
	r.push([]string{path})
	if err := src.build(r); err != nil {
		return nil, err
	}
	return src, nil
}

// build makes blocks of the lines.
func (src *Source) build(r *reader) error {
	var open []*statement
	var last *statement // what a { would belong to
	for count := 0; ; {
		l, ok, err := r.next()
		if err != nil {
			return err
		}
		switch {
		case !ok && len(open) > 0:
			return errorAt(open[len(open)-1].Pos, "the block that begins here is never closed: what belongs to it cannot be known; write its }")
		case !ok:
			return nil
		case l.text == "{" && last == nil:
			return errorAt(l.at, "a { without a keyword before it: it belongs to no block; take it out, or write the keyword")
		case l.text == "{" && len(open) == maxDepth:
			return errorAt(l.at, "more than %d blocks inside one another: no block of keepalived has that many; see whether a } is missing", maxDepth)
		case l.text == "{":
			last.block = true
			open, last = append(open, last), nil
		case l.text == "}" && len(open) == 0:
			return errorAt(l.at, "a } that closes nothing: what belongs to which block cannot be known; take it out, or write the { that it belongs to")
		case l.text == "}":
			open, last = open[:len(open)-1], nil
		case strings.Trim(l.text, whiteSpace) == "": // a form feed, say
		default:
			if last, err = newStatement(l); err != nil {
				return err
			}
			if count++; count > maxStatements {
				return errorAt(l.at, "more than %d statements: that is not a configuration for one host", maxStatements)
			}
			to := &src.statements
			if len(open) > 0 {
				to = &open[len(open)-1].Block
			}
			*to = append(*to, last)
		}
	}
}

func newStatement(l line) (*statement, error) {
	words, ok := split(l.text)
	if !ok {
		return nil, errorAt(l.at, `a " is opened and not closed before the end of the line or a brace: what belongs to it cannot be known; close it`)
	}
	return &statement{Pos: l.at, Words: words, text: l.text, drawn: l.drawn}, nil
}

// saw notes a line that says something.
func (src *Source) saw(at Pos) {
	if n := len(src.lines); n == 0 || src.lines[n-1] != at {
		src.lines = append(src.lines, at)
	}
}

func (src *Source) took(at Pos, keyword, became string) {
	src.notes = append(src.notes, note{at, Outcome{Keyword: keyword, Became: became}})
}

func (src *Source) left(at Pos, keyword, why string) {
	src.saw(at)
	src.notes = append(src.notes, note{at, Outcome{Keyword: keyword, Left: why}})
}

// shown returns the name of a file as people know it: the one that was asked for
// as it was written, those in its folder without the folder's absolute path.
func (src *Source) shown(path string) string {
	if path == src.path {
		return src.name
	}
	if filepath.IsAbs(src.name) {
		return path
	}
	if rel, err := filepath.Rel(filepath.Dir(src.path), path); err == nil && !strings.HasPrefix(rel, "..") {
		return filepath.Join(filepath.Dir(src.name), rel)
	}
	return path
}

// keyword is the first word.
func (s *statement) keyword() string { return s.Words[0] }

// arg returns the word after the keyword; empty when there is none.
func (s *statement) arg() string {
	if len(s.Words) < 2 {
		return ""
	}
	return s.Words[1]
}
