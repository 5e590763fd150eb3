package interop

import (
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/internal/chaos"
	"leasehold/internal/lab"
)

// at returns a moment n milliseconds after an arbitrary beginning.
func at(n int) time.Time { return time.Unix(1000, 0).Add(time.Duration(n) * time.Millisecond) }

// moved is what was seen of a VIP that went from k to a, with 100 ms without
// service, in 10 s.
func moved() Seen {
	return Seen{
		Report: lab.Report{
			From: at(0), To: at(10000), Sent: 5000, Lost: 50,
			Outage: 100 * time.Millisecond,
			Moves:  []lab.Move{{At: at(0), To: K}, {At: at(1100), To: A}},
		},
		Asked:   []lab.ARPAnswer{{Asked: at(900), By: []lab.Claimant{{Host: K}}}, {Asked: at(1200), By: []lab.Claimant{{Host: A}}}},
		Adverts: []lab.Advert{{At: at(100), Port: K, Priority: 100}, {At: at(1000), Port: K}, {At: at(1100), Port: A, Priority: 150}, {At: at(9900), Port: A, Priority: 150}},
		State:   says(K, "BACKUP", A, "Active"),
		Status:  map[string]string{A: "+ Service: mysql\n  vrrp  Active"},
	}
}

// claims are an announcement of a, and one of k.
func claims(n int) []lab.ARPFrame { return []lab.ARPFrame{{At: at(1), Port: A}, {At: at(n), Port: K}} }

