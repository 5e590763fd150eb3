package vrrpcompat

import (
	"net/netip"
	"testing"
	"time"
)

func fellow(src string, priority uint8) Heard {
	h := from(src, priority)
	h.Fellow = true
	return h
}

// TestTenure: a router of ours is Active only with the tenure, and at once where
// it has listened long enough or follows one of our own.
func TestTenure(t *testing.T) {
	const now = 10 * time.Second
	listening := func(events ...told) []told { return begin(events...) }
	slow := with(func(c *Config) { c.NoPreempt = true })
	for name, s := range map[string]scenario{
		"without it a router listens, however long": {
			cfg: base(), bare: true, events: listening(), end: time.Minute,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"gained, and nobody was heard for long": {
			cfg: base(), bare: true, events: listening(told{now, TenureGained{}}), end: now + 500*ms,
			want: started(came{now, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"gained, and a fellow was heard all the time": {
			cfg: base(), bare: true, end: now + 500*ms,
			events: listening(append(repeat(fellow("10.20.8.27", 150), 7*time.Second, 8*time.Second, 9*time.Second), told{now, TenureGained{Succeeds: true}})...),
			want:   started(came{now, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"gained soon after the start": {
			cfg: base(), bare: true, events: listening(told{time.Second, TenureGained{}}), end: 4 * time.Second,
			want: started(came{downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"gained soon after the start, from one of ours that was Active": {
			cfg: base(), bare: true, events: listening(told{time.Second, TenureGained{Succeeds: true}}), end: 1500 * ms,
			want: started(came{time.Second, takeOver(150)}), state: Active, cause: CauseSucceeds,
		},
		"kept over a restart of the daemon: the VIP is not taken away": {
			cfg: base(), bare: true, events: []told{{0, TenureGained{Succeeds: true}}, {ms, Startup{}}}, end: 500 * ms,
			want: []came{{ms, takeOver(150)}}, state: Active, cause: CauseSucceeds,
		},
		"gained and lost before the start": {
			cfg: base(), bare: true, events: []told{{0, TenureGained{Succeeds: true}}, {ms, TenureLost{}}, {2 * ms, Startup{}}}, end: 9 * time.Second,
			want: []came{{2 * ms, []Action{remove}}}, state: Backup, cause: CauseStartup,
		},
		"gained by the owner of the addresses": {
			cfg: with(func(c *Config) { c.Priority = 255 }), bare: true, events: listening(told{time.Second, TenureGained{}}), end: 1500 * ms,
			want: started(came{time.Second, takeOver(255)}), state: Active, cause: CauseOwner,
		},
		"gained while keepalived has a better claim": {
			cfg: base(), bare: true, end: now + 3*time.Second,
			events: listening(append(repeat(from("10.20.8.27", 200), 9*time.Second), told{now, TenureGained{Succeeds: true}})...),
			want:   started(came{9*time.Second + downA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"gained by the owner while another owner is Active": {
			cfg: with(func(c *Config) { c.Priority = 255 }), bare: true, end: now + time.Second,
			events: listening(append(repeat(from("10.20.8.27", 255), 9*time.Second), told{now, TenureGained{}})...),
			want:   started(), state: Backup, cause: CauseStartup,
		},
		"gained while keepalived is Active with a lower priority": {
			cfg: base(), bare: true, end: now + 500*ms,
			events: listening(append(repeat(from("10.20.8.27", 100), 8*time.Second, 9*time.Second), told{now, TenureGained{}})...),
			want:   started(came{now, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"the same, without preemption": {
			cfg: slow, bare: true, end: now + 500*ms,
			events: listening(append(repeat(from("10.20.8.27", 100), 8*time.Second, 9*time.Second), told{now, TenureGained{Succeeds: true}})...),
			want:   started(), state: Backup, cause: CauseStartup,
		},
		"keepalived left a moment ago": {
			cfg: base(), bare: true, end: now + 500*ms,
			events: listening(told{9800 * ms, from("10.20.8.27", 0)}, told{now, TenureGained{}}),
			want:   started(came{9800*ms + skewA, takeOver(150)}), state: Active, cause: CauseSilence,
		},
		"keepalived left a moment ago, and one of ours was Active before": {
			cfg: base(), bare: true, end: now + 100*ms,
			events: listening(told{9700 * ms, from("10.20.8.27", 200)}, told{9800 * ms, from("10.20.8.27", 0)}, told{now, TenureGained{Succeeds: true}}),
			want:   started(came{now, takeOver(150)}), state: Active, cause: CauseSucceeds,
		},
		"lost while Backup": {
			cfg: base(), events: listening(told{time.Second, TenureLost{}}), end: 9 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"whom it waited for turns out to be one of ours": {
			cfg: base(), bare: true, end: now + 500*ms,
			events: listening(told{9 * time.Second, from("10.20.8.60", 200)}, told{9*time.Second + ms, Recognised{netip.MustParseAddr("10.20.8.60")}},
				told{now, TenureGained{Succeeds: true}}),
			want: started(came{now, takeOver(150)}), state: Active, cause: CauseSucceeds,
		},
		"who was recognised is not whom it waits for": {
			cfg: base(), bare: true, end: now + 500*ms,
			events: listening(told{9 * time.Second, from("10.20.8.60", 200)}, told{9*time.Second + ms, Recognised{netip.MustParseAddr("10.20.8.27")}},
				told{now, TenureGained{Succeeds: true}}),
			want: started(), state: Backup, cause: CauseStartup,
		},
		"lost, and one of ours follows": active(base(), []told{{now / 2, TenureLost{Successor: true}}}, 20*time.Second, Backup, CauseTenure,
			came{downA + time.Second, []Action{adv(150)}}, came{now / 2, []Action{remove}}),
		"lost, and none of ours is left": active(base(), []told{{now / 2, TenureLost{}}}, 20*time.Second, Backup, CauseTenure,
			came{downA + time.Second, []Action{adv(150)}}, came{now / 2, []Action{remove, adv(0)}}),
		"the old holder's last advert comes after the hand-over": active(base(),
			[]told{{downA + ms, fellow("10.20.8.60", 150)}, {downA + 2*ms, fellow("10.20.8.60", 200)}, {downA + 3*ms, fellow("10.20.8.60", 0)}},
			4*time.Second, Active, CauseSilence),
	} {
		t.Run(name, func(t *testing.T) { s.run(t) })
	}
}

// TestLearnedIntervalIsForgotten: who was Active waits for its own interval again,
// and not for that of a router long gone.
func TestLearnedIntervalIsForgotten(t *testing.T) {
	slow := from("10.20.8.27", 200)
	slow.Interval = 10 * time.Second
	m, _ := play(t, router(with(func(c *Config) { c.Version = Version3 }), hostA), begin(told{0, slow}), time.Minute)
	if m.State() != Active {
		t.Fatalf("a minute after its last advert it is %s", m.State())
	}
	m, _ = Step(m, at(time.Minute), TenureLost{})
	if got := m.Wake().Sub(at(time.Minute)); got != downA {
		t.Errorf("it waits %v, want %v", got, downA)
	}
}

// TestStatus: what an operator is told of the others.
func TestStatus(t *testing.T) {
	m, _ := play(t, router(base(), hostA), begin(repeat(from("10.20.8.27", 200), time.Second, 2*time.Second)...), 3*time.Second)
	r, ok := m.Better()
	if !ok || r.Source != hostB || r.Priority != 200 || r.Since != at(time.Second) || r.Seen != at(2*time.Second) || r.Adverts != 2 {
		t.Errorf("Better() = %+v, %v; want 10.20.8.27 with priority 200, heard twice", r, ok)
	}
	bare, _ := Step(m, at(3*time.Second), TenureLost{})
	if bare, _ = play(t, bare, nil, 10*time.Second); bare.better.Adverts != 0 || bare.State() != Backup {
		t.Errorf("silent for 8 s, and a %s without the tenure yields to %+v", bare.State(), bare.better)
	}
	if left, _ := Step(m, at(3*time.Second), from("10.20.8.27", 0)); left.better.Adverts != 0 {
		t.Errorf("it left, and this one yields to %+v", left.better)
	}
	m, _ = play(t, m, nil, 10*time.Second)
	if r, ok := m.Better(); ok {
		t.Errorf("Active, and it yields to %+v", r)
	}
	for i := range 3 {
		m, _ = Step(m, at(10*time.Second+time.Duration(i)*time.Second), from("10.20.8.27", 100))
	}
	if r, ok := m.Rival(at(13 * time.Second)); !ok || r.Priority != 100 || r.Adverts != 5 {
		t.Errorf("Rival() = %+v, %v; want 10.20.8.27, which does not give way", r, ok)
	}
	if r, ok := m.Rival(at(17 * time.Second)); ok {
		t.Errorf("5 s after its last advert Rival() = %+v", r)
	}
	m, _ = Step(m, at(13*time.Second), from("10.20.8.27", 0))
	if r, ok := m.Rival(at(13 * time.Second)); ok {
		t.Errorf("it left, and Rival() = %+v", r)
	}
}

// TestGate: it is never Active beside a foreign router, whatever that one's
// priority, and never says a word.
func TestGate(t *testing.T) {
	gate := with(func(c *Config) { c.Mode, c.Priority = ModeGate, 255 })
	const (
		wait = 3*time.Second + 255*time.Second/256 // of whoever waits longest
		now  = 10 * time.Second
	)
	open := func(do ...Action) []Action { return append(do, bind, announce) }
	for name, s := range map[string]scenario{
		"opens when every foreign router would have spoken": {
			cfg: gate, events: begin(), end: 5 * time.Second,
			want: started(came{wait, open()}), state: Active, cause: CauseSilence,
		},
		"is shut by the lowest priority": {
			cfg: gate, events: begin(told{now, from("10.20.8.27", 1)}), end: now + 3*time.Second,
			want: started(came{wait, open()}, came{now, []Action{remove}}), state: Backup, cause: CauseForeign,
		},
		"stays shut while it is heard, and opens after it": {
			cfg: gate, events: begin(repeat(from("10.20.8.27", 1), 1*time.Second, 2*time.Second, 3*time.Second)...), end: 3*time.Second + wait + ms,
			want: started(came{3*time.Second + wait, open()}), state: Active, cause: CauseSilence,
		},
		"opens sooner where it leaves": {
			cfg: gate, events: begin(told{now, from("10.20.8.27", 1)}, told{now + time.Second, from("10.20.8.27", 0)}), end: now + 3*time.Second,
			want: started(came{wait, open()}, came{now, []Action{remove}}, came{now + time.Second + 255*time.Second/256, open()}), state: Active, cause: CauseSilence,
		},
		"is shut where somebody leaves: another may follow": {
			cfg: gate, events: begin(told{now, from("10.20.8.27", 0)}), end: now + 1500*ms,
			want: started(came{wait, open()}, came{now, []Action{remove}}, came{now + 255*time.Second/256, open()}), state: Active, cause: CauseSilence,
		},
		"knows its fellows": {
			cfg: gate, events: begin(repeat(fellow("10.20.8.27", 150), 1*time.Second, 5*time.Second)...), end: 6 * time.Second,
			want: started(came{wait, open()}), state: Active, cause: CauseSilence,
		},
		"says nothing when it goes": {
			cfg: gate, events: begin(told{now, Shutdown{}}), end: time.Minute,
			want: started(came{wait, open()}, came{now, []Action{remove}}), state: Initialize, cause: CauseShutdown,
		},
		"says nothing when the tenure is over": {
			cfg: gate, events: begin(told{now, TenureLost{}}), end: time.Minute,
			want: started(came{wait, open()}, came{now, []Action{remove}}), state: Backup, cause: CauseTenure,
		},
		"is not the owner, at the start": {
			cfg: gate, bare: true, events: begin(told{time.Second, TenureGained{}}), end: 3 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"follows one of ours": {
			cfg: gate, bare: true, events: begin(told{time.Second, TenureGained{Succeeds: true}}), end: 3 * time.Second,
			want: started(came{time.Second, open()}), state: Active, cause: CauseSucceeds,
		},
		"does not, when keepalived has come between": {
			cfg: gate, bare: true, events: begin(told{time.Second, from("10.20.8.27", 1)}, told{2 * time.Second, TenureGained{Succeeds: true}}), end: 4 * time.Second,
			want: started(), state: Backup, cause: CauseStartup,
		},
		"does not mind a suspended host: it has nothing to say": {
			cfg: gate, events: begin(told{time.Hour, Tick{}}), end: time.Hour,
			want: started(came{wait, open()}), state: Active, cause: CauseSilence,
		},
	} {
		t.Run(name, func(t *testing.T) { s.run(t) })
	}
}

// TestGateMindsRoutersThatAreSetUpOtherwise: a keepalived whose adverts are no
// good for us has the VIP all the same.
func TestGateMindsRoutersThatAreSetUpOtherwise(t *testing.T) {
	gate := func(edit func(*Config)) Config {
		return with(func(c *Config) { c.Mode = ModeGate; edit(c) })
	}
	seldom := with(func(c *Config) { c.Interval = 5 * time.Second })
	for name, c := range map[string]struct {
		listens, speaks Config
		want            Reason
		down            time.Duration // how long the gate is shut
	}{
		"another interval": {gate(func(*Config) {}), seldom, ReasonInterval, 15*time.Second + 255*time.Second/256},
		"another password": {gate(func(c *Config) { c.Auth = Auth{AuthPass, "a"} }), withAuth(AuthPass, "b"), ReasonPassword, 3*time.Second + 255*time.Second/256},
		"another version":  {gate(func(c *Config) { c.Version = Version3 }), base(), ReasonVersion, 3*time.Second + 255*time.Second/256},
		"no AH":            {gate(func(c *Config) { c.Auth = Auth{AuthAH, "a"} }), base(), ReasonNoAH, 3*time.Second + 255*time.Second/256},
	} {
		t.Run(name, func(t *testing.T) {
			p := say(t, c.speaks, hostB, 1)
			codec := newCodec(t, c.listens, hostA)
			a := wantReason(t, codec, p, c.want)
			h, ok := codec.Heard(a, c.want)
			if !ok || h.Source != hostB || h.Priority != 1 {
				t.Fatalf("Heard() = %+v, %v; want an event of %s", h, ok, hostB)
			}
			m, _ := play(t, router(c.listens, hostA), begin(), 10*time.Second)
			m, do := Step(m, at(10*time.Second), h)
			if m.State() != Backup || len(do) != 1 || do[0] != remove || m.Wake() != at(10*time.Second+c.down) {
				t.Errorf("it is %s, did %v, and waits %v; want %v", m.State(), do, m.Wake().Sub(at(10*time.Second)), c.down)
			}
			c.listens.Mode = ModeFull
			if h, ok := newCodec(t, c.listens, hostA).Heard(a, c.want); ok {
				t.Errorf("a router that speaks heeds %+v, which was rejected for %s", h, c.want)
			}
		})
	}
	codec := newCodec(t, gate(func(*Config) {}), hostA)
	for why := range Reasons {
		if _, ok := codec.Heard(Advert{}, why); ok != (why == Accepted || why.Mismatch() || why == ReasonReplay) {
			t.Errorf("%s: heard by a gate: %v", why, ok)
		}
		if why.Mismatch() && why.Silent() {
			t.Errorf("%s is both none of our business and to be put right", why)
		}
	}
}
