package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// Trace is all that was seen of a run, from outside, and what was done.
type Trace struct {
	Nodes      []string // hosts that may have the VIP
	Start, End time.Time
	TTL        time.Duration
	Fenced     bool

	Events []Event
	Probes []lab.Probe
	Voices []lab.Voice
	Asked  []lab.ARPAnswer
	Held   []lab.Interval
	Ajar   []Ajar
	Looks  int // for Ajar
	Pages  []Page
	Calms  []Calm
	Exits  []Exit
	Found  []Finding
}

// Calm is the time after a round, when all faults have ended.
type Calm struct {
	From, To time.Time
	By       []string // who answered in the last second
	Holder   string   // in etcd, at the end
	Kernels  []string // that have the VIP, at the end
	Err      string   // what did not come back, although it was waited for
}

// Finding is something that must not be in a log, or must not be there at the
// end.
type Finding struct {
	At          time.Time
	Where, What string
}

// Violation is a promise that was not kept.
type Violation struct {
	Rule     string // J1 to J6
	From, To time.Time
	What     string
}

func (v Violation) String() string { return v.Rule + ": " + v.What }

const (
	// noticeable is the shortest time without service that has to be explained:
	// what a move costs, and what a machine with two busy processors adds.
	noticeable = 250 * time.Millisecond
	// echoTime is how soon no host can have lost the VIP to another and got it
	// back: that takes two transactions of etcd and two bindings.
	echoTime = 10 * time.Millisecond
	// announceIn is how long after its first frame a holder may announce itself, on
	// a machine with two busy processors. An old holder that goes on never does.
	announceIn = time.Second
)

// Bound is how long the VIP may be nowhere although one node and a majority of
// etcd are well: the tenure runs out, etcd elects twice, and two busy processors.
func (t *Trace) Bound() time.Duration { return t.TTL + 2*2*election + time.Second }

// Judge returns the promises that were not kept, in the order of time.
func (t *Trace) Judge() []Violation {
	var all []Violation
	for _, rule := range []func(*Trace) []Violation{JudgeVoices, judgeKernels, judgeGaps, judgeCalms, judgePauses, judgeProcesses} {
		all = append(all, rule(t)...)
	}
	slices.SortStableFunc(all, func(x, y Violation) int { return x.From.Compare(y.From) })
	return all
}

// over returns when an event was over, for the judge.
func (t *Trace) over(e *Event) time.Time {
	if e.To.IsZero() {
		return t.End
	}
	return e.To.Add(e.Recovery)
}

// mayspeak reports whether a fault made a host speak as the VIP at a moment. An
// address that was added by hand may take the daemon a second to find.
func (t *Trace) maySpeak(host string, at time.Time) bool { return t.speaking(host, at) != nil }

// speaking returns that fault.
func (t *Trace) speaking(host string, at time.Time) *Event {
	for i := range t.Events {
		if e := &t.Events[i]; e.Speaks == host && !at.Before(e.From) && !at.After(t.over(e).Add(time.Second)) {
			return e
		}
	}
	return nil
}

// excuse tells which fault of the schedule a question with two answers is due to.
func (t *Trace) excuse(a lab.ARPAnswer) string {
	for _, c := range a.By {
		if e := t.speaking(c.Host, c.At); e != nil {
			return fmt.Sprintf("by %s, at %.1f s", e, e.From.Sub(t.Start).Seconds())
		}
	}
	return "that nothing explains"
}

// JudgeVoices is J1: who speaks as the VIP.
func JudgeVoices(t *Trace) []Violation {
	var all []Violation
	for _, a := range t.Asked {
		if a.Dual() && !slices.ContainsFunc(a.By, func(c lab.Claimant) bool { return t.maySpeak(c.Host, c.At) }) {
			all = append(all, Violation{"J1", a.Asked, a.By[len(a.By)-1].At, fmt.Sprintf("one question was answered by %s and %s", a.By[0].Host, a.By[1].Host)})
		}
	}
	voices := slices.DeleteFunc(slices.Clone(t.Voices), func(v lab.Voice) bool { return v.Reset })
	slices.SortStableFunc(voices, func(x, y lab.Voice) int { return x.At.Compare(y.At) })
	announced := map[string][]time.Time{}
	for _, v := range voices {
		if v.Claim {
			announced[v.Port] = append(announced[v.Port], v.At)
		}
	}
	last := map[string]time.Time{} // when each host spoke last
	for i, v := range voices {
		switch {
		case t.maySpeak(v.Port, v.At):
		case !slices.Contains(t.Nodes, v.Port):
			all = append(all, Violation{"J1", v.At, v.At, fmt.Sprintf("%s, which is no node, spoke as the VIP", v.Port)})
		case i > 0 && voices[i-1].Port != v.Port:
			before := voices[i-1]
			if !slices.Contains(t.Nodes, before.Port) || t.maySpeak(before.Port, before.At) {
				break
			}
			if back := v.At.Sub(last[v.Port]); back < echoTime {
				all = append(all, Violation{"J1", before.At, v.At, fmt.Sprintf("%s spoke %v after itself, and %s in between", v.Port, back, before.Port)})
			} else if !slices.ContainsFunc(announced[v.Port], func(a time.Time) bool { return near(a, v.At, announceIn) }) {
				all = append(all, Violation{"J1", before.At, v.At, fmt.Sprintf("%s spoke after %s and did not announce itself", v.Port, before.Port)})
			}
		}
		last[v.Port] = v.At
	}
	return all
}

