package keepalived

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// files is where configuration files come from. Names are absolute paths.
type files interface {
	// glob returns the names that match a pattern, in the order of glob(3).
	glob(pattern string) ([]string, error)
	// read returns what is in a file of at most limit bytes.
	read(name string, limit int64) ([]byte, error)
}

// errSkipped is returned for what keepalived passes over without reading it
// (check_glob_file in lib/parser.c).
var errSkipped = errors.New("keepalived passes over what is not a regular file, or is executable")

// maxPatterns bounds what one {a,b} pattern may stand for.
const maxPatterns = 100

// disk is the machine's own file system.
type disk struct{}

func (disk) glob(pattern string) ([]string, error) {
	patterns, err := braces(pattern)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range patterns {
		// filepath.Match negates a set with ^ only, glob(7) with ! as well.
		matches, err := filepath.Glob(strings.ReplaceAll(p, "[!", "[^"))
		if err != nil {
			return nil, fmt.Errorf("%q is no pattern that can be matched: %w", pattern, err)
		}
		names = append(names, slices.DeleteFunc(matches, func(name string) bool { return hidden(p, name) })...)
	}
	return names, nil
}

// hidden reports whether a match is one that glob(7) leaves out: no wildcard
// stands for the dot at the beginning of a name, as editors' swap files have it.
func hidden(pattern, name string) bool {
	p, n := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(p) != len(n) {
		return false
	}
	for i := range n {
		if strings.HasPrefix(n[i], ".") && !strings.HasPrefix(p[i], ".") {
			return true
		}
	}
	return false
}

func (disk) read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(), info.Mode().Perm()&0o111 != 0:
		return nil, errSkipped
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// braces returns the patterns that a pattern with {a,b} in it stands for, as
// GLOB_BRACE of glob(3) does: the parts may be empty, and braces may be nested.
func braces(pattern string) ([]string, error) {
	done, todo := []string(nil), []string{pattern}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		parts, before, after, ok := cutBraces(p)
		if !ok {
			done = append(done, p)
			continue
		}
		var with []string
		for _, part := range parts {
			with = append(with, before+part+after)
		}
		todo = append(with, todo...)
		if len(done)+len(todo) > maxPatterns {
			return nil, fmt.Errorf("%q stands for more than %d patterns; include the files one by one", pattern, maxPatterns)
		}
	}
	return done, nil
}

// cutBraces returns the parts of the first {a,b} in a pattern, and what is before
// and after it; ok is false when there is none that is closed.
func cutBraces(p string) (parts []string, before, after string, ok bool) {
	open := strings.IndexByte(p, '{')
	if open < 0 {
		return nil, "", "", false
	}
	depth, from := 0, open+1
	for i := open; i < len(p); i++ {
		switch p[i] {
		case '{':
			depth++
		case ',':
			if depth == 1 {
				parts = append(parts, p[from:i])
				from = i + 1
			}
		case '}':
			if depth--; depth == 0 {
				return append(parts, p[from:i]), p[:open], p[i+1:], true
			}
		}
	}
	return nil, "", "", false
}
