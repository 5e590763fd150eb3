// Package node decides what one node does about one service, and does it.
//
// step.go is the decision: a pure function of the role and the facts. loop.go is
// the thin shell around it. It is the only package that knows both the election
// and the addresses.
package node

import (
	"time"

	"leasehold/internal/boottime"
)

const (
	// letGo is how long before its end a tenure is let go, so that the clients'
	// connections are reset while the address is still there (measured: 1000
	// sessions in 61 ms).
	letGo = 70 * time.Millisecond

	// renewSoon is how long before the end of the last whole second of a tenure
	// the kernel's lifetime is refreshed once more. Lifetimes are whole seconds, so
	// without it a second of the tenure would be lost.
	renewSoon = 40 * time.Millisecond
)

// Step decides. It returns the role after the actions, and the actions in the
// order in which they must happen.
func Step(r Role, f Facts) (Role, []Action) {
	if !f.KernelKnown {
		return r, nil
	}
	held := f.Now.Before(f.HeldUntil.Add(-letGo))
	if r == Holder {
		if why := f.leave(held); why != "" {
			return Standby, f.resign(why)
		}
		if f.mustYield() {
			return Standby, f.yield()
		}
		return Holder, f.repair()
	}
	if held {
		return f.enter(r)
	}
	if f.HeldUntil != 0 && r == Candidate {
		return f.spent()
	}
	if f.Copies > 0 && (!f.Now.Before(f.AdoptUntil) || f.Stopping && !f.Paused) {
		return r, []Action{{Verb: RemoveVIP, Until: f.removeBy()}}
	}
	switch want := f.unfit() == "" && !f.Paused && f.FreeAt != 0; {
	case r == Standby && want && !f.Now.Before(f.FreeAt):
		return Candidate, []Action{{Verb: Campaign}}
	case r == Candidate && (!want || f.Now.Before(f.FreeAt)):
		return Standby, []Action{{Verb: Withdraw}}
	}
	return r, nil
}

// enter is a tenure that this node got, or finds that it still has.
func (f *Facts) enter(r Role) (Role, []Action) {
	why := f.unfit()
	if f.Now.Before(f.RetryBind) || !f.speaks() {
		why = or(why, f.Yield) // what a holder would follow: perhaps it goes better there
	}
	// An earlier run held it: no reason to drop it before the checks have spoken.
	early := f.LinkUp && !f.HealthKnown && !f.Stopping
	switch {
	case f.Paused && f.Stopping && f.Copies > 0:
		return Holder, nil // adopted while stopping: it is left as it is
	case f.Paused && !f.LinkUp:
		return r, nil // nothing to bind it to yet, and the tenure lives on
	case !f.Paused && early && (f.Copies == 0 || f.Barred != ""):
		return r, nil
	case !f.Paused && !early && why != "":
		return Standby, append([]Action{{Verb: Withdraw}}, f.resign(why)...)
	case !f.speaks(): // a foreign router has the VIP, or may have it
		return r, append(f.speak(), f.shortenAlone()...)
	case f.Now.Before(f.RetryBind):
		return r, f.speak() // somebody else answers for the VIP, and another node of ours would find the same
	case f.Fenced && f.disputed() && !f.confirmed():
		return r, append(f.speak(), f.confirm()...)
	}
	do := append(f.speak(), Action{Verb: Withdraw})
	if f.Claimed { // of an earlier run: Bind does not open what a claim has shut
		do = append(do, f.defend()...)
	}
	return Holder, append(do, Action{Verb: BindVIP, Until: f.end(), Probe: f.mustAsk()}, Action{Verb: AnnounceVIP})
}

// spent is a tenure that ran out before the VIP could be bound. It is given up:
// its renewals may still reach an etcd whose answers do not reach us, and would
// keep everybody else waiting.
func (f *Facts) spent() (Role, []Action) {
	return Standby, append([]Action{{Verb: Withdraw}}, f.resign("the tenure ran out before the VIP could be bound")...)
}

// resign takes the VIP away before anybody is invited.
func (f *Facts) resign(why string) []Action {
	do := []Action{{Verb: RemoveVIP, Until: f.removeBy()}}
	if f.VRRP {
		do = append(do, Action{Verb: LeaveVRRP, Invite: !f.OthersEligible})
	}
	return append(do, Action{Verb: Resign, Why: why})
}

// leave says why the holder must let go; empty: it need not. Only the end of
// the tenure takes a paused VIP away.
func (f *Facts) leave(held bool) string {
	switch {
	case !held && f.Ended != "":
		return f.Ended
	case !held:
		return "the tenure could not be renewed"
	case f.Paused, f.toShorten():
		return ""
	case f.Stopping:
		return "stopped"
	case !f.LinkUp:
		return or(f.LinkWhy, "the link is down")
	case f.Mute != "":
		return f.Mute
	case f.HealthKnown && !f.Healthy && (!f.LastStanding || f.OthersEligible):
		return or(f.HealthWhy, "a check fails")
	case f.Barred != "":
		return f.Barred
	case f.OthersEligible && f.Strained != "":
		return f.Strained
	}
	return f.Yield
}

// toShorten reports whether the tenure has to go back to the short lease, because
// its pause is over. A pause that is still there is only a shorter one: it can
// wait for a link that is down with part of the VIPs in place.
func (f *Facts) toShorten() bool {
	return f.PauseOver && (!f.Paused || f.LinkUp || f.Copies == 0 || f.Bound)
}

