package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

const (
	t0    = boottime.Instant(1_000_000_000_000)
	short = 1890 * time.Millisecond // what a ttl of 3 s leaves, behind kernel lifetimes
)

// well are the facts of a holder with nothing wrong.
func well() Facts {
	return Facts{
		Now: t0, HeldUntil: t0.Add(short), ShortUntil: t0.Add(short), KernelKnown: true, LinkUp: true,
		Bound: true, Copies: 1, KernelUntil: t0.Add(time.Second), HealthKnown: true, Healthy: true,
	}
}

func verbs(do []Action) []Verb {
	var v []Verb
	for _, a := range do {
		v = append(v, a.Verb)
	}
	return v
}

func TestStepLeavesHolder(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Facts)
		why  string
	}{
		"tenure ends":            {func(f *Facts) { f.Now = f.HeldUntil }, "the tenure could not be renewed"},
		"tenure ends in pause":   {func(f *Facts) { f.Now = f.HeldUntil; f.Paused, f.Long = true, true }, "the tenure could not be renewed"},
		"lease revoked":          {func(f *Facts) { f.HeldUntil = 0; f.Ended = "revoked" }, "revoked"},
		"lease revoked in pause": {func(f *Facts) { f.HeldUntil = 0; f.Ended = "revoked"; f.Paused = true }, "revoked"},
		"cable pulled":           {func(f *Facts) { f.LinkUp = false; f.LinkWhy = "eth0: no carrier" }, "eth0: no carrier"},
		"mysqld died":            {func(f *Facts) { f.Healthy = false; f.HealthWhy = "exited" }, "exited"},
		"mysqld died, a standby is well although the last should stand": {func(f *Facts) {
			f.Healthy, f.HealthWhy, f.LastStanding, f.OthersEligible = false, "exited", true, true
		}, "exited"},
		"stopped":             {func(f *Facts) { f.Stopping = true }, "stopped"},
		"switchover":          {func(f *Facts) { f.Yield = "asked for" }, "asked for"},
		"VIP cannot be bound": {func(f *Facts) { f.Barred = "no IPv6" }, "no IPv6"},
	} {
		t.Run(name, func(t *testing.T) {
			f := well()
			c.edit(&f)
			to, do := Step(Holder, f)
			if to != Standby || !slices.Equal(verbs(do), []Verb{RemoveVIP, Resign}) || do[1].Why != c.why {
				t.Errorf("Step(Holder, %+v) = %v, %v; want standby, remove then resign because %q", f, to, do, c.why)
			}
		})
	}
}

func TestStepKeepsHolder(t *testing.T) {
	for name, edit := range map[string]func(*Facts){
		"nothing wrong":                   func(*Facts) {},
		"mysqld died in pause":            func(f *Facts) { f.Healthy = false; f.Paused = true },
		"stopped in pause":                func(f *Facts) { f.Stopping = true; f.Paused, f.Long = true, true },
		"cable pulled in pause":           func(f *Facts) { f.LinkUp = false; f.Paused = true },
		"switchover in pause":             func(f *Facts) { f.Yield = "asked for"; f.Paused = true },
		"VIP cannot be bound, in pause":   func(f *Facts) { f.Barred, f.Paused = "no IPv6", true },
		"checks start anew":               func(f *Facts) { f.HealthKnown, f.Healthy = false, false },
		"last standing, nobody else well": func(f *Facts) { f.Healthy, f.LastStanding = false, true },
	} {
		t.Run(name, func(t *testing.T) {
			f := well()
			edit(&f)
			if to, do := Step(Holder, f); to != Holder || len(do) != 0 {
				t.Errorf("Step(Holder, %+v) = %v, %v; want holder and nothing to do", f, to, do)
			}
		})
	}
}

