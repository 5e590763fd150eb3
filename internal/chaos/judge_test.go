package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/internal/lab"
)

const (
	a, b, c = lab.A, lab.B, lab.C
	ms      = time.Millisecond
)

// story is a run of 60 s on two nodes with a fence and a ttl of 1 s, to be told
// in parts.
type story struct{ *Trace }

func (s story) at(d time.Duration) time.Time { return s.Start.Add(d) }

func newStory() story {
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return story{&Trace{Nodes: []string{a, b}, Start: start, End: start.Add(time.Minute), TTL: time.Second, Fenced: true}}
}

// answers has a host answer every probe for a while; nobody if it is empty.
func (s story) answers(host string, from, to time.Duration) {
	for d := from; d < to; d += 2 * ms {
		p := lab.Probe{Sent: s.at(d)}
		if host != "" {
			p.Answered, p.By = s.at(d+ms), host
		}
		s.Probes = append(s.Probes, p)
	}
}

// speaks has a host announce itself, if asked to, and answer.
func (s story) speaks(host string, announced bool, from, to time.Duration) {
	s.answers(host, from, to)
	for d := from; d < to; d += 2 * ms {
		s.Voices = append(s.Voices, lab.Voice{At: s.at(d), Port: host, Claim: announced && d == from})
	}
}

func (s story) fault(kind, on string, from, to time.Duration, hurts ...Part) *Event {
	s.Events = append(s.Events, Event{Fault: Fault{Kind: kind, On: on, For: to - from}, From: s.at(from), To: s.at(to), Hurts: hurts})
	return &s.Events[len(s.Events)-1]
}

// moved is a good run: the daemon of host a is killed, host b takes over.
func moved() story {
	s := newStory()
	s.speaks(a, true, 0, 10*time.Second)
	s.fault("kill", a, 9500*ms, 15*time.Second, node(a))
	s.answers("", 10*time.Second, 11*time.Second)
	s.speaks(b, true, 11*time.Second, 60*time.Second)
	s.Held = []lab.Interval{{Host: a, From: s.at(0), To: s.at(11500 * ms)}, {Host: b, From: s.at(10900 * ms)}}
	s.Pages = []Page{
		{At: s.at(0), Until: s.at(11 * time.Second), Holder: a, Epoch: 1, TTL: time.Second, Owner: a, Promise: time.Second},
		{At: s.at(11100 * ms), Until: s.End, Holder: b, Epoch: 2, TTL: time.Second, Owner: b, Promise: time.Second},
	}
	s.Asked = []lab.ARPAnswer{{Asked: s.at(time.Second), By: []lab.Claimant{{Host: a, At: s.at(time.Second)}}}}
	s.Calms = []Calm{{From: s.at(50 * time.Second), To: s.End, By: []string{b}, Holder: b, Kernels: []string{b}}}
	return s
}

func TestJudgeGoodRun(t *testing.T) {
	if got := moved().Judge(); len(got) != 0 {
		t.Errorf("a good run: %v", got)
	}
}

