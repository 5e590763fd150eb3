package vrrpcompat

import (
	"slices"
	"testing"
	"time"
)

// with is the configuration of the captures after an edit.
func with(edit func(c *Config)) Config {
	c := base()
	edit(&c)
	return c
}

// TestBackup is S1 to S7 and S16.
func TestBackup(t *testing.T) {
	noPreempt := with(func(c *Config) { c.NoPreempt = true })
	slow := with(func(c *Config) { c.Version, c.Interval = Version3, 2*time.Second })
	half := from("10.20.8.27", 200)
	half.Interval = 500 * ms
	for name, s := range map[string]scenario{
		"S1 silence": {
			cfg: base(), events: begin(), end: downA + 500*ms,
			want: started(came{downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"S2 a higher priority falls silent": {
			cfg: base(), events: begin(repeat(from("10.20.8.27", 200), 1*time.Second, 2*time.Second, 3*time.Second)...), end: 7 * time.Second,
			want: started(came{3*time.Second + downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"S3 the Active router leaves": {
			cfg: base(), events: begin(told{time.Second, from("10.20.8.27", 200)}, told{2 * time.Second, from("10.20.8.27", 0)}), end: 3 * time.Second,
			want: started(came{2*time.Second + skewA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"S4 it leaves, and a higher one takes over first": {
			cfg: base(), events: begin(told{time.Second, from("10.20.8.27", 0)}, told{1300 * ms, from("10.20.8.60", 200)}), end: 4 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"S5 a lower priority is Active": {
			cfg: base(), events: begin(repeat(from("10.20.8.27", 100), 0, time.Second, 2*time.Second, 3*time.Second)...), end: 4 * time.Second,
			want: started(came{downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"S6 the same, without preemption": {
			cfg: noPreempt, events: begin(repeat(from("10.20.8.27", 100), 0, time.Second, 2*time.Second, 3*time.Second)...), end: 6 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"without preemption, and the Active router leaves": {
			cfg: noPreempt, events: begin(told{time.Second, from("10.20.8.27", 100)}, told{2 * time.Second, from("10.20.8.27", 0)}), end: 3 * time.Second,
			want: started(came{2*time.Second + skewA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"S7 equal priority, lower address": {
			cfg: base(), events: begin(told{time.Second, from("10.20.8.27", 150)}), end: 5 * time.Second,
			want: started(came{time.Second + downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"S7 equal priority, higher address": {
			cfg: base(), events: begin(told{time.Second, from("10.20.8.60", 150)}), end: 4 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"S16 the Active router's interval is learned, and not kept": {
			cfg: slow, events: begin(repeat(half, time.Second, 1500*ms, 2*time.Second)...), end: 5800 * ms,
			want: started(
				came{time.Second, []Action{warn(WarnInterval)}},
				came{3500*ms + skewA/2, takeOver(150)},
				came{5500*ms + skewA/2, []Action{adv(150)}},
			), state: Active, cause: CauseSilence,
		},
		"an advert in the instant in which the timer ends": {
			cfg: base(), events: begin(told{downA, from("10.20.8.27", 200)}), end: 6 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
	} {
		t.Run(name, func(t *testing.T) { s.run(t) })
	}
}

// TestPriorityMovesTheTimer: a Backup's timer moves by the difference of the two
// skews, whatever it was set by.
func TestPriorityMovesTheTimer(t *testing.T) {
	for name, s := range map[string]scenario{
		"down": {
			cfg: base(), events: begin(told{time.Second, PriorityChanged{90}}), end: 4 * time.Second,
			want: started(came{3*time.Second + skew90, takeOver(90)}), state: Active, cause: CauseSilence,
		},
		"down and up again": {
			cfg: base(), events: begin(told{time.Second, PriorityChanged{90}}, told{2 * time.Second, PriorityChanged{150}}), end: 4 * time.Second,
			want: started(came{downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"while the skew after priority 0 runs": {
			cfg: base(), events: begin(told{time.Second, from("10.20.8.27", 0)}, told{1100 * ms, PriorityChanged{90}}), end: 2 * time.Second,
			want: started(came{time.Second + skew90, takeOver(90)}), state: Active, cause: CauseSilence,
		},
		"up, past the end of the timer": {
			cfg:    with(func(c *Config) { c.Priority = 1 }),
			events: begin(told{3900 * ms, PriorityChanged{254}}), end: 4 * time.Second,
			want: started(came{3*time.Second + 2*time.Second/256, takeOver(254)}), state: Active, cause: CauseSilence,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "up, past the end of the timer" { // it fires as soon as it is known
				m, got := play(t, router(s.cfg, hostA), s.events, s.end)
				if m.State() != Active || len(got) != 2 || !slices.Equal(got[1].do, takeOver(254)) {
					t.Errorf("it is %s and did%s", m.State(), show(got))
				}
				return
			}
			s.run(t)
		})
	}
	for base, weights := range map[uint8]map[int]uint8{
		150: {0: 150, -60: 90, -200: 1, 200: 254, -149: 1, 104: 254},
		255: {0: 255, -60: 255},
		1:   {-1: 1, 1: 2},
	} {
		for w, want := range weights {
			if got := EffectivePriority(base, w); got != want {
				t.Errorf("EffectivePriority(%d, %d) = %d, want %d", base, w, got, want)
			}
		}
	}
	m := router(with(func(c *Config) { c.Priority = 255 }), hostA)
	if m, _ = Step(m, at(0), PriorityChanged{90}); m.Priority() != 255 {
		t.Errorf("the owner's priority became %d", m.Priority())
	}
	m = router(base(), hostA)
	for said, want := range map[uint8]uint8{0: 1, 255: 254} {
		if m, _ = Step(m, at(0), PriorityChanged{said}); m.Priority() != want {
			t.Errorf("priority %d became %d, want %d", said, m.Priority(), want)
		}
	}
}

// TestPreemptDelay is S18: 3 s of it, and then the timer that the last accepted
// advert set, whenever in the interval of the Active router this one comes up.
func TestPreemptDelay(t *testing.T) {
	delayed := with(func(c *Config) { c.PreemptDelay = 3 * time.Second })
	for phase := time.Duration(0); phase < time.Second; phase += 50 * ms {
		var events []told
		for d := phase; d < 9*time.Second; d += time.Second {
			events = append(events, told{d, from("10.20.8.27", 100)})
		}
		m, got := play(t, router(delayed, hostA), begin(events...), 7500*ms)
		if m.State() != Active || got[1].at < 5400*ms || got[1].at > 7400*ms || !slices.Equal(got[1].do, takeOver(150)) {
			t.Errorf("phase %v: it is %s and did%s\nwant it Active after 5.4 s to 7.4 s", phase, m.State(), show(got[:min(2, len(got))]))
		}
	}
	t.Run("cancelled by a better advert", func(t *testing.T) {
		events := repeat(from("10.20.8.27", 100), 0, time.Second, 2*time.Second, 4*time.Second, 5*time.Second)
		events = slices.Insert(events, 3, told{2500 * ms, from("10.20.8.60", 200)})
		scenario{
			cfg: delayed, events: begin(events...), end: 8 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		}.run(t)
	})
}

// TestLearnedIntervalHasABound: an advert of 40 s makes a take-over of two
// minutes, unless the bound says otherwise.
func TestLearnedIntervalHasABound(t *testing.T) {
	slow := from("10.20.8.27", 200)
	slow.Interval = maxV3Interval
	for name, c := range map[string]struct {
		bound time.Duration
		want  time.Duration
		warn  Warning
	}{
		"none":       {0, 3*maxV3Interval + SkewTime(3, 150, maxV3Interval), WarnInterval},
		"5 s":        {5 * time.Second, 15*time.Second + 5*skewA, WarnIntervalBound},
		"as our own": {time.Second, downA, WarnIntervalBound},
	} {
		t.Run(name, func(t *testing.T) {
			m := router(with(func(cfg *Config) { cfg.Version, cfg.MaxInterval = Version3, c.bound }), hostA)
			m, _ = Step(m, at(0), Startup{})
			m, do := Step(m, at(time.Second), slow)
			if m.Wake() != at(time.Second+c.want) {
				t.Errorf("it waits %v, want %v", m.Wake().Sub(at(time.Second)), c.want)
			}
			if !slices.Equal(do, []Action{warn(c.warn)}) {
				t.Errorf("it did %v, want a warning", do)
			}
			if _, do = Step(m, at(2*time.Second), slow); len(do) != 0 {
				t.Errorf("it did %v for the second advert: that is told once", do)
			}
		})
	}
}
