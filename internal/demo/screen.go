package demo

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The screen is made for 80 × 24, what every terminal has. In a wider one it stays
// as it is, a higher one has room for more of what was said.
const (
	screenWidth  = 80
	screenHeight = 24
	stripMarks   = 73
)

// SGR parameters, ECMA-48 section 8.3.117.
const (
	sgrBold  = "1"
	sgrDim   = "2"
	sgrA     = "36" // cyan
	sgrB     = "33" // yellow
	sgrGood  = "32"
	sgrBad   = "1;31"
	sgrReset = "\x1b[0m"
)

// ink colours text, or leaves it as it is.
type ink bool

func (on ink) paint(sgr, text string) string {
	if !on || sgr == "" || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + sgrReset
}

// frame draws a view into at most height lines, none wider than width cells. A
// width over screenWidth counts as that.
func frame(v view, width, height int, on ink) []string {
	d := drawing{width: min(width, screenWidth), on: on}
	d.head(v)
	d.topology(v)
	d.table(v)
	d.probes(v)
	d.step(v)
	room := height - len(d.lines)
	said := v.said[max(0, len(v.said)-max(0, room)):]
	for _, s := range said {
		d.add(seg{"", " " + s})
	}
	return d.lines[:min(len(d.lines), max(0, height))]
}

// drawing collects lines.
type drawing struct {
	lines []string
	width int
	on    ink
}

// seg is a piece of a line in one colour.
type seg struct{ sgr, text string }

// add adds a line, cut to the width.
func (d *drawing) add(segs ...seg) {
	var b strings.Builder
	room := d.width
	for _, s := range segs {
		text := cut(s.text, room)
		room -= utf8.RuneCountInString(text)
		b.WriteString(d.on.paint(s.sgr, text))
	}
	line := b.String()
	if !d.on {
		line = strings.TrimRight(line, " ")
	}
	d.lines = append(d.lines, line)
}

// column is how wide one host is drawn, margin what stands before the first.
const (
	column = 24
	margin = 8
)

func (d *drawing) head(v view) {
	now := clock(v.elapsed) + " "
	title := " leasehold demo: two MySQL hosts, a witness, one VIP"
	if v.standIn {
		title += " (STAND-INS for mysqld)"
	}
	d.add(seg{sgrBold, pad(title, d.width-len(now))}, seg{"", now})
	since := "nobody has answered yet"
	if v.asked > 0 {
		since = fmt.Sprintf("%d probes, %d lost", v.asked, v.lost)
	}
	d.add(seg{"", " client 10.20.8.99 asks 10.20.8.188 every 2 ms: " + since})
}

// topology draws the switch with the hosts plugged in.
func (d *drawing) topology(v view) {
	d.add(seg{"", "   |"})
	rail := []rune(" " + strings.Repeat("-", screenWidth-2))
	rail[3] = '+'
	for i := range v.hosts {
		rail[margin+i*column+2] = '+'
	}
	d.add(seg{"", string(rail)})
	cables := []seg{{"", pad("", margin)}}
	for i, h := range v.hosts {
		switch {
		case h.off || h.unplugged:
			cables = append(cables, seg{sgrBad, pad("  X", column)})
		case v.apart && i == 0: // between the first and the second
			cables = append(cables, seg{"", "  |"}, seg{sgrBad, "  <-- no frames -->  "})
		default:
			cables = append(cables, seg{"", pad("  |", column)})
		}
	}
	d.add(cables...)
}

// table draws a line for each thing that the hosts have.
func (d *drawing) table(v view) {
	row := func(name string, cell func(hostView) seg) {
		segs := []seg{{"", pad(" "+name, margin)}}
		for _, h := range v.hosts {
			s := cell(h)
			segs = append(segs, seg{s.sgr, pad(s.text, column)})
		}
		d.add(segs...)
	}
	row("", func(h hostView) seg { return seg{sgrBold + ";" + colourOf(h.name), letter(h.name) + " " + h.name} })
	row("", func(h hostView) seg { return seg{"", "  " + h.addr} })
	row("VIP", func(h hostView) seg {
		if h.vip {
			return seg{colourOf(h.name), "  10.20.8.188"}
		}
		return seg{"", "  " + isNone}
	})
	row("node", func(h hostView) seg { return seg{h.state(h.role), "  " + h.word(h.role)} })
	row("lease", func(h hostView) seg { return seg{colourOf(h.name), "  " + lease(h.left, h.ttl)} })
	row("mysqld", func(h hostView) seg { return seg{h.state(h.mysqld), "  " + h.word(h.mysqld)} })
	row("etcd", func(h hostView) seg { return seg{h.state(h.etcd), "  " + h.word(h.etcd)} })
}

// word is what is said of a thing on a host.
func (h hostView) word(state string) string {
	if h.off && state != isNone {
		return "power off"
	}
	return state
}

// state is the colour of it.
func (h hostView) state(state string) string {
	switch {
	case state == isNone:
		return ""
	case h.off || state == isDown:
		return sgrBad
	case state == isHolder || state == isLeader:
		return sgrBold
	}
	return ""
}

func colourOf(host string) string {
	switch letter(host) {
	case "a":
		return sgrA
	case "b":
		return sgrB
	}
	return "39" // the terminal's own
}

// lease draws what is left of a tenure as a bar that empties, and in seconds.
func lease(left, ttl time.Duration) string {
	const cells = 10
	switch {
	case left <= 0 || ttl <= 0:
		return isNone
	case left > 2*ttl: // a pause's
		return left.Round(time.Second).String()
	}
	full := min(cells, int((left*cells+ttl-1)/ttl))
	return fmt.Sprintf("%s%s %.1f s", strings.Repeat("#", full), strings.Repeat("-", cells-full), left.Seconds())
}

// probes draws the strip, a run of the same mark in one colour.
func (d *drawing) probes(v view) {
	d.add()
	d.marks(" VIP ", v.strip)
	if v.sql != "" {
		d.marks(" SQL ", v.sql)
	}
	d.add(seg{sgrDim, " a mark is 0.1 s: the host that answered all probes; . one or more were lost"})
}

func (d *drawing) marks(name, marks string) {
	segs := []seg{{"", name}}
	for len(marks) > 0 {
		n := 1
		for n < len(marks) && marks[n] == marks[0] {
			n++
		}
		segs = append(segs, seg{markColour(marks[0]), marks[:n]})
		marks = marks[n:]
	}
	d.add(segs...)
}

func markColour(mark byte) string {
	switch mark {
	case 'a':
		return sgrA
	case 'b':
		return sgrB
	case markLost:
		return sgrBad
	}
	return ""
}

// step draws what is being done now.
func (d *drawing) step(v view) {
	if v.now == nil {
		return
	}
	d.add()
	d.add(seg{sgrBold, fmt.Sprintf(" %-5s %s", v.now.ID, v.now.Fault)})
	d.add(seg{sgrDim, indent + " keepalived: " + v.now.Noted})
	d.add(seg{"", indent + " must hold:  " + v.now.Must})
	lines := append(wrap(v.happening, screenWidth-len(indent)-1), "")
	for _, line := range lines[:2] { // always two, so that nothing jumps
		d.add(seg{"", indent + " " + line})
	}
}

// indent is what stands before what belongs to a step.
const indent = "      "