// Each violation, planted into the good run, is found, and no other rule broken.
func TestJudgeViolations(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(story)
		want  string // rule and part of the text
	}{
		"one question, two answers": {func(s story) {
			s.Asked[0].By = append(s.Asked[0].By, lab.Claimant{Host: b, At: s.at(time.Second)})
		}, "J1: one question was answered by a and b"},
		"the old holder goes on": {func(s story) {
			s.Voices = append(s.Voices, lab.Voice{At: s.at(11001 * ms), Port: a})
		}, "J1: a spoke after b and did not announce itself"},
		"the old holder announces itself": {func(s story) {
			for d := 10 * time.Second; d < 11002*ms; d += ms {
				s.Voices = append(s.Voices, lab.Voice{At: s.at(d), Port: a, Claim: true})
			}
		}, "J1: b spoke 2ms after itself, and a in between"},
		"a stranger answers": {func(s story) {
			s.Voices = append(s.Voices, lab.Voice{At: s.at(30 * time.Second), Port: lab.Client})
		}, "J1: client, which is no node, spoke as the VIP"},
		"two kernels without a fence": {func(s story) { s.Fenced = false }, "J2: the kernels of a and b had the VIP for 600ms"},
		"two kernels with open fences": {func(s story) {
			s.Ajar = []Ajar{{s.at(11200 * ms), [2]string{a, b}}}
		}, "J2: a and b had the VIP, with the fences of both open"},
		"a gap without a fault": {func(s story) {
			silence(s, 30*time.Second, 30300*ms)
		}, "J3: 300ms without service (b → b) that no fault explains"},
		"a gap while another node is in trouble": {func(s story) {
			silence(s, 30*time.Second, 30300*ms)
			s.fault("kill", a, 29*time.Second, 31*time.Second, node(a))
		}, "J3: 300ms without service (b → b) that no fault explains"},
		"a gap that lasts": {func(s story) {
			silence(s, 30*time.Second, 39*time.Second)
			s.fault("kill", b, 29*time.Second, 31*time.Second, node(b))
		}, "J3: 9s without service (b → b); for 9s of it"},
		"a gap that lasts when the fault is over": {func(s story) {
			silence(s, 30*time.Second, 42*time.Second)
			s.fault("etcd-nospace", b, 29*time.Second, 35*time.Second, cluster)
		}, "J3: 12s without service (b → b); for 7s of it"},
		"a gap in a pause by what a pause bears": {func(s story) {
			s.Pages[1].Paused, s.Pages[1].TTL = true, time.Hour
			silence(s, 30*time.Second, 30300*ms)
			s.fault("freeze", b, 29*time.Second, 31*time.Second, node(b))
		}, "J3: 300ms without service (b → b) that no fault explains"},
		"nobody comes back":  {func(s story) { s.Calms[0].Err = "no answer" }, "J4: all faults had ended, and yet: no answer"},
		"etcd names another": {func(s story) { s.Calms[0].Holder = a }, `J4: etcd says that "a" holds the VIP`},
		"a copy stays":       {func(s story) { s.Calms[0].Kernels = []string{a, b} }, "J4: etcd says"},
		"it moves in a pause": {func(s story) {
			s.Pages[0].Paused, s.Pages[0].TTL, s.Pages[0].Until = true, time.Hour, s.at(20*time.Second)
			s.fault("power", a, 9*time.Second, 15*time.Second, node(a))
		}, "J5: HA was paused with the VIP on a, and b spoke as the VIP"},
		"a daemon ends by itself": {func(s story) {
			s.Exits = []Exit{{At: s.at(0), Unit: "daemon a", Tail: "oops"}, {At: s.at(0), Unit: "etcd a"}}
		}, "J6: daemon a ended by itself"},
		"a daemon panics": {func(s story) {
			s.Found = search("daemon a", "2026-11-22T12:00:01.000Z [INFO]  fine\npanic: no\n")
		}, "J6: daemon a: panic: no"},
		"a daemon grows": {func(s story) {
			s.Found = grown([]Usage{{Unit: "daemon a", PID: 7, Files: 20}, {Unit: "daemon a", PID: 8, Files: 60}, {Unit: "daemon a", PID: 7, Files: 60}})
		}, "J6: daemon a: had 20 files"},
	} {
		t.Run(name, func(t *testing.T) {
			s := moved()
			tc.plant(s)
			got := s.Judge()
			said := func(v Violation) bool { return strings.HasPrefix(v.String(), tc.want) }
			other := func(v Violation) bool { return v.Rule != tc.want[:2] }
			if !slices.ContainsFunc(got, said) || slices.ContainsFunc(got, other) {
				t.Errorf("got %v, want %s…", got, tc.want)
			}
		})
	}
}

// silence has nobody answer for a while.
func silence(s story, from, to time.Duration) {
	for i, p := range s.Probes {
		if d := p.Sent.Sub(s.Start); d >= from && d < to {
			s.Probes[i].Answered, s.Probes[i].By = time.Time{}, ""
		}
	}
}