func TestStepRepairsHolder(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Facts)
		want []Verb
	}{
		"VIP deleted by hand":    {func(f *Facts) { f.Bound, f.Copies = false, 0 }, []Verb{BindVIP, AnnounceVIP}},
		"VIP deleted, cable too": {func(f *Facts) { f.Bound, f.LinkUp, f.Paused = false, false, true }, nil},
		"VIP deleted at the end": {func(f *Facts) { f.Bound, f.HeldUntil = false, t0.Add(900*time.Millisecond) }, nil},
		"made permanent":         {func(f *Facts) { f.Bound, f.Permanent = false, true }, []Verb{ExtendVIP}},
		"stray /8 beside it":     {func(f *Facts) { f.Copies, f.Strays = 2, 1 }, []Verb{SweepStrays}},
		"renewed": {func(f *Facts) {
			f.Now = f.Now.Add(600 * time.Millisecond)
			f.HeldUntil = f.HeldUntil.Add(600 * time.Millisecond)
		}, []Verb{ExtendVIP}},
		"last second":             {func(f *Facts) { f.Now = f.HeldUntil.Add(-time.Second - renewSoon) }, []Verb{ExtendVIP}},
		"pause over":              {func(f *Facts) { f.PauseOver, f.HeldUntil = true, t0.Add(time.Hour) }, []Verb{ExtendVIP, Shorten, RestartChecks}},
		"pause over, mysqld down": {func(f *Facts) { f.PauseOver, f.Healthy, f.HeldUntil = true, false, t0.Add(time.Hour) }, []Verb{ExtendVIP, Shorten, RestartChecks}},
		"stopped as a pause begins": {func(f *Facts) {
			f.Stopping, f.Paused, f.Long, f.HeldUntil = true, true, true, t0.Add(time.Hour)
		}, []Verb{ExtendVIP}},
		"stopped in a pause, VIP deleted":     {func(f *Facts) { f.Stopping, f.Paused, f.Bound = true, true, false }, nil},
		"pause over, not longer":              {func(f *Facts) { f.PauseOver = true }, []Verb{Shorten, RestartChecks}},
		"pause over, VIP missing":             {func(f *Facts) { f.PauseOver, f.Bound, f.Copies, f.HeldUntil = true, false, 0, t0.Add(time.Hour) }, []Verb{Shorten, RestartChecks}},
		"pause over, one of two VIPs missing": {func(f *Facts) { f.PauseOver, f.Bound, f.HeldUntil = true, false, t0.Add(time.Hour) }, []Verb{BindVIP, AnnounceVIP, Shorten, RestartChecks}},
		"pause over, one missing, no cable":   {func(f *Facts) { f.PauseOver, f.Bound, f.LinkUp, f.HeldUntil = true, false, false, t0.Add(time.Hour) }, []Verb{RemoveVIP, Shorten, RestartChecks}},
	} {
		t.Run(name, func(t *testing.T) {
			f := well()
			c.edit(&f)
			if to, do := Step(Holder, f); to != Holder || !slices.Equal(verbs(do), c.want) {
				t.Errorf("Step(Holder, %+v) = %v, %v; want holder, %v", f, to, do, c.want)
			}
		})
	}
}

