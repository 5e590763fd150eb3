package keepalived

import "fmt"

// Pos is a place in a file.
type Pos struct {
	File string
	Line int // from 1; 0 is the file as a whole
}

// String is "file:line", as editors jump to it.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Error is why a configuration cannot be read: where, what, and what to do.
type Error struct {
	Pos  Pos
	What string
}

// Error returns "file:line: what".
func (e *Error) Error() string { return e.Pos.String() + ": " + e.What }

// errorAt makes an Error. What it says must never have the text of a line in it,
// which may be a password.
func errorAt(p Pos, format string, args ...any) error {
	return &Error{p, fmt.Sprintf(format, args...)}
}