func TestJudge(t *testing.T) {
	two := lab.ARPAnswer{Asked: at(1000), By: []lab.Claimant{{Host: K}, {Host: A}}}
	good := Want{Path: "k → a", Gap: 100 * time.Millisecond, State: says(K, "BACKUP", A, "Active"), Status: map[string][]string{A: {"vrrp"}}, Keeps: true}
	for name, c := range map[string]struct {
		edit func(*Want, *Seen, *Trial)
		want string // in what is wrong; empty: nothing is
	}{
		"as it must be":             {func(*Want, *Seen, *Trial) {}, ""},
		"two answered":              {func(_ *Want, s *Seen, _ *Trial) { s.Asked = append(s.Asked, two) }, "1 questions for the VIP were answered by two"},
		"two keepaliveds answered":  {func(_ *Want, s *Seen, t *Trial) { s.Asked, t.Alone = append(s.Asked, two), true }, ""},
		"two answered, unheard":     {func(w *Want, s *Seen, _ *Trial) { w.Blind, s.Asked, s.Claims = K, append(s.Asked, two), claims(1001) }, ""},
		"and went on":               {func(w *Want, s *Seen, _ *Trial) { w.Blind, s.Asked, s.Claims = K, append(s.Asked, two), claims(999) }, "1 questions for the VIP"},
		"unheard, and says nothing": {func(w *Want, s *Seen, _ *Trial) { w.Blind, s.Asked = K, append(s.Asked, two) }, "1 questions for the VIP"},
		"two spoke, unheard": {func(w *Want, s *Seen, _ *Trial) {
			w.Blind, s.Voices, s.Claims = K, []chaos.Violation{{From: at(1000), To: at(1002)}}, claims(1001)
		}, ""},
		"two spoke in turn": {func(_ *Want, s *Seen, _ *Trial) {
			s.Voices = []chaos.Violation{{From: at(1000), What: "a spoke after k"}}
		}, "a spoke after k"},
		"another way":                {func(w *Want, _ *Seen, _ *Trial) { w.Path = "k" }, "answered by k → a, want k"},
		"too late":                   {func(w *Want, _ *Seen, _ *Trial) { w.Gap = 99 * time.Millisecond }, "100ms without service, want at most 99ms"},
		"another state":              {func(_ *Want, s *Seen, _ *Trial) { s.State[K] = "MASTER" }, "k says MASTER, want BACKUP"},
		"k spoke":                    {func(w *Want, _ *Seen, _ *Trial) { w.Silent = []string{K} }, "k sent 1 adverts as an Active router"},
		"b was silent":               {func(w *Want, _ *Seen, _ *Trial) { w.Silent = []string{B} }, ""},
		"a long time without any":    {func(w *Want, _ *Seen, _ *Trial) { w.Adverts = 3 * time.Second }, "no advert for 8.8s, want one in 3s"},
		"not so long":                {func(w *Want, _ *Seen, _ *Trial) { w.Adverts = 9 * time.Second }, ""},
		"status does not say it":     {func(_ *Want, s *Seen, _ *Trial) { s.Status[A] = "" }, `status on a does not say "vrrp"`},
		"the connection broke":       {func(_ *Want, s *Seen, _ *Trial) { s.Broke = true }, "the TCP connection broke"},
		"and was not to be kept":     {func(w *Want, s *Seen, _ *Trial) { w.Keeps, s.Broke = false, true }, ""},
		"nothing is asked of path":   {func(w *Want, _ *Seen, _ *Trial) { w.Path, w.Gap = "", 0 }, ""},
		"two things at once are two": {func(w *Want, s *Seen, _ *Trial) { w.Path, s.Broke = "a", true }, "answered by k → a, want a\nthe TCP connection broke"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, trial := good, moved(), Trial{}
			c.edit(&w, &s, &trial)
			got := strings.Join(w.judge(s, trial), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("judge said %q, want %q", got, c.want)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	adv := func(n int, priority uint8) lab.Advert { return lab.Advert{At: at(n), Priority: priority} }
	for name, c := range map[string]struct {
		adverts []lab.Advert
		want    time.Duration
	}{
		"nobody":                  {nil, 5 * time.Second},
		"in the middle":           {[]lab.Advert{adv(1000, 100), adv(4000, 100)}, 3 * time.Second},
		"at the beginning":        {[]lab.Advert{adv(3500, 100)}, 3500 * time.Millisecond},
		"at the end":              {[]lab.Advert{adv(500, 100)}, 4500 * time.Millisecond},
		"leaving is not speaking": {[]lab.Advert{adv(1000, 100), adv(2000, 0), adv(4000, 100)}, 3 * time.Second},
		"before and after":        {[]lab.Advert{adv(-100, 100), adv(2500, 100), adv(6000, 100)}, 2500 * time.Millisecond},
	} {
		if got := silence(c.adverts, at(0), at(5000)); got != c.want {
			t.Errorf("%s: silence of %v, want %v", name, got, c.want)
		}
	}
}

func TestStateOf(t *testing.T) {
	const line = "Sun Nov 29 18:00:00 2026: "
	log := line + "Starting VRRP child process, pid=7\n" + line + "(VI_1) Entering BACKUP STATE (init)\n"
	for name, c := range map[string]struct{ log, want string }{
		"empty":         {"", "INIT"},
		"first":         {log, "BACKUP"},
		"promoted":      {log + line + "(VI_1) Entering MASTER STATE\n", "MASTER"},
		"broken":        {log + line + "(VI_1) Entering MASTER STATE\n" + line + "(VI_1) Entering FAULT STATE\n", "FAULT"},
		"started again": {log + line + "(VI_1) Entering MASTER STATE\n" + line + "Starting VRRP child process, pid=8\n", "INIT"},
	} {
		if got := stateOf(c.log); got != c.want {
			t.Errorf("%s: stateOf = %q, want %q", name, got, c.want)
		}
	}
}

// A table has a line for each step, and says what failed.
func TestPrint(t *testing.T) {
	well := Line{Step: Step{What: "a joins"}, Seen: moved()}
	ill := Line{Step: Step{What: "a stopped"}, Seen: moved(), Wrong: []string{"k says MASTER, want BACKUP"}}
	dual := Line{Step: Step{What: "VRRP cut"}, Seen: moved()}
	dual.Seen.Asked = append(dual.Seen.Asked, lab.ARPAnswer{Asked: at(5), By: []lab.Claimant{{Host: K}, {Host: L}}})
	kept := Line{Step: Step{What: "keepalived on b stopped"}, Seen: moved()}
	kept.Seen.Outage = 0
	unheard := Line{Step: Step{What: "unheard", Want: Want{Blind: K}}, Seen: moved()}
	unheard.Seen.Asked = append(unheard.Seen.Asked, lab.ARPAnswer{Asked: at(990), By: []lab.Claimant{{Host: K}, {Host: A}}})
	unheard.Seen.Claims = claims(1000)
	r := &Result{Took: 61 * time.Second, Trials: []Outcome{
		{Trial: Trial{Name: "v2"}, Lines: []Line{well, ill, unheard}, Timeline: "what happened"},
		{Trial: Trial{Name: "two", Alone: true}, Lines: []Line{dual}},
		{Trial: Trial{Name: "there", Session: true}, Lines: []Line{kept}},
	}}
	var b strings.Builder
	r.Print(&b)
	lines := strings.Split(b.String(), "\n")
	for _, want := range [][]string{
		{"v2", "a joins", "k → a", "100ms", "0 of 2", "a Active, k BACKUP", "ok"},
		{"a stopped", "FAIL: k says MASTER"},
		{"two", "VRRP cut", "100ms", "1 of 3"},
		{"there", "keepalived on b stopped", "k → a", " 0 ", "kept", "ok"},
		{"5 rows in 1m1s, 1 failed", "0 of 9 questions"},
		{"and 1 while keepalived took the VIP unheard"},
		{"what happened"},
	} {
		ok := slices.ContainsFunc(lines, func(l string) bool {
			return !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(l, w) })
		})
		if !ok {
			t.Errorf("no line has all of %q:\n%s", want, b.String())
		}
	}
	if err := r.Err(); err == nil || err.Error() != "v2: a stopped: k says MASTER, want BACKUP" {
		t.Errorf("Err = %v", err)
	}
}