func TestStepEnters(t *testing.T) {
	for name, c := range map[string]struct {
		role Role
		edit func(*Facts)
		to   Role
		want []Verb
	}{
		"zero facts":                      {Standby, func(f *Facts) { *f = Facts{} }, Standby, nil},
		"free":                            {Standby, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt = 0, 0, t0 }, Candidate, []Verb{Campaign}},
		"not free yet":                    {Standby, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt = 0, 0, t0+1 }, Standby, nil},
		"paused":                          {Standby, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt, f.Paused = 0, 0, t0, true }, Standby, nil},
		"unwell":                          {Standby, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt, f.Healthy = 0, 0, t0, false }, Standby, nil},
		"others were faster":              {Candidate, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt = 0, 0, t0.Add(time.Second) }, Standby, []Verb{Withdraw}},
		"unwell while asking":             {Candidate, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt, f.Healthy = 0, 0, t0, false }, Standby, []Verb{Withdraw}},
		"took over":                       {Candidate, func(f *Facts) { f.Copies, f.Bound = 0, false }, Holder, []Verb{Withdraw, BindVIP, AnnounceVIP}},
		"took over, unwell by now":        {Candidate, func(f *Facts) { f.Copies, f.Healthy = 0, false }, Standby, []Verb{Withdraw, RemoveVIP, Resign}},
		"restarted within the tenure":     {Standby, func(f *Facts) { f.HealthKnown = false }, Holder, []Verb{Withdraw, BindVIP, AnnounceVIP}},
		"restarted, VIP gone meanwhile":   {Standby, func(f *Facts) { f.HealthKnown, f.Copies = false, 0 }, Standby, nil},
		"took over, cannot bind it":       {Candidate, func(f *Facts) { f.Copies, f.Barred = 0, "no IPv6" }, Standby, []Verb{Withdraw, RemoveVIP, Resign}},
		"free, but could not bind it":     {Standby, func(f *Facts) { f.HeldUntil, f.Copies, f.FreeAt, f.Barred = 0, 0, t0, "no IPv6" }, Standby, nil},
		"stray on a standby":              {Standby, func(f *Facts) { f.HeldUntil, f.Strays = 0, 1 }, Standby, []Verb{RemoveVIP}},
		"left by an earlier run":          {Standby, func(f *Facts) { f.HeldUntil, f.AdoptUntil = 0, t0.Add(time.Second) }, Standby, nil},
		"left by it, stopped again":       {Standby, func(f *Facts) { f.HeldUntil, f.AdoptUntil, f.Stopping = 0, t0.Add(time.Second), true }, Standby, []Verb{RemoveVIP}},
		"left by it in a pause, stopped":  {Standby, func(f *Facts) { f.HeldUntil, f.AdoptUntil, f.Stopping, f.Paused = 0, t0.Add(time.Second), true, true }, Standby, nil},
		"adopted in a pause, mysqld down": {Standby, func(f *Facts) { f.Paused, f.Long, f.Healthy = true, true, false }, Holder, []Verb{Withdraw, BindVIP, AnnounceVIP}},
	} {
		t.Run(name, func(t *testing.T) {
			f := well()
			c.edit(&f)
			if to, do := Step(c.role, f); to != c.to || !slices.Equal(verbs(do), c.want) {
				t.Errorf("Step(%v, %+v) = %v, %v; want %v, %v", c.role, f, to, do, c.to, c.want)
			}
		})
	}
}

// guards are what ends the tenure in the kernel, and what has become of it. The
// deadline of a fence is where the tenure is, or would be on the short ttl.
func guards() []func(*Facts) {
	claim := func(claimed bool, renewed boottime.Instant) func(*Facts) {
		return func(f *Facts) { f.Fenced, f.Claimed, f.ClaimedAt, f.Renewed = true, claimed, t0-2, renewed }
	}
	return []func(*Facts){
		func(*Facts) {},
		func(f *Facts) { f.ClaimedAt, f.Renewed = t0-2, t0-3 },
		func(f *Facts) { f.Fenced, f.FenceUntil = true, f.HeldUntil },
		func(f *Facts) { f.Fenced, f.FenceUntil = true, f.ShortUntil },
		func(f *Facts) { f.Fenced = true },
		claim(true, t0-3), claim(true, t0-1), claim(false, t0-3), claim(false, t0-1),
		func(f *Facts) { f.Fenced, f.Unclean = true, true },
		func(f *Facts) { f.Fenced, f.Unclean, f.RetryBind = true, true, t0+1 },
	}
}

// everyFacts calls f with every combination of what Step looks at.
func everyFacts(f func(Facts)) int {
	n := 0
	for i, guard := range guards() {
		free, adopt := []boottime.Instant{0, t0 - 1, t0, t0 + 1}, []boottime.Instant{0, t0.Add(time.Second)}
		if i > 0 { // when the VIP is free does not depend on the guard
			free, adopt = free[1:3], adopt[:1]
		}
		n += everyFactsBehind(guard, free, adopt, f)
	}
	return n
}

