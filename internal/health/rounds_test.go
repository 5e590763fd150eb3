package health

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
)

func TestVerdict(t *testing.T) {
	// In results: + success, - failure. In verdicts: ? not known, + OK, - not OK.
	for name, tc := range map[string]struct {
		fall, rise    int
		results, want string
	}{
		"first result good decides":           {3, 3, "+", "+"},
		"first result bad decides":            {3, 3, "-", "-"},
		"comes up with its first success":     {2, 3, "--+", "--+"},
		"fall in a row":                       {3, 1, "+---", "+++-"},
		"a success between starts over":       {3, 1, "+--+--+---", "+++++++++-"},
		"rise in a row":                       {1, 3, "+-+++", "+---+"},
		"a failure between starts over":       {1, 3, "+-++-+++", "+------+"},
		"fall after a slow rise starts anew":  {2, 2, "+--+-++-+--", "++----++++-"},
		"one of each":                         {1, 1, "+-+-+", "+-+-+"},
		"failing from the start, then rising": {1, 2, "--+-++", "--+--+"},
	} {
		t.Run(name, func(t *testing.T) {
			var v verdict
			got := ""
			for _, r := range tc.results {
				v = v.add(r == '+', tc.fall, tc.rise)
				switch {
				case !v.known:
					got += "?"
				case v.ok:
					got += "+"
				default:
					got += "-"
				}
			}
			if got != tc.want {
				t.Errorf("results %s with fall %d, rise %d: %s, want %s", tc.results, tc.fall, tc.rise, got, tc.want)
			}
		})
	}
}

func TestNextSlot(t *testing.T) {
	slot := time.Unix(1000, 0)
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		interval, timeout, took time.Duration
		timedOut                bool
		want                    time.Duration // after slot
	}{
		"quick round":                      {500 * ms, 1000 * ms, 1 * ms, false, 500 * ms},
		"ends as the next is due":          {500 * ms, 1000 * ms, 500 * ms, false, 500 * ms},
		"slow round skips a slot":          {500 * ms, 1000 * ms, 501 * ms, false, 1000 * ms},
		"suspended machine skips many":     {500 * ms, 1000 * ms, 61100 * ms, false, 61500 * ms},
		"timed out, room before the next":  {500 * ms, 200 * ms, 200 * ms, true, 500 * ms},
		"timed out over a slot: keeps it":  {500 * ms, 1000 * ms, 1000 * ms, true, 500 * ms},
		"timed out late: half is left":     {500 * ms, 1000 * ms, 1400 * ms, true, 650 * ms},
		"timed out on a suspended machine": {500 * ms, 1000 * ms, 61000 * ms, true, 60250 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			got := nextSlot(slot, slot.Add(tc.took), tc.interval, tc.timeout, tc.timedOut)
			if got.Sub(slot) != tc.want {
				t.Errorf("slot + %s, want slot + %s", got.Sub(slot), tc.want)
			}
		})
	}
}

// fakeProbe answers as it is told; told nothing, it hangs until the deadline.
type fakeProbe struct {
	answer  atomic.Pointer[error]
	rounds  atomic.Int32
	running atomic.Int32
}

func (p *fakeProbe) probe(ctx context.Context) (string, error) {
	p.rounds.Add(1)
	if p.running.Add(1) > 1 {
		panic("two rounds at once")
	}
	defer p.running.Add(-1)
	if err := p.answer.Load(); err != nil {
		return "fine", *err
	}
	<-ctx.Done()
	return "", errors.New("hangs")
}

func (*fakeProbe) close() {}

func fakeChecks(p prober, cfg Config) *Checks {
	cfg.Name = "fake"
	cfg.TCP = &TCP{}
	cfg = cfg.withDefaults()
	return &Checks{
		log: hclog.NewNullLogger(), changed: make(chan struct{}, 1),
		checks: []*check{{cfg: cfg, probe: p, wake: make(chan struct{}, 1), result: Result{Name: "fake"}}},
	}
}

