package node

import (
	"slices"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/health"
	"leasehold/vip"
)

// brief is what a ttl of 500 ms leaves behind a fence.
const brief = 485 * time.Millisecond

// fenced are the facts of a holder of a ttl of 500 ms with nothing wrong.
func fenced() Facts {
	f := well()
	f.HeldUntil, f.ShortUntil, f.FenceUntil = t0.Add(brief), t0.Add(brief), t0.Add(brief)
	f.KernelUntil, f.Fenced, f.Renewed = t0.Add(2*time.Second), true, t0
	return f
}

func TestStepBehindFence(t *testing.T) {
	long := t0.Add(time.Hour)
	for name, c := range map[string]struct {
		edit func(*Facts)
		want []Verb
	}{
		"nothing wrong":                 {func(*Facts) {}, nil},
		"renewed":                       {func(f *Facts) { f.HeldUntil++ }, []Verb{ExtendVIP}},
		"open for longer than held":     {func(f *Facts) { f.FenceUntil++ }, []Verb{ExtendVIP}},
		"shut, bound":                   {func(f *Facts) { f.FenceUntil = 0 }, []Verb{ExtendVIP}},
		"lifetime ends sooner":          {func(f *Facts) { f.KernelUntil = f.Now }, nil}, // package vip sees to it
		"VIP deleted by hand":           {func(f *Facts) { f.Bound, f.Copies, f.FenceUntil = false, 0, 0 }, []Verb{BindVIP, AnnounceVIP}},
		"VIP deleted, 100 ms left":      {func(f *Facts) { f.Bound, f.Now = false, f.HeldUntil.Add(-100*time.Millisecond) }, []Verb{BindVIP, AnnounceVIP}},
		"made permanent, 100 ms left":   {func(f *Facts) { f.Bound, f.Permanent, f.Now = false, true, f.HeldUntil.Add(-100*time.Millisecond) }, []Verb{ExtendVIP}},
		"a pause begins":                {func(f *Facts) { f.Paused, f.Long, f.HeldUntil = true, true, long }, []Verb{ExtendVIP}},
		"stopped as a pause begins":     {func(f *Facts) { f.Stopping, f.Paused, f.Long, f.HeldUntil = true, true, true, long }, []Verb{ExtendVIP}},
		"stopped before it is long":     {func(f *Facts) { f.Stopping, f.Paused, f.HeldUntil = true, true, f.HeldUntil+1 }, []Verb{ExtendVIP}},
		"stopped in a pause":            {func(f *Facts) { f.Stopping, f.Paused, f.Long, f.HeldUntil, f.FenceUntil = true, true, true, long, long }, nil},
		"stopped in a pause, deleted":   {func(f *Facts) { f.Stopping, f.Paused, f.Bound, f.FenceUntil = true, true, false, 0 }, nil},
		"stopped in a pause, permanent": {func(f *Facts) { f.Stopping, f.Paused, f.Bound, f.Permanent = true, true, false, true }, []Verb{ExtendVIP}},
		"pause over":                    {func(f *Facts) { f.PauseOver, f.HeldUntil, f.FenceUntil = true, long, long }, []Verb{ExtendVIP, Shorten, RestartChecks}},
		"pause over, shut by a claim": {func(f *Facts) {
			f.PauseOver, f.HeldUntil, f.FenceUntil, f.Claimed, f.ClaimedAt = true, long, 0, true, t0
		}, []Verb{Shorten, RestartChecks}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fenced()
			c.edit(&f)
			to, do := Step(Holder, f)
			if to != Holder || !slices.Equal(verbs(do), c.want) {
				t.Fatalf("Step(Holder, %+v) = %v, %v; want holder, %v", f, to, do, c.want)
			}
			for _, a := range do {
				want := f.HeldUntil
				if f.PauseOver {
					want = f.ShortUntil
				}
				if a.Until != want && a.Until != 0 {
					t.Errorf("%v until %v; want %v", a.Verb, a.Until.Sub(t0), want.Sub(t0))
				}
				if a.Probe {
					t.Errorf("%v with a probe of what is our own", a.Verb)
				}
			}
		})
	}
}