func near(x, y time.Time, d time.Duration) bool { return x.Sub(y).Abs() <= d }

// judgeKernels is J2: which kernels have the VIP and would answer. Behind a shut
// fence an address may linger.
func judgeKernels(t *Trace) []Violation {
	var all []Violation
	overlaps := lab.Overlaps(t.Held, t.End)
	for _, o := range overlaps {
		if !t.Fenced && !t.maySpeak(o.Hosts[0], o.From) && !t.maySpeak(o.Hosts[1], o.From) {
			all = append(all, Violation{"J2", o.From, o.To, fmt.Sprintf("the kernels of %s and %s had the VIP for %v", o.Hosts[0], o.Hosts[1], o.To.Sub(o.From))})
		}
	}
	for _, x := range t.Ajar {
		both := slices.ContainsFunc(overlaps, func(o lab.Overlap) bool {
			return slices.Contains(x.Hosts[:], o.Hosts[0]) && slices.Contains(x.Hosts[:], o.Hosts[1]) && !x.At.Before(o.From) && x.At.Before(o.To)
		})
		if both && !t.maySpeak(x.Hosts[0], x.At) && !t.maySpeak(x.Hosts[1], x.At) {
			all = append(all, Violation{"J2", x.At, x.At, fmt.Sprintf("%s and %s had the VIP, with the fences of both open", x.Hosts[0], x.Hosts[1])})
		}
	}
	return all
}

// judgeCalms is J4: all is well again when the faults have ended.
func judgeCalms(t *Trace) []Violation {
	var all []Violation
	for _, c := range t.Calms {
		fail := func(format string, args ...any) {
			all = append(all, Violation{"J4", c.From, c.To, fmt.Sprintf(format, args...)})
		}
		if c.Err != "" {
			fail("all faults had ended, and yet: %s", c.Err)
			continue
		}
		if len(c.By) != 1 || c.By[0] != c.Holder || len(c.Kernels) != 1 || c.Kernels[0] != c.Holder {
			fail("etcd says that %q holds the VIP, clients are answered by %v, it is in the kernels of %v", c.Holder, c.By, c.Kernels)
		}
	}
	return all
}

// judgePauses is J5: while HA is paused the VIP stays where it is.
func judgePauses(t *Trace) []Violation {
	var all []Violation
	for _, p := range t.Pages {
		if !p.Paused || p.TTL <= 2*t.TTL || p.Holder == "" {
			continue
		}
		for _, v := range t.Voices {
			if v.Reset || v.Port == p.Holder || !slices.Contains(t.Nodes, v.Port) || v.At.Before(p.At) || v.At.After(p.Until) || t.maySpeak(v.Port, v.At) {
				continue
			}
			all = append(all, Violation{"J5", v.At, v.At, fmt.Sprintf("HA was paused with the VIP on %s, and %s spoke as the VIP", p.Holder, v.Port)})
			break
		}
	}
	return all
}

// judgeProcesses is J6: the daemons themselves.
func judgeProcesses(t *Trace) []Violation {
	var all []Violation
	for _, x := range t.Exits {
		if strings.HasPrefix(x.Unit, "daemon ") {
			all = append(all, Violation{"J6", x.At, x.At, fmt.Sprintf("%s ended by itself:\n%s", x.Unit, x.Tail)})
		}
	}
	for _, f := range t.Found {
		all = append(all, Violation{"J6", f.At, f.At, f.Where + ": " + f.What})
	}
	return all
}