func everyFactsBehind(guard func(*Facts), free, adopt []boottime.Instant, f func(Facts)) int {
	n := 0
	held := []boottime.Instant{0, t0.Add(-time.Second), t0, t0.Add(letGo), t0.Add(letGo + 1), t0.Add(time.Second), t0.Add(short), t0.Add(time.Hour)}
	for _, heldUntil := range held {
		for _, freeAt := range free {
			for _, adopt := range adopt {
				for bits := range 1 << 12 {
					on := func(i int) bool { return bits>>i&1 == 1 }
					fa := Facts{
						Now: t0, HeldUntil: heldUntil, FreeAt: freeAt, AdoptUntil: adopt, ShortUntil: t0.Add(short),
						Paused: on(0), Long: on(1), PauseOver: on(2), OthersEligible: on(3), LinkUp: on(4), Bound: on(5),
						HealthKnown: on(6), Healthy: on(7), Stopping: on(8), LastStanding: on(9),
						KernelKnown: true, LinkWhy: "down", HealthWhy: "ill", KernelUntil: t0.Add(500 * time.Millisecond),
					}
					if on(5) {
						fa.Copies = 1
					}
					if on(10) {
						fa.Copies++
						fa.Strays = 1
					}
					if on(11) {
						fa.Yield = "asked for"
					}
					guard(&fa)
					n++
					f(fa)
				}
			}
		}
	}
	return n
}

// TestStepInvariants holds every combination against what must always be true.
func TestStepInvariants(t *testing.T) {
	bad := 0
	fail := func(r Role, f Facts, to Role, do []Action, rule string) {
		if bad++; bad <= 5 {
			t.Errorf("%s: Step(%v, %+v) = %v, %v", rule, r, f, to, do)
		}
	}
	n := 0
	for _, r := range []Role{Standby, Candidate, Holder} {
		n += everyFacts(func(f Facts) {
			to, do := Step(r, f)
			if rule := broken(r, f, to, do); rule != "" {
				fail(r, f, to, do, rule)
			}
			// The same facts again: the role has settled after two steps.
			r2, _ := Step(to, f)
			if r3, _ := Step(r2, f); r3 != r2 && !settles(f) {
				fail(r, f, to, do, fmt.Sprintf("flips %v %v %v", to, r2, r3))
			}
		})
	}
	t.Logf("%d combinations", n)
}

// settles reports the facts that an action changes by itself, so that the same
// facts cannot come again: a resigned tenure is not held.
func settles(f Facts) bool { return f.HeldUntil != 0 }

// broken names the rule that a decision breaks; empty: none.
func broken(r Role, f Facts, to Role, do []Action) string {
	held := f.Now.Before(f.HeldUntil)
	at := func(v Verb) int { return slices.Index(verbs(do), v) }
	fit := f.LinkUp && f.HealthKnown && f.Healthy && !f.Stopping
	switch {
	case to == Holder && !held:
		return "holder without a tenure in force"
	case to == Holder && r != Holder && !fit && !f.Paused && (f.HealthKnown || f.Copies == 0 || !f.LinkUp || f.Stopping):
		return "became holder unfit"
	case r == Holder && to != Holder && (at(RemoveVIP) != 0 || at(Resign) != len(do)-1):
		return "leaving does not start with remove and end with resign"
	case at(Resign) >= 0 && (at(RemoveVIP) < 0 || at(RemoveVIP) > at(Resign)):
		return "resigned over an address"
	case at(AnnounceVIP) >= 0 && (at(BindVIP) < 0 || at(BindVIP) > at(AnnounceVIP)):
		return "announced what is not bound"
	case max(at(BindVIP), at(ExtendVIP), at(DefendVIP)) >= 0 && (!held || to != Holder):
		return "bound without a tenure"
	case at(Campaign) >= 0 && (!fit || f.Paused || f.FreeAt == 0 || f.Now.Before(f.FreeAt)):
		return "campaigns unfit, paused or too early"
	case at(Shorten) >= 0 && f.Copies > 0 && !f.Claimed && f.ShortUntil.Before(f.HeldUntil) && max(at(ExtendVIP), at(BindVIP), at(RemoveVIP)) != max(0, at(Shorten)-1-btoi(at(AnnounceVIP) >= 0)):
		return "invited before the kernel's deadline was short"
	case f.Claimed && !f.confirmed() && max(at(BindVIP), at(ExtendVIP), at(DefendVIP)) >= 0:
		return "opened what somebody else claims"
	case at(DefendVIP) >= 0 && (!f.disputed() || !f.confirmed()):
		return "defended what nobody claims, or without asking"
	case at(BindVIP) >= 0 && r != Holder && (f.Now.Before(f.RetryBind) || f.Unclean != do[at(BindVIP)].Probe):
		return "bound over another host's VIP"
	case f.Fenced && to == Holder && r == Holder && f.Bound && f.LinkUp && !f.disputed() && !f.toShorten() && f.FenceUntil != f.HeldUntil && at(ExtendVIP) < 0:
		return "the fence does not follow the tenure"
	case f.Paused && held && f.HeldUntil.Sub(f.Now) > letGo && r == Holder && (to != Holder || at(RemoveVIP) >= 0):
		return "a paused VIP was taken away"
	case r != Holder && to != Holder && f.Copies > 0 && f.AdoptUntil == 0 && !held && at(RemoveVIP) < 0:
		return "left a copy on a host that does not hold"
	}
	for _, a := range do {
		if (a.Verb == BindVIP || a.Verb == ExtendVIP || a.Verb == DefendVIP || a.Verb == Shorten) && f.HeldUntil.Before(a.Until) {
			return "bound for longer than the tenure"
		}
	}
	return ""
}

