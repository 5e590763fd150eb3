package interop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"leasehold/internal/chaos"
	"leasehold/internal/lab"
)

// judge returns what was not as it must be.
func (w Want) judge(s Seen, t Trial) []string {
	var wrong []string
	fail := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !t.Alone {
		known := w.known(s)
		if n := s.Twice(known); n > 0 {
			fail("%d questions for the VIP were answered by two", n)
		}
		spoke := slices.DeleteFunc(slices.Clone(s.Voices), func(v chaos.Violation) bool { return v.From.Before(known) })
		if len(spoke) > 0 {
			fail("%s, the first of %d such", spoke[0].What, len(spoke))
		}
	}
	if w.Path != "" && s.Path() != w.Path {
		fail("answered by %s, want %s", s.Path(), w.Path)
	}
	if w.Path != "" && s.Outage > w.Gap {
		fail("%v without service, want at most %v", s.Outage.Round(time.Millisecond), w.Gap)
	}
	for _, host := range slices.Sorted(maps.Keys(w.State)) {
		if s.State[host] != w.State[host] {
			fail("%s says %s, want %s", host, s.State[host], w.State[host])
		}
	}
	for _, host := range w.Silent {
		if n := spoke(s.Adverts, host); n > 0 {
			fail("%s sent %d adverts as an Active router", host, n)
		}
	}
	if longest := silence(s.Adverts, s.From, s.To); w.Adverts > 0 && longest > w.Adverts {
		fail("no advert for %v, want one in %v", longest.Round(time.Millisecond), w.Adverts)
	}
	for _, host := range slices.Sorted(maps.Keys(w.Status)) {
		for _, word := range w.Status[host] {
			if !strings.Contains(strings.Join(strings.Fields(s.Status[host]), " "), word) {
				fail("status on %s does not say %q:\n%s", host, word, s.Status[host])
			}
		}
	}
	if w.Keeps && s.Broke {
		fail("the TCP connection broke")
	}
	return wrong
}

// known is from when on ours can know that keepalived has the VIP: two must not
// answer from then on.
func (w Want) known(s Seen) time.Time {
	for _, c := range s.Claims {
		if c.Port == w.Blind {
			return c.At
		}
	}
	return s.From
}

// Twice counts the questions, from a moment on, that more than one answered.
func (s Seen) Twice(from time.Time) int {
	n := 0
	for _, a := range s.Asked {
		if a.Dual() && !a.Asked.Before(from) {
			n++
		}
	}
	return n
}

// spoke counts the adverts of a host as an Active router.
func spoke(adverts []lab.Advert, host string) int {
	n := 0
	for _, a := range adverts {
		if a.Port == host && a.Priority > 0 {
			n++
		}
	}
	return n
}

// silence is the longest time between two moments in which no Active router sent
// an advert.
func silence(adverts []lab.Advert, from, to time.Time) time.Duration {
	longest, last := time.Duration(0), from
	for _, a := range adverts {
		if a.Priority == 0 || a.At.Before(from) || a.At.After(to) {
			continue
		}
		longest, last = max(longest, a.At.Sub(last)), a.At
	}
	return max(longest, to.Sub(last))
}
