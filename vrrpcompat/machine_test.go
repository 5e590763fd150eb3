package vrrpcompat

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// at is a moment of a test, d after it begins.
func at(d time.Duration) boottime.Instant { return boottime.Instant(time.Hour).Add(d) }

// router is a machine that has the tenure, as a router that stands alone has.
func router(c Config, own netip.Addr) Machine {
	m, _ := Step(NewMachine(c, own), at(0), TenureGained{})
	return m
}

// The actions of the tables.
var (
	bind     = Action{Verb: BindVIP}
	announce = Action{Verb: AnnounceVIP}
	remove   = Action{Verb: RemoveVIP}
)

func adv(priority uint8) Action { return Action{Verb: SendAdvert, Priority: priority} }
func answer(priority uint8) Action {
	return Action{Verb: SendAdvert, Priority: priority, Overtake: true}
}
func warn(w Warning) Action { return Action{Verb: Warn, Warning: w} }

// takeOver is how a router becomes Active.
func takeOver(priority uint8) []Action { return []Action{adv(priority), bind, announce} }

// told is an event of a scenario, and came what came of one.
type (
	told struct {
		at    time.Duration
		event Event
	}
	came struct {
		at time.Duration
		do []Action
	}
)

func from(src string, priority uint8) Heard {
	return Heard{Source: netip.MustParseAddr(src), Priority: priority, Interval: time.Second}
}

// play runs a machine through a scenario in virtual time, with a Tick whenever it
// asks for one, and returns everything that it did. A packet at the end of a timer
// goes first.
func play(t *testing.T, m Machine, events []told, end time.Duration) (Machine, []came) {
	t.Helper()
	var all []came
	step := func(now boottime.Instant, e Event) {
		var do []Action
		if m, do = Step(m, now, e); len(do) > 0 {
			all = append(all, came{now.Sub(at(0)), do})
		}
	}
	for {
		wake, next := m.Wake(), at(end)
		if len(events) > 0 {
			next = min(next, at(events[0].at))
		}
		switch {
		case wake != 0 && wake < next:
			step(wake, Tick{})
			if m.Wake() == wake {
				t.Fatalf("a Tick at %v leaves Wake as it was: the loop would spin", wake.Sub(at(0)))
			}
		case len(events) > 0 && events[0].at <= end:
			step(at(events[0].at), events[0].event)
			events = events[1:]
		default:
			return m, all
		}
	}
}

func sameCame(a, b []came) bool {
	return slices.EqualFunc(a, b, func(a, b came) bool { return a.at == b.at && slices.Equal(a.do, b.do) })
}

func show(all []came) string {
	s := ""
	for _, c := range all {
		s += fmt.Sprintf("\n\t%v: %v", c.at, c.do)
	}
	return s
}

// A scenario is one row of a table.
type scenario struct {
	cfg    Config
	own    netip.Addr // hostA where it says nothing
	bare   bool       // without the tenure
	events []told
	end    time.Duration
	want   []came
	state  State
	cause  Cause
}

func (s scenario) run(t *testing.T) Machine {
	t.Helper()
	own := s.own
	if !own.IsValid() {
		own = hostA
	}
	m := router(s.cfg, own)
	if s.bare {
		m = NewMachine(s.cfg, own)
	}
	m, got := play(t, m, s.events, s.end)
	if !sameCame(got, s.want) {
		t.Errorf("it did%s\nwant%s", show(got), show(s.want))
	}
	if m.State() != s.state || m.Cause() != s.cause {
		t.Errorf("it is %s, %s; want %s, %s", m.State(), m.Cause(), s.state, s.cause)
	}
	return m
}

const (
	ms     = time.Millisecond
	skewA  = 106 * time.Second / 256 // of priority 150
	downA  = 3*time.Second + skewA
	skew90 = 166 * time.Second / 256
)

// repeat is one event at each of the moments.
func repeat(e Event, moments ...time.Duration) []told {
	var all []told
	for _, d := range moments {
		all = append(all, told{d, e})
	}
	return all
}

func begin(events ...told) []told { return append([]told{{0, Startup{}}}, events...) }

// started is what every router does first.
func started(all ...came) []came { return append([]came{{0, []Action{remove}}}, all...) }
