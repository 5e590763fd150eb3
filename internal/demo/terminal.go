package demo

import (
	"strings"

	"golang.org/x/sys/unix"
)

// terminal is the screen of a person.
type terminal struct{ fd int }

// openTerminal returns the terminal behind a file; nil when it is none.
func openTerminal(fd uintptr) *terminal {
	if _, err := unix.IoctlGetTermios(int(fd), unix.TCGETS); err != nil {
		return nil
	}
	return &terminal{fd: int(fd)}
}

// size returns the width and height in cells, 80 × 24 where they are not known.
func (t *terminal) size() (width, height int) {
	w, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return screenWidth, screenHeight
	}
	return int(w.Col), int(w.Row)
}

// Control sequences: ECMA-48 CUP, EL and ED; DECTCEM, and xterm's other screen,
// see ctlseqs of xterm.
const (
	escHome, escEndOfLine, escBelow = "\x1b[H", "\x1b[K", "\x1b[J"
	escOther, escBack               = "\x1b[?1049h", "\x1b[?1049l"
	escHideCursor, escShowCursor    = "\x1b[?25l", "\x1b[?25h"
)

func (t *terminal) enter() string { return escOther + escHideCursor + escHome + escBelow }
func (t *terminal) leave() string { return escShowCursor + escBack }

// redraw returns what puts a view in the place of the one before, at one write, so
// that it does not flicker.
func (t *terminal) redraw(v view, on ink) string {
	width, height := t.size()
	var b strings.Builder
	b.WriteString(escHome)
	for i, line := range frame(v, width, height, on) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + escEndOfLine)
	}
	b.WriteString(escBelow)
	return b.String()
}