// A service that hangs is noticed fall × interval + timeout after its last
// success, to the nanosecond, whichever of interval and timeout is longer.
func TestHangIsNoticedInTime(t *testing.T) {
	for _, cfg := range []Config{
		{Interval: 500 * time.Millisecond, Timeout: time.Second, Fall: 2, Rise: 2},
		{Interval: 500 * time.Millisecond, Timeout: 200 * time.Millisecond, Fall: 3, Rise: 2},
		{Interval: 100 * time.Millisecond, Timeout: time.Second, Fall: 5, Rise: 1},
		{Interval: time.Second, Timeout: time.Second, Fall: 1, Rise: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &fakeProbe{}
			p.answer.Store(new(error))
			c := fakeChecks(p, cfg)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			<-c.Changed()
			begin := time.Now() // the moment of the first round, which took no time
			if s := c.State(); !s.Healthy {
				t.Fatalf("%+v", s)
			}
			synctest.Wait()
			p.answer.Store(nil)
			for c.State().Healthy {
				<-c.Changed()
			}
			if got, want := time.Since(begin), time.Duration(cfg.Fall)*cfg.Interval+cfg.Timeout; got != want {
				t.Errorf("%+v: noticed after %s, want %s", cfg, got, want)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := errors.New("sick")
		p := &fakeProbe{}
		p.answer.Store(new(error))
		c := fakeChecks(p, Config{Interval: 10 * time.Second, Timeout: 5 * time.Second, Fall: 3, Rise: 3})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if s := c.State(); !s.Healthy {
			t.Fatalf("%+v", s)
		}
		p.answer.Store(&sick)
		begin := time.Now()
		c.Restart()
		if s := c.State(); s.Known || s.Healthy || s.Why != "fake: not checked yet" {
			t.Errorf("after Restart: %+v", s)
		}
		synctest.Wait()
		if s := c.State(); !s.Known || s.Healthy || s.Why != "fake: sick" {
			t.Errorf("one round later: %+v; want the start rule, one failure decides", s)
		}
		if p.rounds.Load() != 2 || time.Since(begin) != 0 {
			t.Errorf("%d rounds after %s, want the second at once", p.rounds.Load(), time.Since(begin))
		}

		// A round under way when Restart is called does not count.
		p.answer.Store(nil)
		time.Sleep(10 * time.Second) // virtual
		synctest.Wait()              // the round hangs now
		c.Restart()
		p.answer.Store(new(error))
		time.Sleep(5*time.Second - 1)
		synctest.Wait()
		if s := c.State(); s.Known {
			t.Errorf("known by a round from before: %+v", s)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s := c.State(); !s.Healthy {
			t.Errorf("%+v; want the round asked for to have run at once", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDetailWhileUndecided(t *testing.T) {
	c := fakeChecks(&fakeProbe{}, Config{Fall: 2, Rise: 2})
	ck := c.checks[0]
	step := func(ok bool, detail, want string, changed bool) {
		t.Helper()
		c.report(ck, outcome{ok: ok, detail: detail})
		if got := c.State().Results[0].Detail; got != want {
			t.Errorf("detail %q, want %q", got, want)
		}
		select {
		case <-c.Changed():
			if !changed {
				t.Error("Changed, and nothing changed")
			}
		default:
			if changed {
				t.Error("no Changed")
			}
		}
	}
	step(true, "fine", "fine", true)
	step(true, "fine", "fine", false)
	step(false, "broken", "broken (failure 1 of 2)", true)
	step(false, "broken", "broken", true)
	step(true, "fine", "broken (good again 1 of 2 times)", true)
	step(true, "fine", "fine", true)
	if s := c.State(); s.Why != "all checks OK" || !s.Healthy {
		t.Errorf("%+v", s)
	}
}

func TestStateWhy(t *testing.T) {
	c, err := New(nil, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	if s := c.State(); !s.Known || !s.Healthy || s.Why != "no checks" {
		t.Errorf("no checks: %+v", s)
	}
	c, err = New([]Config{{Name: "a", TCP: &TCP{"127.0.0.1:1"}}, {Name: "b", TCP: &TCP{"127.0.0.1:1"}}}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		check          int
		ok             bool
		why            string
		known, healthy bool
	}{
		{1, true, "a: not checked yet", false, false},
		{1, false, "a: not checked yet", false, false}, // fall is 2
		{1, false, "b: d", false, false},
		{0, true, "b: d", true, false},
	} {
		c.report(c.checks[tc.check], outcome{ok: tc.ok, detail: "d"})
		if s := c.State(); s.Why != tc.why || s.Known != tc.known || s.Healthy != tc.healthy {
			t.Errorf("%+v, want %+v", s, tc)
		}
	}
}

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":             "plain",
		"two\nlines\t x \n": "two lines  x",
		"\x1b[31mred\x00":   "?[31mred?",
		"\xff\xfe":          "��",
		"ünï":               "ünï",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
	for pad := range 4 {
		long := oneLine(strings.Repeat("x", pad) + strings.Repeat("€", 1000))
		if len(long) > maxDetail || !utf8.ValidString(long) || !strings.HasSuffix(long, "€…") {
			t.Errorf("%d bytes: …%q", len(long), long[max(0, len(long)-12):])
		}
	}
}
