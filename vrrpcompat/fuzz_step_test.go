package vrrpcompat

import (
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// FuzzStep: whatever happens in whatever order, the machine keeps what it
// promises. Each octet of events is one, and the next how long after.
func FuzzStep(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 4, 1, 2, 200, 2, 2, 1, 1, 7, 3})
	f.Add(uint8(0x8d), []byte{4, 1, 0, 255, 2, 255, 2, 2, 18, 18, 34, 34, 50, 9, 1, 255})
	f.Fuzz(func(t *testing.T, kind uint8, events []byte) {
		c := with(func(c *Config) {
			c.Version = Version2 + kind&1
			c.Mode = Mode(kind >> 1 & 1)
			c.Priority = []uint8{1, 100, 150, 255}[kind>>2&3]
			if c.Priority != 255 {
				preempting()[kind>>4&3](c)
			}
			c.HigherPrioSendAdvert = kind&0x40 != 0
			if c.Version == Version3 && kind&0x80 != 0 {
				c.Interval, c.MaxInterval = 100*ms, 2*time.Second
			}
		})
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		m, now, bound := NewMachine(c, hostA), at(0), false
		for ; len(events) >= 2; events = events[2:] {
			now = now.Add(time.Duration(events[1]) * time.Duration(events[1]) * ms)
			before := m
			e := anyEvent(events[0])
			var do []Action
			m, do = Step(m, now, e)
			bound = promises(t, before, m, now, e, do, bound)
			if again, do := Step(m, now, Tick{}); m.Wake() == 0 || now.Before(m.Wake()) {
				if again != m || len(do) != 0 {
					t.Fatalf("a Tick before its time changed\n%+v to\n%+v and did %v", m, again, do)
				}
			}
		}
	})
}

// anyEvent makes an event of an octet.
func anyEvent(b byte) Event {
	src := hostB
	if b&0x80 != 0 {
		src = other4
	}
	switch b & 7 {
	case 0:
		return Startup{}
	case 1:
		return Tick{}
	case 2, 3:
		return Heard{Source: src, Priority: []uint8{0, 1, 149, 150, 151, 254, 255, 100}[b>>4&7], Interval: time.Duration(b>>3&1+1) * 500 * ms, Fellow: b&7 == 3}
	case 4:
		return TenureGained{Succeeds: b&8 != 0}
	case 5:
		return TenureLost{Successor: b&8 != 0}
	case 6:
		return Shutdown{Successor: b&8 != 0}
	default:
		if b&8 != 0 {
			return Recognised{Source: src}
		}
		return PriorityChanged{Priority: b >> 3 * 8}
	}
}

// promises checks one step, and returns whether the VIP is bound after it.
func promises(t *testing.T, before, m Machine, now boottime.Instant, e Event, do []Action, bound bool) bool {
	t.Helper()
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s: Step(%+v) made of\n%+v\n%+v, and did %v", what, e, before, m, do)
	}
	removed := false
	for i, a := range do {
		switch a.Verb {
		case SendAdvert:
			switch {
			case m.rules.gate:
				fail("a gate speaks")
			case a.Priority == 0 && (bound || !removed):
				fail("somebody is invited before the VIP is gone")
			case a.Priority != 0 && a.Priority != m.priority:
				fail("an advert has another priority than the router")
			}
		case BindVIP:
			if bound = true; !m.rules.gate && (i == 0 || do[i-1].Verb != SendAdvert) {
				fail("the VIP is bound before the advert")
			}
		case AnnounceVIP:
			if !bound {
				fail("a VIP that is not there is announced")
			}
		case RemoveVIP:
			bound, removed = false, true
		case Warn:
			if a.Warning == 0 {
				fail("it warns of nothing")
			}
		}
	}
	switch wake := m.Wake(); {
	case m.state == Active && !m.tenure:
		fail("Active without the tenure")
	case bound != (m.state == Active):
		fail("the VIP does not go with the state")
	case m.state == Initialize && wake != 0:
		fail("a timer runs in Initialize")
	case m.state == Active && !m.rules.gate && !now.Before(wake):
		if _, late := e.(Tick); late {
			fail("a Tick leaves the advert due")
		}
	case m.better.Adverts > 0 && m.state != Backup:
		fail("it yields, and is not Backup")
	}
	if h, ok := e.(Heard); ok && h.Fellow && m != before && before.state != Active {
		fail("a fellow was heeded")
	}
	return bound
}