// What looks like a violation and is none.
func TestJudgeBears(t *testing.T) {
	for name, plant := range map[string]func(story){
		"two open fences, and one address": func(s story) {
			s.Ajar = []Ajar{{s.at(12 * time.Second), [2]string{a, b}}}
		},
		"a reset from the old holder": func(s story) {
			s.Voices = append(s.Voices, lab.Voice{At: s.at(12 * time.Second), Port: a, Reset: true})
		},
		"a claim of the client's, by a fault": func(s story) {
			s.fault("claim", lab.Client, 30*time.Second, 30*time.Second, service).Speaks = lab.Client
			s.Voices = append(s.Voices, lab.Voice{At: s.at(30 * time.Second), Port: lab.Client, Claim: true})
		},
		"an address added by hand without a fence": func(s story) {
			s.Fenced = false
			s.Held[0].To = s.at(10500 * ms)
			s.Held = append(s.Held, lab.Interval{Host: a, From: s.at(30 * time.Second), To: s.at(30100 * ms)})
			s.Voices = append(s.Voices, lab.Voice{At: s.at(30050 * ms), Port: a})
			s.fault("vip-add", a, 30*time.Second, 31*time.Second, node(a)).Speaks = a
		},
		"no quorum for long": func(s story) {
			silence(s, 30*time.Second, 45*time.Second)
			s.fault("etcd-kill", a, 29*time.Second, 44*time.Second, member(a))
			s.fault("etcd-kill", b, 29*time.Second, 44*time.Second, member(b))
		},
		"one node after the other in trouble": func(s story) {
			silence(s, 30*time.Second, 38*time.Second)
			s.fault("kill", b, 29*time.Second, 35*time.Second, node(b))
			s.fault("kill", a, 34*time.Second, 39*time.Second, node(a))
		},
		"no majority among those that are left": func(s story) {
			silence(s, 30*time.Second, 45*time.Second)
			s.fault("etcd-kill", c, 29*time.Second, 44*time.Second, member(c))
			s.fault("cut-hosts", a, 29*time.Second, 44*time.Second, link(b, a))
		},
		"the holder of a pause lost its power": func(s story) {
			silence(s, 30*time.Second, 55*time.Second)
			s.Pages[1].Until = s.at(29 * time.Second)
			s.Pages = append(s.Pages,
				Page{At: s.at(29 * time.Second), Until: s.at(35 * time.Second), Holder: b, Epoch: 2, TTL: time.Minute, Owner: b, Promise: time.Minute, Paused: true},
				Page{At: s.at(35 * time.Second), Until: s.at(54 * time.Second), Holder: b, Epoch: 2, TTL: time.Minute, Owner: b, Promise: time.Minute},
				Page{At: s.at(54 * time.Second), Until: s.End, Holder: b, Epoch: 3, TTL: time.Second, Owner: b, Promise: time.Second})
			s.fault("power", b, 29500*ms, 33*time.Second, node(b))
		},
		"the lease of such a tenure was revoked": func(s story) {
			silence(s, 30*time.Second, 55*time.Second)
			s.Pages[1].Until = s.at(29 * time.Second)
			s.Pages = append(s.Pages,
				Page{At: s.at(29 * time.Second), Until: s.at(31 * time.Second), Holder: b, Epoch: 2, TTL: time.Minute, Owner: b, Promise: time.Minute, Paused: true},
				Page{At: s.at(31 * time.Second), Until: s.at(54 * time.Second), Epoch: 2, Owner: b, Promise: time.Minute},
				Page{At: s.at(54 * time.Second), Until: s.End, Holder: b, Epoch: 3, TTL: time.Second, Owner: b, Promise: time.Second})
			s.fault("power", b, 29500*ms, 33*time.Second, node(b))
		},
		"a prober that did not get to run": func(s story) {
			s.Probes = slices.DeleteFunc(s.Probes, func(p lab.Probe) bool {
				return p.Sent.After(s.at(30*time.Second)) && p.Sent.Before(s.at(32*time.Second))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := moved()
			plant(s)
			if got := s.Judge(); len(got) != 0 {
				t.Errorf("%v", got)
			}
		})
	}
}