// shorten makes the kernel's deadline short, then the key's: take away before
// inviting. A VIP that is missing must not keep the tenure long, or nobody would
// have it until that ran out.
func (f *Facts) shorten() []Action {
	short := min(f.ShortUntil, f.HeldUntil)
	until := min(short, f.end())
	then := []Action{{Verb: Shorten, Until: short}, {Verb: RestartChecks}}
	switch {
	case f.HeldUntil <= f.ShortUntil, f.Copies == 0, f.Claimed:
		return then // the kernel has nothing that lasts longer, or has shut it
	case f.Bound, f.Permanent:
		return append([]Action{{Verb: ExtendVIP, Until: until}}, then...)
	case f.LinkUp:
		return append([]Action{{Verb: BindVIP, Until: until}, {Verb: AnnounceVIP}}, then...)
	}
	return append([]Action{{Verb: RemoveVIP, Until: f.removeBy()}}, then...)
}

// unfit says why a node that does not hold may not; empty: it may.
func (f *Facts) unfit() string {
	switch {
	case f.Stopping:
		return "stopping"
	case !f.LinkUp:
		return or(f.LinkWhy, "the link is not known yet")
	case f.Mute != "":
		return f.Mute
	case !f.HealthKnown:
		return "the checks have not spoken yet"
	case !f.Healthy:
		return or(f.HealthWhy, "a check fails")
	case f.Barred == "" && f.OthersEligible:
		return f.Strained
	}
	return f.Barred
}

// repair keeps the holder's VIP as it should be.
func (f *Facts) repair() []Action {
	if f.toShorten() {
		return f.shorten()
	}
	do := f.speak()
	if f.Strays > 0 && !f.Stopping {
		do = append(do, Action{Verb: SweepStrays})
	}
	if f.disputed() && !f.confirmed() {
		do = append(do, f.confirm()...)
		if f.Claimed || !f.Bound && !f.Permanent {
			return do // neither opened nor put back before etcd has answered
		}
	}
	switch {
	case !f.fits():
	case f.Stopping && !f.Bound && !f.Permanent: // paused: what is not there is not put back
	case !f.Stopping && !f.LinkUp:
	case f.disputed() && f.confirmed(): // first: Bind does not open what a claim has shut
		do = append(do, f.defend()...)
	case !f.Bound && !f.Permanent:
		do = append(do, Action{Verb: BindVIP, Until: f.end(), Probe: f.VRRP}, Action{Verb: AnnounceVIP})
	case f.Permanent || f.extend():
		do = append(do, Action{Verb: ExtendVIP, Until: f.end()})
	}
	if f.Announce > f.Announced && f.Bound && !f.Claimed && !f.Stopping {
		do = append(do, Action{Verb: AnnounceVIP})
	}
	return do
}

// room is what is left of the tenure, for the kernel.
func (f *Facts) room() time.Duration { return f.end().Sub(f.Now) }

// fits reports whether the rest of the tenure is long enough for the kernel:
// lifetimes are whole seconds, a fence is exact.
func (f *Facts) fits() bool { return f.Fenced || f.room() >= time.Second }

// extend reports whether the kernel's end of the tenure should be set anew.
// Behind a fence that is one store, and follows every renewal.
//
// Lifetimes are whole seconds, so one that was set just now may end up to a
// second before the tenure. The refresh follows the renewals and not the clock,
// because each makes the kernel tell every listener; only the last whole second
// of a tenure is used up to where the VIP is let go.
func (f *Facts) extend() bool {
	switch {
	case f.Fenced:
		return f.FenceUntil != f.end()
	case f.room() < time.Second+letGo:
		return f.KernelUntil.Before(f.end().Add(-letGo))
	}
	return f.end().Sub(f.KernelUntil) >= time.Second
}

// removeBy is when the VIP must be gone.
func (f *Facts) removeBy() boottime.Instant {
	if f.Now.Before(f.HeldUntil) {
		return max(f.Now.Add(letGo), min(f.HeldUntil, f.Now.Add(resetBudget)))
	}
	return f.Now.Add(letGo)
}

// resetBudget bounds how long the reset of the clients may hold up a successor.
const resetBudget = 250 * time.Millisecond

// Eligible says whether a node in this role and with these facts could hold the
// VIP, and if not, why. It is what the member key says. A strained host says no and
// may hold nevertheless, as long as no other says yes.
func Eligible(r Role, f Facts) (bool, string) {
	if r == Holder && !f.HealthKnown {
		f.HealthKnown, f.Healthy = true, true
	}
	why := or(f.unfit(), f.Strained)
	return why == "", why
}

// Wake is the next moment at which Step may decide otherwise without a new
// fact; zero: none.
func Wake(r Role, f Facts) boottime.Instant {
	var at boottime.Instant
	soonest := func(t boottime.Instant) {
		if f.Now.Before(t) && (at == 0 || t < at) {
			at = t
		}
	}
	if f.HeldUntil != 0 {
		soonest(f.HeldUntil.Add(-letGo))
		if !f.Fenced {
			soonest(f.end().Add(-time.Second - renewSoon))
		}
		soonest(f.RetryBind)
		if f.disputed() && !f.confirmed() && f.Asked != 0 {
			soonest(f.Asked.Add(confirmEvery))
		}
	}
	if r == Standby {
		soonest(f.FreeAt)
	}
	if r == Holder && f.VRRP {
		soonest(f.QuietUntil)
	}
	soonest(f.AdoptUntil)
	return at
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