func TestWakeCoversEveryDeadline(t *testing.T) {
	// Whatever Step would decide later without a new fact, Wake is not after it.
	f := well()
	for r, want := range map[Role]boottime.Instant{Holder: f.HeldUntil.Add(-time.Second - renewSoon)} {
		if got := Wake(r, f); got != want {
			t.Errorf("Wake(%v) = %v, want %v", r, got.Sub(t0), want.Sub(t0))
		}
	}
	f = Facts{Now: t0, KernelKnown: true, FreeAt: t0.Add(time.Second)}
	if got := Wake(Standby, f); got != f.FreeAt {
		t.Errorf("Wake(Standby) = %v, want the moment it is free", got)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestStepGivesUpASpentTenure: a tenure that ran out before the VIP could be bound
// is not renewed for ever by a node that hears none of etcd's answers. Found by the
// simulation, seed 15915.
func TestStepGivesUpASpentTenure(t *testing.T) {
	f := Facts{Now: boottime.Instant(time.Hour), KernelKnown: true, LinkUp: true, HealthKnown: true, Healthy: true}
	f.HeldUntil = f.Now.Add(-time.Second)
	role, do := Step(Candidate, f)
	if role != Standby || len(do) != 3 || do[1].Verb != RemoveVIP || do[2].Verb != Resign {
		t.Errorf("Step = %v, %v; want standby, and the VIP removed before the tenure is resigned", role, do)
	}
}

// A host that is strained leaves the VIP to another that can have it, and keeps it
// where there is none: better there than nowhere. It never says that it is eligible.
func TestStepStrained(t *testing.T) {
	holder := well()
	holder.HeldUntil = holder.Now.Add(time.Second)
	holder.Strained = "the disk is full"
	if to, do := Step(Holder, holder); to != Holder || has(do, RemoveVIP) {
		t.Errorf("without another: %v, %v; want to stay", to, do)
	}
	holder.OthersEligible = true
	if to, do := Step(Holder, holder); to != Standby || len(do) != 2 || do[1].Why != "the disk is full" {
		t.Errorf("with another: %v, %v; want to let go", to, do)
	}
	holder.Paused = true
	if to, _ := Step(Holder, holder); to != Holder {
		t.Error("a pause does not keep the VIP where it is")
	}
	free := well()
	free.HeldUntil, free.FreeAt, free.Strained = 0, free.Now, "the disk is full"
	free.Copies, free.Bound = 0, false
	if to, _ := Step(Standby, free); to != Candidate {
		t.Error("a VIP that nobody else can have stays nowhere")
	}
	free.OthersEligible = true
	if to, _ := Step(Standby, free); to != Standby {
		t.Error("a strained host campaigns although another can have the VIP")
	}
	if ok, why := Eligible(Standby, free); ok || why != "the disk is full" {
		t.Errorf("eligible: %v, %q", ok, why)
	}
}
