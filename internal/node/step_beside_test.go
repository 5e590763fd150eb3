package node

import (
	"slices"
	"testing"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// beside are the facts of a fenced holder whose router is Active, and sent its last
// advert a moment ago.
func beside() Facts {
	f := fenced()
	f.VRRP, f.Told, f.QuietUntil = true, f.HeldUntil, t0.Add(3*time.Second)
	return f
}

// waiting are those of a node with a tenure whose router is not Active.
func waiting() Facts {
	f := beside()
	f.Bound, f.Copies, f.FenceUntil, f.KernelUntil, f.QuietUntil = false, 0, 0, 0, 0
	return f
}

func TestStepBesideKeepalived(t *testing.T) {
	all := func(v ...Verb) []Verb { return v }
	for name, c := range map[string]struct {
		role  Role
		facts Facts
		edit  func(*Facts)
		to    Role
		want  []Verb
	}{
		"nothing wrong":         {Holder, beside(), func(*Facts) {}, Holder, nil},
		"renewed":               {Holder, beside(), func(f *Facts) { f.HeldUntil++ }, Holder, all(SpeakVRRP, ExtendVIP)},
		"the advert ends first": {Holder, beside(), func(f *Facts) { f.QuietUntil = t0.Add(100 * time.Millisecond) }, Holder, all(ExtendVIP)},
		"a better router":       {Holder, beside(), func(f *Facts) { f.QuietUntil = 0 }, Standby, all(RemoveVIP)},
		"a better router, in a pause": {
			Holder, beside(), func(f *Facts) { f.QuietUntil, f.Paused, f.Long = 0, true, true }, Standby,
			all(RemoveVIP),
		},
		"no advert leaves any more":     {Holder, beside(), func(f *Facts) { f.QuietUntil = t0 }, Standby, all(RemoveVIP)},
		"somebody makes himself Active": {Holder, beside(), func(f *Facts) { f.Contests = 1 }, Standby, all(RemoveVIP)},
		"somebody answers":              {Holder, beside(), func(f *Facts) { f.RetryBind = t0.Add(askAgain) }, Standby, all(RemoveVIP)},
		"stopped":                       {Holder, beside(), func(f *Facts) { f.Stopping = true }, Standby, all(RemoveVIP, LeaveVRRP, Resign)},
		"the sockets broke":             {Holder, beside(), func(f *Facts) { f.Mute = "no socket" }, Standby, all(RemoveVIP, LeaveVRRP, Resign)},
		"a lower priority spoke":        {Holder, beside(), func(f *Facts) { f.Announce = 1 }, Holder, all(AnnounceVIP)},
		"a foreign claim that etcd does not know of": {Holder, beside(), func(f *Facts) {
			f.Claimed, f.ClaimedAt, f.FenceUntil, f.Renewed = true, t0.Add(-2), 0, t0.Add(-1)
		}, Holder, all(AskVIP, DefendVIP)},
		"deleted by hand": {Holder, beside(), func(f *Facts) { f.Bound, f.Copies, f.FenceUntil = false, 0, 0 }, Holder, all(BindVIP, AnnounceVIP)},

		"a tenure, told to the router":  {Candidate, waiting(), func(f *Facts) { f.Told = 0 }, Candidate, all(SpeakVRRP)},
		"a tenure, behind a better one": {Standby, waiting(), func(*Facts) {}, Standby, nil},
		"Active":                        {Candidate, waiting(), func(f *Facts) { f.QuietUntil = t0.Add(3 * time.Second) }, Holder, all(Withdraw, BindVIP, AnnounceVIP)},
		"Active, and somebody made himself so": {
			Standby, waiting(), func(f *Facts) { f.QuietUntil, f.Contests = t0.Add(3*time.Second), 1 }, Holder,
			all(Withdraw, BindVIP, AnnounceVIP),
		}, // which asks
		"Active, and somebody answers": {
			Candidate, waiting(), func(f *Facts) { f.QuietUntil, f.RetryBind = t0.Add(3*time.Second), t0.Add(1) }, Candidate,
			nil,
		},
		"unhealthy behind a better one": {Standby, waiting(), func(f *Facts) { f.Healthy = false }, Standby, all(Withdraw, RemoveVIP, LeaveVRRP, Resign)},
		"asked for elsewhere":           {Standby, waiting(), func(f *Facts) { f.Yield = "switchover" }, Standby, all(Withdraw, RemoveVIP, LeaveVRRP, Resign)},
		"the router does not work":      {Standby, waiting(), func(f *Facts) { f.Mute = "no socket" }, Standby, all(Withdraw, RemoveVIP, LeaveVRRP, Resign)},
		"a pause ends behind a better one": {
			Standby, waiting(), func(f *Facts) { f.PauseOver, f.HeldUntil, f.Told = true, t0.Add(time.Hour), t0.Add(time.Hour) }, Standby,
			all(Shorten, RestartChecks),
		},
		"a claim of an earlier run": {Standby, waiting(), func(f *Facts) {
			f.QuietUntil, f.Claimed, f.ClaimedAt, f.Renewed = t0.Add(3*time.Second), true, t0.Add(-2), t0.Add(-1)
		}, Holder, all(Withdraw, AskVIP, DefendVIP, BindVIP, AnnounceVIP)},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.facts
			c.edit(&f)
			to, do := Step(c.role, f)
			if to != c.to || !slices.Equal(verbs(do), c.want) {
				t.Fatalf("Step(%v, %+v) = %v, %v; want %v, %v", c.role, f, to, do, c.to, c.want)
			}
			for _, a := range do {
				switch a.Verb {
				case BindVIP, ExtendVIP, DefendVIP:
					if a.Until > min(f.HeldUntil, f.QuietUntil) {
						t.Errorf("%v until %v; want no longer than the tenure, %v, and the last advert, %v", a.Verb, a.Until.Sub(t0), f.HeldUntil.Sub(t0), f.QuietUntil.Sub(t0))
					}
					if a.Verb == BindVIP && !a.Probe {
						t.Error("bound without having asked whether somebody answers")
					}
				case RemoveVIP:
					if f.mustYield() && !has(do, Resign) && a.Until != 0 {
						t.Error("sessions are reset while another host has the VIP")
					}
				case LeaveVRRP:
					if a.Invite == f.OthersEligible {
						t.Errorf("invite %t, with another of ours eligible: %t", a.Invite, f.OthersEligible)
					}
				default:
				}
			}
		})
	}
}

