package vrrpcompat

import (
	"slices"
	"testing"
	"time"
)

// active is a scenario that begins with the take-over at downA.
func active(cfg Config, events []told, end time.Duration, state State, cause Cause, want ...came) scenario {
	return scenario{
		cfg: cfg, events: begin(events...), end: end, state: state, cause: cause,
		want: started(append([]came{{downA, takeOver(150)}}, want...)...),
	}
}

// TestActive is S8 to S11 and S15.
func TestActive(t *testing.T) {
	const now = 4 * time.Second
	quiet := with(func(c *Config) { c.LowerPrioNoAdvert = true })
	loud := with(func(c *Config) { c.HigherPrioSendAdvert = true })
	for name, s := range map[string]scenario{
		"adverts at the interval": active(base(), nil, downA+2500*ms, Active, CauseSilence,
			came{downA + time.Second, []Action{adv(150)}}, came{downA + 2*time.Second, []Action{adv(150)}}),
		"S8 a higher priority": active(base(), repeat(from("10.20.8.27", 200), now), 5*time.Second, Backup, CauseBetter,
			came{now, []Action{remove}}),
		"S9 equal priority, higher address": active(base(), repeat(from("10.20.8.60", 150), now), 5*time.Second, Backup, CauseBetter,
			came{now, []Action{remove}}),
		"S9 equal priority, lower address": active(base(), repeat(from("10.20.8.27", 150), now), 4500*ms, Active, CauseSilence,
			came{now, []Action{answer(150), announce}}),
		"equal priority, our own address": active(base(), repeat(from("10.20.8.50", 150), now), 4300*ms, Active, CauseSilence,
			came{now, []Action{warn(WarnSameSource)}}),
		"S10 a lower priority, each time": active(base(), repeat(from("10.20.8.27", 100), now, now+200*ms), 5300*ms, Active, CauseSilence,
			came{now, []Action{answer(150), announce}}, came{now + 200*ms, []Action{answer(150), announce}}, came{now + 1200*ms, []Action{adv(150)}}),
		"a lower priority that is not answered": active(quiet, repeat(from("10.20.8.27", 100), now), 4500*ms, Active, CauseSilence,
			came{now, []Action{announce}}, came{downA + time.Second, []Action{adv(150)}}),
		"a higher priority that is answered": active(loud, repeat(from("10.20.8.27", 200), now), 4500*ms, Backup, CauseBetter,
			came{now, []Action{remove, adv(150)}}),
		"S11 somebody else leaves": active(base(), repeat(from("10.20.8.27", 0), now), 5100*ms, Active, CauseSilence,
			came{now, []Action{adv(150)}}, came{now + time.Second, []Action{adv(150)}}),
		"S15 a lower priority of its own": active(base(), []told{{now, PriorityChanged{90}}}, 4500*ms, Active, CauseSilence,
			came{downA + time.Second, []Action{adv(90)}}),
		"an event that changes nothing": active(base(), []told{{now, Startup{}}, {now, TenureGained{}}, {now, TenureGained{Succeeds: true}}, {now, Tick{}}}, 4400*ms, Active, CauseSilence),
	} {
		t.Run(name, func(t *testing.T) { s.run(t) })
	}
}

// TestRejectedPacketsChangeNothing is S12: keepalived's master puts off its own
// advert for each, and falls silent when they come often enough.
func TestRejectedPacketsChangeNothing(t *testing.T) {
	codec := newCodec(t, base(), hostA)
	bad := say(t, with(func(c *Config) { c.Interval = 2 * time.Second }), hostB, 200)
	var events []told
	for d := downA; d < 10*time.Second; d += 500 * ms {
		if a, why := codec.ParseAdvert(bad); why == Accepted {
			events = append(events, told{d, Heard{Source: a.Source, Priority: a.Priority, Interval: a.Interval}})
		}
	}
	want := []came{}
	for d := downA + time.Second; d <= 10*time.Second; d += time.Second {
		want = append(want, came{d, []Action{adv(150)}})
	}
	active(base(), events, 10*time.Second, Active, CauseSilence, want...).run(t)
}

// TestLeaving is S13 and S14.
func TestLeaving(t *testing.T) {
	const now = 4 * time.Second
	for name, s := range map[string]scenario{
		"S13 Active": active(base(), []told{{now, Shutdown{}}}, 6*time.Second, Initialize, CauseShutdown,
			came{now, []Action{remove, adv(0)}}),
		"Active, and one of ours takes over": active(base(), []told{{now, Shutdown{Successor: true}}}, 6*time.Second, Initialize, CauseShutdown,
			came{now, []Action{remove}}),
		"S13 Backup": {
			cfg: base(), events: begin(told{time.Second, Shutdown{}}, told{2 * time.Second, Shutdown{}}), end: 6 * time.Second,
			want: started(), state: Initialize, cause: CauseShutdown,
		},
		"S14 ill, deaf while it lasts, and well again": active(base(),
			[]told{{now, Shutdown{}}, {5 * time.Second, from("10.20.8.27", 100)}, {6 * time.Second, from("10.20.8.27", 0)}, {7 * time.Second, Startup{}}},
			7*time.Second+downA, Active, CauseSilence,
			came{now, []Action{remove, adv(0)}}, came{7 * time.Second, []Action{remove}}),
	} {
		t.Run(name, func(t *testing.T) {
			if name[:3] == "S14" {
				s.end += ms
				s.want = append(s.want, came{7*time.Second + downA, takeOver(150)})
			}
			s.run(t)
		})
	}
}