func TestStepAnswersForeignClaim(t *testing.T) {
	at := t0.Add(-time.Millisecond)
	shut := func(f *Facts) { f.FenceUntil, f.Claimed, f.ClaimedAt, f.Renewed = 0, true, at, at }
	for name, c := range map[string]struct {
		edit func(*Facts)
		want []Verb
	}{
		"shut by the kernel":                 {shut, []Verb{ConfirmTenure}},
		"shut, in a pause":                   {func(f *Facts) { shut(f); f.Paused, f.Long = true, true }, []Verb{ConfirmTenure}},
		"shut, in a pause, stopped":          {func(f *Facts) { shut(f); f.Paused, f.Long, f.Stopping = true, true, true }, []Verb{ConfirmTenure}},
		"asked a moment ago":                 {func(f *Facts) { shut(f); f.Asked = t0.Add(1 - confirmEvery) }, nil},
		"asked some time ago":                {func(f *Facts) { shut(f); f.Asked = t0.Add(-confirmEvery) }, []Verb{ConfirmTenure}},
		"renewed, by an older request":       {func(f *Facts) { shut(f); f.HeldUntil++ }, []Verb{ConfirmTenure}},
		"renewed since":                      {func(f *Facts) { shut(f); f.Renewed = at + 1 }, []Verb{DefendVIP}},
		"renewed since, in a pause":          {func(f *Facts) { shut(f); f.Renewed, f.Paused, f.Long = at+1, true, true }, []Verb{DefendVIP}},
		"renewed since, in a pause, stopped": {func(f *Facts) { shut(f); f.Renewed, f.Paused, f.Long, f.Stopping = at+1, true, true, true }, []Verb{DefendVIP}},
		"renewed since, VIP deleted":         {func(f *Facts) { shut(f); f.Renewed, f.Bound = at+1, false }, []Verb{DefendVIP}},
		"shut, VIP deleted":                  {func(f *Facts) { shut(f); f.Bound = false }, []Verb{ConfirmTenure}},
		"shut, no cable in a pause":          {func(f *Facts) { shut(f); f.Paused, f.LinkUp, f.Renewed = true, false, at+1 }, nil},
		"shut, a stray beside it":            {func(f *Facts) { shut(f); f.Copies, f.Strays = 2, 1 }, []Verb{SweepStrays, ConfirmTenure}},
		"defended":                           {func(f *Facts) { f.ClaimedAt, f.DefendedAt, f.Renewed = at, at+1, at }, nil},
		"not shut":                           {func(f *Facts) { f.ClaimedAt, f.Renewed = at, at }, []Verb{ConfirmTenure}},
		"no fence":                           {func(f *Facts) { *f = well(); f.ClaimedAt, f.Renewed = at, at-1 }, []Verb{ConfirmTenure}},
		"no fence, renewed since":            {func(f *Facts) { *f = well(); f.ClaimedAt, f.Renewed = at, at+1 }, []Verb{DefendVIP}},
		"no fence, lifetime due": {func(f *Facts) {
			*f = well()
			f.ClaimedAt, f.Renewed, f.KernelUntil = at, at-1, t0
		}, []Verb{ConfirmTenure, ExtendVIP}},
	} {
		t.Run(name, func(t *testing.T) {
			f := fenced()
			c.edit(&f)
			to, do := Step(Holder, f)
			if to != Holder || !slices.Equal(verbs(do), c.want) {
				t.Fatalf("Step(Holder, %+v) = %v, %v; want holder, %v", f, to, do, c.want)
			}
			if i := slices.Index(c.want, ConfirmTenure); i >= 0 && do[i].Until != at {
				t.Errorf("confirmed after %v; want after the claim, %v", do[i].Until, at)
			}
		})
	}
	t.Run("the tenure is lost", func(t *testing.T) {
		f := fenced()
		shut(&f)
		f.HeldUntil, f.Ended, f.Paused = 0, "the holder key is not on our lease any more", true
		if to, do := Step(Holder, f); to != Standby || !slices.Equal(verbs(do), []Verb{RemoveVIP, Resign}) {
			t.Errorf("Step(Holder, %+v) = %v, %v; want standby, remove, resign", f, to, do)
		}
	})
}