// A router that is handed the VIP by one of ours, or by an earlier run of this
// node, does not listen first; one whose fence has shut meanwhile does.
func TestSucceeds(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Reading)
		want bool
	}{
		"nothing is known":                {func(*Reading) {}, false},
		"another of ours was Active":      {func(r *Reading) { r.Succeeds = true }, true},
		"an earlier run answers":          {func(r *Reading) { r.VIP.Bound, r.VIP.Fence.Until = true, t0.Add(1) }, true},
		"an earlier run was silent":       {func(r *Reading) { r.VIP.Bound, r.VIP.Fence.Until = true, t0 }, false},
		"somebody else claimed it":        {func(r *Reading) { r.VIP.Bound, r.VIP.Fence.Until, r.VIP.Fence.Claimed = true, t0.Add(1), true }, false},
		"an earlier run, lifetimes alone": {func(r *Reading) { r.VIP.Bound, r.VIP.Fence.Kind, r.VIP.KernelUntil = true, "", t0.Add(1) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := Reading{Now: t0, Router: &vrrpcompat.RouterState{}, VIP: vip.State{Fence: vip.Fence{Kind: "tcx"}}}
			c.edit(&r)
			if got := r.Facts().Succeeds; got != c.want {
				t.Errorf("succeeds = %t; want %t", got, c.want)
			}
		})
	}
}

// The kernel's lateness is taken off the end that an advert gives, as off the
// tenure's; a gate has none.
func TestQuietUntil(t *testing.T) {
	for quiet, want := range map[boottime.Instant]boottime.Instant{
		0: 0, vrrpcompat.Endless: vrrpcompat.Endless, t0.Add(time.Second): t0.Add(time.Second - lateness),
	} {
		r := Reading{Now: t0, Lateness: lateness, Router: &vrrpcompat.RouterState{QuietUntil: quiet}}
		if got := r.Facts().QuietUntil; got != want {
			t.Errorf("QuietUntil %d became %d; want %d", quiet, got, want)
		}
	}
}

// Lifetimes are whole seconds: adverts that come often need the fence.
func TestShortIntervalNeedsFence(t *testing.T) {
	r := Reading{Now: t0, VIP: vip.State{Known: true}, Lateness: 1045 * time.Millisecond, Router: &vrrpcompat.RouterState{Interval: time.Second, Quiet: 3004 * time.Millisecond}}
	if r.Facts().Barred == "" {
		t.Error("not barred without a fence")
	}
	r.Router.Interval, r.Router.Quiet = 2*time.Second, 6004*time.Millisecond
	if why := r.Facts().Barred; why != "" {
		t.Error(why)
	}
	r.Router.Interval, r.VIP.Fence.Kind = 10*time.Millisecond, "tcx"
	if why := r.Facts().Barred; why != "" {
		t.Error(why)
	}
}
