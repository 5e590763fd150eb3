package sim

import (
	"fmt"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Totals is what came of many worlds.
type Totals struct {
	Worlds   uint64
	Events   uint64
	Time     time.Duration // in the worlds
	Took     time.Duration // here
	Coverage *Coverage
	Failed   []Result // by seed; no timelines
}

// RunMany lets n worlds live, of the seeds from o.Seed on, some at a time, until
// so many have failed.
func RunMany(o Options, n uint64, workers, failures int) Totals {
	var (
		t    = Totals{Coverage: NewCoverage()}
		mu   sync.Mutex
		wg   sync.WaitGroup
		next atomic.Uint64
		bad  atomic.Int64
	)
	begin := time.Now()
	for range max(1, workers) {
		wg.Go(func() {
			cov := NewCoverage()
			var mine Totals
			for bad.Load() < int64(failures) {
				i := next.Add(1) - 1
				if i >= n {
					break
				}
				one := o
				one.Seed += i
				r := Run(one, cov)
				mine.Worlds++
				mine.Events += r.Events
				mine.Time += r.Time
				if r.Bad != "" {
					bad.Add(1)
					mine.Failed = append(mine.Failed, r)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			t.Worlds += mine.Worlds
			t.Events += mine.Events
			t.Time += mine.Time
			t.Failed = append(t.Failed, mine.Failed...)
			t.Coverage.Add(cov)
		})
	}
	wg.Wait()
	t.Took = time.Since(begin)
	sort.Slice(t.Failed, func(i, j int) bool { return t.Failed[i].Options.Seed < t.Failed[j].Options.Seed })
	return t
}

// enough is how many worlds it takes for everything to have happened.
const enough = 2000

// Missing names what never happened although there was time enough.
func (t Totals) Missing() []string {
	if t.Worlds < enough {
		return nil
	}
	return t.Coverage.Missing()
}

// Report says it in words, with every counter where wanted.
func (t Totals) Report(counters bool) string {
	var b strings.Builder
	if counters {
		b.WriteString(t.Coverage.String())
	}
	fmt.Fprintf(&b, "%d worlds, %.1f simulated hours in %.1f s: %.1f hours a second, %.2f million events, %.0f ns each\n",
		t.Worlds, t.Time.Hours(), t.Took.Seconds(), t.Time.Hours()/t.Took.Seconds(), float64(t.Events)/1e6, float64(t.Took)/float64(max(1, t.Events)))
	if missing := t.Missing(); len(missing) > 0 {
		fmt.Fprintf(&b, "never happened: %s\n", strings.Join(missing, "; "))
	}
	for _, r := range t.Failed {
		fmt.Fprintf(&b, "FAILED seed %d: %s\n", r.Options.Seed, r.Bad)
	}
	return b.String()
}
