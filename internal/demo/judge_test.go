package demo

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"leasehold/internal/lab"
)

// seen is a report of a second in which some hosts answered, one after the other.
func seen(gap time.Duration, lost int, by ...string) lab.Report {
	from := time.Unix(1000, 0)
	r := lab.Report{From: from, To: from.Add(time.Second), Sent: 500, Lost: lost, Gap: lab.Gap{From: from, To: from.Add(gap)}}
	for _, host := range by {
		r.Moves = append(r.Moves, lab.Move{To: host})
	}
	return r
}

func TestJudge(t *testing.T) {
	const limit = 100 * time.Millisecond
	dual := seen(0, 0, hostA)
	dual.Duals = []lab.ARPAnswer{{}}
	overlap := seen(0, 0, hostA)
	overlap.Overlaps = []lab.Overlap{{From: overlap.From, To: overlap.To}}
	open := seen(50*time.Millisecond, 25, hostA, hostB)
	open.Gap.Open = true
	for name, c := range map[string]struct {
		must   verdict
		report lab.Report
		want   string // in the error; empty: it holds
	}{
		"stays":                        {stays, seen(0, 0, hostA), ""},
		"stays, one probe lost":        {stays, seen(4*time.Millisecond, 1, hostA), "1 probes lost"},
		"stays, but moved":             {stays, seen(0, 0, hostA, hostB), "want db20-024 alone"},
		"stays, nobody answers":        {stays, seen(0, 500), "want db20-024 alone"},
		"stays, another held before":   {stays, seen(0, 0, hostB), "want db20-024 alone"},
		"moves":                        {moves(limit), seen(limit, 50, hostA, hostB), ""},
		"moves, late":                  {moves(limit), seen(limit+time.Millisecond, 51, hostA, hostB), "101 ms without service"},
		"moves, the machine was held":  {moves(limit), seen(2*limit, 3, hostA, hostB), ""},
		"moves and back":               {moves(limit), seen(0, 0, hostA, hostB, hostA), "then db20-025"},
		"moves, but stayed":            {moves(limit), seen(0, 0, hostA), "then db20-025"},
		"moves, and then nobody":       {moves(limit), open, "without service"},
		"two answer":                   {stays, dual, "answered by two hosts"},
		"two kernels have it":          {stays, overlap, "two kernels"},
		"two answer while it moves":    {moves(limit), dual, "answered by two hosts"},
		"quiet":                        {func(r lab.Report, _ string) error { return quiet(r) }, seen(0, 0, hostB), ""},
		"not quiet between the faults": {func(r lab.Report, _ string) error { return quiet(r) }, seen(9*time.Millisecond, 4, hostB), "4 of 500"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.must(c.report, hostA)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("judged %v; want %q", err, c.want)
			}
		})
	}
}

// Every step can be told, in 80 columns, and has a fault, a verdict and a limit
// that follows from the ttl.
func TestSteps(t *testing.T) {
	for _, ttl := range []time.Duration{fencedTTL, unfencedTTL} {
		ids := map[string]bool{}
		for _, s := range append(steps(ttl), starting()) {
			s = s.named(&scene{network: &network{}, holder: hostA, standby: hostB})
			if ids[s.ID] {
				t.Errorf("two steps are called %s", s.ID)
			}
			ids[s.ID] = true
			if s.ID != "start" && (s.run == nil || s.holds == nil) {
				t.Errorf("%s does nothing, or holds nothing", s.ID)
			}
			for what, text := range map[string][2]string{
				"fault": {s.Fault, strings.Repeat(" ", 72)}, "short": {s.Short, strings.Repeat(" ", 25)},
				"noted": {s.Noted, strings.Repeat(" ", 58)}, "must": {s.Must, strings.Repeat(" ", 14)}, "id": {s.ID, strings.Repeat(" ", 5)},
			} {
				if text[0] == "" || len(text[0]) > len(text[1]) {
					t.Errorf("%s: %s %q has %d cells, want 1 to %d", s.ID, what, text[0], len(text[0]), len(text[1]))
				}
			}
		}
	}
	if got := hardLimit(2 * time.Second); got != 2500*time.Millisecond {
		t.Errorf("hardLimit(2s) = %v, want 2.5s", got)
	}
}

func TestMemAvailable(t *testing.T) {
	const kernel = "MemTotal:       24683620 kB\nMemFree:  1 kB\nMemAvailable:   614400 kB\n"
	if got, err := memAvailable(kernel); err != nil || got != memory {
		t.Errorf("memAvailable(%q) = %d, %v; want %d", kernel, got, err, memory)
	}
	for _, text := range []string{"", "MemAvailable: much\n"} {
		if got, err := memAvailable(text); err == nil {
			t.Errorf("memAvailable(%q) = %d, want an error", text, got)
		}
	}
}

func TestNodeBack(t *testing.T) {
	killed := exec.CommandContext(t.Context(), "sh", "-c", "kill -9 $$").Run()
	stopped := exec.CommandContext(t.Context(), "sh", "-c", "exit 1").Run()
	for name, c := range map[string]struct {
		ended error
		want  time.Duration
	}{
		"killed": {killed, afterCrash}, "failed": {stopped, afterStop}, "stopped": {nil, afterStop}, "not waited for": {errors.New("x"), afterStop},
	} {
		if got := nodeBack(c.ended); got != c.want {
			t.Errorf("%s: back after %v, want %v", name, got, c.want)
		}
	}
}
