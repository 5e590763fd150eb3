package chaos

import (
	"fmt"
	"strings"
	"time"
)

// Event is a fault that was brought about.
type Event struct {
	Fault               // with the hosts in the place of roles
	From, To  time.Time // To is zero while it lasts
	Hurts     []Part
	Recovery  time.Duration // how long after its end the parts are still not well
	Speaks    string        // a host that may speak as the VIP meanwhile although it is not the holder
	Note, Err string
}

// String tells what was done where.
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(e.Kind)
	for _, s := range []struct{ before, text string }{{" ", e.On}, {" → ", e.Peer}, {": ", e.Note}, {": FAILED: ", e.Err}} {
		if s.text != "" {
			b.WriteString(s.before + s.text)
		}
	}
	if e.Arg != 0 {
		fmt.Fprintf(&b, " (%d)", e.Arg)
	}
	return b.String()
}

// Part is what a fault may take away. The judge asks which parts were well.
type Part string

const (
	cluster Part = "etcd"    // no write gets through, whichever members run
	service Part = "service" // a holder may be where no client sees it
)

func node(host string) Part   { return Part("node " + host) }   // it cannot hold the VIP, or not be seen with it
func member(host string) Part { return Part("member " + host) } // of etcd

// link is the way between two hosts, in either direction.
func link(x, y string) Part {
	if y < x {
		x, y = y, x
	}
	return Part("link " + x + "-" + y)
}