func TestStepEntersBehindFence(t *testing.T) {
	hold := []Verb{Withdraw, BindVIP, AnnounceVIP}
	fresh := func(f *Facts) { f.Bound, f.Copies, f.FenceUntil, f.KernelUntil = false, 0, 0, 0 }
	for name, c := range map[string]struct {
		edit  func(*Facts)
		to    Role
		want  []Verb
		probe bool
	}{
		"took over":                         {fresh, Holder, hold, false},
		"took over after an unclean end":    {func(f *Facts) { fresh(f); f.Unclean = true }, Holder, hold, true},
		"took over, 100 ms left":            {func(f *Facts) { fresh(f); f.Now = f.HeldUntil.Add(-100 * time.Millisecond) }, Holder, hold, false},
		"restarted within the tenure":       {func(f *Facts) { f.HealthKnown = false }, Holder, hold, false},
		"somebody answered":                 {func(f *Facts) { fresh(f); f.Unclean, f.RetryBind = true, t0+1 }, Candidate, nil, false},
		"somebody answered, a ttl ago":      {func(f *Facts) { fresh(f); f.Unclean, f.RetryBind = true, t0 }, Holder, hold, true},
		"somebody answered, mysqld died":    {func(f *Facts) { fresh(f); f.Healthy, f.RetryBind = false, t0+1 }, Standby, []Verb{Withdraw, RemoveVIP, Resign}, false},
		"somebody answered, switchover":     {func(f *Facts) { fresh(f); f.Yield, f.RetryBind = "asked for", t0+1 }, Standby, []Verb{Withdraw, RemoveVIP, Resign}, false},
		"somebody answered, in a pause":     {func(f *Facts) { fresh(f); f.Paused, f.RetryBind = true, t0+1 }, Candidate, nil, false},
		"claimed while the daemon was away": {func(f *Facts) { f.FenceUntil, f.Claimed, f.ClaimedAt, f.Renewed = 0, true, t0, 0 }, Candidate, []Verb{ConfirmTenure}, false},
		"claimed, confirmed since":          {func(f *Facts) { f.FenceUntil, f.Claimed, f.ClaimedAt, f.Renewed = 0, true, t0, t0+1 }, Holder, []Verb{Withdraw, DefendVIP, BindVIP, AnnounceVIP}, false},
		"claimed, adopted in a pause": {func(f *Facts) {
			f.Paused, f.Long, f.FenceUntil, f.Claimed, f.ClaimedAt, f.Renewed = true, true, 0, true, t0, 0
		}, Candidate, []Verb{ConfirmTenure}, false},
		"an old claim, no fence":            {func(f *Facts) { fresh(f); f.Fenced, f.ClaimedAt, f.Renewed = false, t0, 0 }, Holder, hold, false},
		"nothing guards":                    {func(f *Facts) { fresh(f); f.Barred = "bpf refused" }, Standby, []Verb{Withdraw, RemoveVIP, Resign}, false},
		"nothing guards, checks are silent": {func(f *Facts) { f.Barred, f.HealthKnown = "bpf refused", false }, Candidate, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := fenced()
			c.edit(&f)
			to, do := Step(Candidate, f)
			if to != c.to || !slices.Equal(verbs(do), c.want) {
				t.Fatalf("Step(Candidate, %+v) = %v, %v; want %v, %v", f, to, do, c.to, c.want)
			}
			for _, a := range do {
				if a.Probe != (c.probe && a.Verb == BindVIP) {
					t.Errorf("%v probes: %t; want %t", a.Verb, a.Probe, c.probe)
				}
			}
		})
	}
}

func TestWakeBehindFence(t *testing.T) {
	for name, c := range map[string]struct {
		role Role
		edit func(*Facts)
		want time.Duration
	}{
		"let go":                  {Holder, func(*Facts) {}, brief - letGo},
		"no last second":          {Holder, func(f *Facts) { f.HeldUntil = t0.Add(2 * time.Second) }, 2*time.Second - letGo},
		"confirm again":           {Holder, func(f *Facts) { f.Claimed, f.ClaimedAt, f.Asked = true, t0, t0-1 }, confirmEvery - 1},
		"confirmed: nothing due":  {Holder, func(f *Facts) { f.Claimed, f.ClaimedAt, f.Asked = true, t0-2, t0-1 }, brief - letGo},
		"try a duplicate again":   {Candidate, func(f *Facts) { f.RetryBind = t0.Add(200 * time.Millisecond) }, 200 * time.Millisecond},
		"a duplicate of long ago": {Candidate, func(f *Facts) { f.RetryBind = t0 - 1 }, brief - letGo},
	} {
		t.Run(name, func(t *testing.T) {
			f := fenced()
			c.edit(&f)
			if got := Wake(c.role, f).Sub(t0); got != c.want {
				t.Errorf("Wake(%v, %+v) is in %v, want %v", c.role, f, got, c.want)
			}
		})
	}
}