// TestOwner is S17.
func TestOwner(t *testing.T) {
	owner := with(func(c *Config) { c.Priority = PriorityOwner })
	lower, higher := from("10.20.8.27", 255), from("10.20.8.60", 255)
	for name, s := range map[string]scenario{
		"Active at once": {
			cfg: owner, events: begin(), end: 500 * ms,
			want: []came{{0, takeOver(255)}}, state: Active, cause: CauseOwner,
		},
		"a second one with a lower address": {
			cfg: owner, events: begin(repeat(lower, 500*ms)...), end: 1400 * ms,
			want: []came{{0, takeOver(255)}, {500 * ms, []Action{answer(255), announce, warn(WarnTwoOwners)}}}, state: Active, cause: CauseOwner,
		},
		"a second one with a higher address, and no oscillation": {
			cfg: owner, events: begin(repeat(higher, 500*ms, 1500*ms, 2500*ms, 3500*ms, 4500*ms, 5500*ms)...), end: 7 * time.Second,
			want: []came{{0, takeOver(255)}, {500 * ms, []Action{remove, warn(WarnTwoOwners)}}}, state: Backup, cause: CauseBetter,
		},
		"the second one lowers itself, as keepalived 2.2.7 does": {
			cfg: owner, events: begin(told{500 * ms, higher}, told{1500 * ms, from("10.20.8.60", 254)}), end: 4 * time.Second,
			want: []came{{0, takeOver(255)}, {500 * ms, []Action{remove, warn(WarnTwoOwners)}}, {3500*ms + time.Second/256, takeOver(255)}}, state: Active, cause: CauseSilence,
		},
	} {
		t.Run(name, func(t *testing.T) { s.run(t) })
	}
}

// TestOverslept is S19: who was silent for longer than the others wait removes
// the VIP and listens before it says another word.
func TestOverslept(t *testing.T) {
	const wakes = 20 * time.Second
	m, _ := play(t, router(base(), hostA), begin(), downA+ms)
	for name, s := range map[string]struct {
		first Event
		want  []Action
		state State
		free  time.Duration // when it is Active again if nobody is heard; zero: not
	}{
		"a timer":                 {Tick{}, []Action{remove}, Backup, wakes + downA},
		"a lower priority":        {from("10.20.8.27", 100), []Action{remove}, Backup, wakes + downA},
		"a higher priority":       {from("10.20.8.27", 200), []Action{remove}, Backup, wakes + downA},
		"somebody leaves":         {from("10.20.8.27", 0), []Action{remove}, Backup, wakes + skewA},
		"the end of the tenure":   {TenureLost{}, []Action{remove}, Backup, 0},
		"the end of the daemon":   {Shutdown{}, []Action{remove}, Initialize, 0},
		"a new priority":          {PriorityChanged{150}, []Action{remove}, Backup, wakes + downA},
		"the tenure, once more":   {TenureGained{}, []Action{remove}, Backup, wakes + downA},
		"a start that is no news": {Startup{}, []Action{remove}, Backup, wakes + downA},
	} {
		t.Run(name, func(t *testing.T) {
			m, do := Step(m, at(wakes), s.first)
			if !slices.Equal(do, s.want) || m.State() != s.state {
				t.Errorf("Step(%+v) = %s, %v; want %s, %v", s.first, m.State(), do, s.state, s.want)
			}
			m, got := play(t, m, nil, wakes+downA+ms)
			if s.free == 0 {
				if len(got) != 0 {
					t.Errorf("then it did%s", show(got))
				}
				return
			}
			if len(got) == 0 || got[0].at != s.free || m.State() != Active {
				t.Errorf("it is %s and did%s\nwant it Active after %v", m.State(), show(got), s.free)
			}
		})
	}
	t.Run("one interval late is not too late", func(t *testing.T) {
		late := downA + 2200*ms
		m, do := Step(m, at(late), Tick{})
		if !slices.Equal(do, []Action{adv(150)}) || m.Wake() != at(late+time.Second) {
			t.Errorf("Step = %v, next at %v; want one advert, and the next an interval later", do, m.Wake().Sub(at(0)))
		}
	})
}

func TestTimers(t *testing.T) {
	for _, c := range []struct {
		version, priority uint8
		interval          time.Duration
		skew, down        time.Duration
	}{
		{2, 100, time.Second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{3, 100, time.Second, 609375 * time.Microsecond, 3609375 * time.Microsecond},
		{3, 100, 100 * ms, 60937500, 360937500},
		{2, 100, 10 * time.Second, 609375 * time.Microsecond, 30609375 * time.Microsecond}, // not scaled
		{3, 100, 10 * time.Second, 6093750 * time.Microsecond, 36093750 * time.Microsecond},
		{3, 255, 10 * ms, 39062, 30039062},
		{2, 255, time.Second, 3906250, 3003906250},
		{3, 1, maxV3Interval, 40790039062, 163640039062},
	} {
		if got := SkewTime(c.version, c.priority, c.interval); got != c.skew {
			t.Errorf("SkewTime(%d, %d, %v) = %v, want %v", c.version, c.priority, c.interval, got, c.skew)
		}
		if got := ActiveDownInterval(c.version, c.priority, c.interval, 3); got != c.down {
			t.Errorf("ActiveDownInterval(%d, %d, %v) = %v, want %v", c.version, c.priority, c.interval, got, c.down)
		}
	}
}
