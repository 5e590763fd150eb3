package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// Usage is what a daemon had open at the end of a round.
type Usage struct {
	At      time.Time
	Unit    string
	PID     int
	Files   int
	Threads int
}

const (
	// allowance is how much a daemon may have grown between two rounds, beyond
	// what a connection or two to etcd take.
	allowance = 24
	// settleTime is how long the daemons have to stop in order.
	settleTime = 10 * time.Second
)

// measure notes what the daemons have open.
func (w *world) measure() {
	for _, h := range w.nodes {
		u := w.units["daemon "+h]
		pid := u.process().Pid()
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		threads, terr := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if errors.Join(err, terr) != nil {
			continue // it has just ended, which is noted elsewhere
		}
		w.usage = append(w.usage, Usage{time.Now(), u.name, pid, len(files), len(threads)})
	}
}

// grown compares what each process had open at first and at last.
func grown(all []Usage) []Finding {
	var found []Finding
	first := map[int]Usage{}
	for _, u := range all {
		f, ok := first[u.PID]
		if !ok {
			first[u.PID] = u
			continue
		}
		if u.Files > f.Files+allowance || u.Threads > f.Threads+allowance {
			found = append(found, Finding{u.At, u.Unit, fmt.Sprintf("had %d files and %d threads, and has %d and %d", f.Files, f.Threads, u.Files, u.Threads)})
			delete(first, u.PID)
		}
	}
	return found
}

// collect stops the daemons and takes down what was seen.
func (w *world) collect(ctx context.Context, t *Trace) {
	t.End = time.Now()
	t.Pages = w.ledger.all()
	t.Found = append(grown(w.usage), w.stopAll(ctx)...)
	w.mu.Lock()
	for _, e := range w.journal {
		t.Events = append(t.Events, *e)
	}
	t.Exits = w.exits
	w.mu.Unlock()
	_, err := w.obs.Stop()
	if err = errors.Join(err, w.voices.Stop()); err != nil {
		t.Found = append(t.Found, Finding{t.End, "observer", "it may have missed something: " + err.Error()})
	}
	if t.Ajar, t.Looks, err = w.gates.seen(); err != nil {
		t.Found = append(t.Found, Finding{t.End, "observer", "a fence could not be read: " + err.Error()})
	}
	for _, p := range w.obs.Prober.Probes() {
		// What was sent last may have an answer under way.
		if p.Sent.After(t.Start) && p.Sent.Before(t.End.Add(-50*time.Millisecond)) {
			t.Probes = append(t.Probes, p)
		}
	}
	t.Voices = w.voices.Since(0)
	t.Asked = lab.ARPAnswers(w.obs.Wire.Frames(), w.VIP.Addr())
	t.Held = w.obs.Kernel.Intervals()
	for _, h := range w.nodes {
		text, err := os.ReadFile(w.units["daemon "+h].process().Log)
		if err != nil {
			t.Found = append(t.Found, Finding{t.End, "daemon " + h, err.Error()})
		}
		t.Found = append(t.Found, search("daemon "+h, string(text))...)
	}
}

// stopAll ends the daemons as an operator does, and looks for what they leave.
func (w *world) stopAll(ctx context.Context) []Finding {
	var found []Finding
	note := func(where, what string) { found = append(found, Finding{time.Now(), where, what}) }
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for _, h := range w.nodes {
		u := w.units["daemon "+h]
		if err := u.fall(func(p *lab.Process) error { return p.Stop(ctx) }); err != nil {
			note(u.name, "it does not stop: "+err.Error())
		}
	}
	if err := w.WaitHeld(ctx, settleTime); err != nil {
		note("kernels", "the VIP is left behind: "+err.Error())
	}
	for _, h := range w.nodes {
		routes, err := w.Routes(ctx, h)
		if text := strings.Join(routes, "\n"); err != nil || strings.Contains(text, w.VIP.Addr().String()) || strings.Contains(text, "10.0.0.0/8") {
			note("routes of "+h, fmt.Sprintf("left behind (%v):\n%s", err, text))
		}
		entries, err := filepath.Glob(filepath.Join(w.RunDir(h), "*.tmp*"))
		if err != nil || len(entries) > 0 {
			note("run directory of "+h, fmt.Sprintf("left behind: %v %v", entries, err))
		}
	}
	return found
}

// search returns what must not be in a daemon's log.
func search(where, text string) []Finding {
	var found []Finding
	for line := range strings.Lines(text) {
		for _, bad := range []string{"panic:", "fatal error:", "DATA RACE", "runtime error"} {
			if strings.Contains(line, bad) {
				found = append(found, Finding{stamp(line), where, strings.TrimSpace(line)})
			}
		}
	}
	return found
}

var stampForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d{4})`)

// stamp returns the time at the beginning of a line of a daemon's log, or the
// zero Time.
func stamp(line string) time.Time {
	at, err := time.Parse("2006-01-02T15:04:05.000Z0700", stampForm.FindString(line))
	if err != nil {
		return time.Time{}
	}
	return at
}

// cutStamp returns the time at the beginning of a line, and the rest of it;
// without one the zero Time. keepalived tells seconds: its lines are in the middle
// of theirs.
func cutStamp(line string) (time.Time, string) {
	const theirs = "Mon Jan _2 15:04:05 2006"
	if at := stamp(line); !at.IsZero() {
		_, rest, _ := strings.Cut(line, " ")
		return at, rest
	}
	if len(line) > len(theirs) {
		if at, err := time.ParseInLocation(theirs, line[:len(theirs)], time.Local); err == nil {
			return at.Add(time.Second / 2), line[len(theirs)+1:]
		}
	}
	return time.Time{}, line
}