func TestFinished(t *testing.T) {
	stopped := func(edit func(*Facts)) Facts {
		f := fenced()
		f.Stopping = true
		edit(&f)
		return f
	}
	paused := func(f *Facts) { f.Paused, f.Long = true, true }
	for name, c := range map[string]struct {
		role        Role
		f           Facts
		done, leave bool
	}{
		"not stopped":                  {Standby, Facts{KernelKnown: true, Now: t0}, false, false},
		"holder":                       {Holder, stopped(func(*Facts) {}), false, false},
		"standby":                      {Standby, stopped(func(f *Facts) { f.HeldUntil = 0 }), true, false},
		"standby with a tenure":        {Standby, stopped(func(*Facts) {}), false, false},
		"paused":                       {Holder, stopped(paused), true, true},
		"paused, tenure not long":      {Holder, stopped(func(f *Facts) { f.Paused = true }), false, false},
		"paused, shut by a claim":      {Holder, stopped(func(f *Facts) { paused(f); f.Claimed, f.ClaimedAt = true, t0 }), false, false},
		"paused, shut for too long":    {Holder, stopped(func(f *Facts) { paused(f); f.Claimed, f.ClaimedAt = true, t0.Add(-claimWait) }), true, true},
		"paused, claimed and defended": {Holder, stopped(func(f *Facts) { paused(f); f.ClaimedAt, f.DefendedAt = t0-1, t0 }), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			if done, leave := Finished(c.role, c.f); done != c.done || leave != c.leave {
				t.Errorf("Finished(%v, %+v) = %t, %t; want %t, %t", c.role, c.f, done, leave, c.done, c.leave)
			}
		})
	}
}

func TestReadingFacts(t *testing.T) {
	read := func(edit func(*Reading)) Facts {
		r := Reading{
			Now: t0, Short: t0.Add(3 * time.Second), Election: election.State{HeldUntil: t0.Add(2 * time.Second), Renewed: t0 - 5},
			VIP: vip.State{Known: true, At: t0 - 3}, Health: health.State{Known: true},
		}
		edit(&r)
		return r.Facts()
	}
	late := read(func(r *Reading) { r.Lateness = time.Second })
	if late.HeldUntil != t0.Add(time.Second) || late.ShortUntil != t0.Add(2*time.Second) || late.Fenced {
		t.Errorf("with a second of lateness: %+v", late)
	}
	if f := read(func(r *Reading) { r.Lateness, r.Election.HeldUntil = time.Second, 0 }); f.HeldUntil != 0 {
		t.Errorf("no tenure is held until %v", f.HeldUntil)
	}
	if f := read(func(r *Reading) { r.VIP.Fence = vip.Fence{Kind: "tcx", Until: t0 + 7} }); !f.Fenced || f.FenceUntil != t0+7 || f.HeldUntil != t0.Add(2*time.Second) {
		t.Errorf("behind a fence: %+v", f)
	}
	if f := read(func(r *Reading) { r.Barred, r.VIP.NoGuard = "", "bpf refused" }); f.Barred != "bpf refused" {
		t.Errorf("without a guard: %+v", f)
	}
	// The fence says that it was shut by a claim, and of the claim nothing is known yet.
	if f := read(func(r *Reading) { r.VIP.Fence = vip.Fence{Kind: "tcx", Claimed: true} }); f.confirmed() || !f.disputed() {
		t.Errorf("shut by a claim without a report: %+v; want it disputed until it is confirmed", f)
	}
	copies := []vip.Copy{{Right: true, Permanent: true}, {}}
	f := read(func(r *Reading) {
		r.Lateness, r.VIP.Copies, r.Election.AdoptUntil = time.Second, copies, t0.Add(time.Second)
	})
	if f.Copies != 2 || f.Strays != 1 || f.AdoptUntil != t0 {
		t.Errorf("with a permanent copy and a stray: %+v", f)
	}
}
