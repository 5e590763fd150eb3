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

// Role is a node's part in a service.
type Role uint8

const (
	// Standby neither holds the VIP nor asks for it.
	Standby Role = iota
	// Candidate asks for the VIP.
	Candidate
	// Holder has the VIP on its host.
	Holder
)

func (r Role) String() string { return [...]string{"standby", "candidate", "holder"}[r] }

// Facts is what a node knows at one moment. Facts are levels: a lost or doubled
// report changes nothing, and the zero Facts lead to doing nothing.
type Facts struct {
	Now boottime.Instant

	// From etcd.
	HeldUntil      boottime.Instant // end of our tenure, the kernel's lateness taken off; zero: none
	FreeAt         boottime.Instant // when we may take over; zero: not as things stand
	AdoptUntil     boottime.Instant // until when the VIP of an earlier run may stay; zero: not
	ShortUntil     boottime.Instant // what HeldUntil would be on a tenure of the short ttl from now on
	Paused         bool
	Long           bool   // the tenure covers the pause
	PauseOver      bool   // it does, but the pause is gone
	Yield          string // why the holder should hand over although it is well
	Ended          string // why etcd ended our latest tenure
	OthersEligible bool
	Renewed        boottime.Instant // when the request was sent by which etcd last confirmed our tenure
	Unclean        bool             // the tenure before ours was not released, or nothing is known of one

	// From the kernel.
	KernelKnown bool // it was read at least once; until then nothing is decided
	LinkUp      bool
	LinkWhy     string
	Bound       bool             // every VIP is there as configured, with a finite lifetime
	Permanent   bool             // somebody made its lifetime infinite
	Copies      int              // of a VIP, anywhere on this host
	Strays      int              // of those, not as configured
	KernelUntil boottime.Instant // the kernel removes a VIP no sooner than this

	// From the fence, the kernel's exact end of a tenure.
	Fenced     bool             // there is one; else lifetimes of whole seconds are all
	FenceUntil boottime.Instant // it passes the VIP's frames until then; zero: it is shut
	Claimed    bool             // it was shut by the kernel because somebody else claimed the VIP

	// Of the last foreign claim of the VIP while it was ours.
	ClaimedAt  boottime.Instant
	DefendedAt boottime.Instant // when one was last answered

	// From the checks.
	HealthKnown bool
	Healthy     bool
	HealthWhy   string

	Barred string // why this node may not hold although it is well; empty: it may

	// From what was done before.
	RetryBind boottime.Instant // somebody else answered for the VIP: nothing is bound before then
	Asked     boottime.Instant // when the tenure was last asked to be confirmed

	// From the configuration and the process.
	LastStanding bool // keep the VIP when nobody is healthy
	Stopping     bool
}

// Verb is what an Action does.
type Verb uint8

const (
	// BindVIP adds the VIPs, or puts right what is there.
	BindVIP Verb = iota
	// AnnounceVIP tells the neighbours.
	AnnounceVIP
	// ExtendVIP gives the VIPs a lifetime up to Until.
	ExtendVIP
	// RemoveVIP resets the clients, shuts the fence and deletes every copy, by Until.
	RemoveVIP
	// SweepStrays deletes the copies that are not as configured.
	SweepStrays
	// Campaign asks for the VIP.
	Campaign
	// Withdraw no longer asks for it.
	Withdraw
	// Resign lets a successor in.
	Resign
	// Shorten puts the tenure back on the short lease, the kernel's deadline being
	// Until already.
	Shorten
	// RestartChecks makes every check pass a full round before it counts.
	RestartChecks
	// ConfirmTenure asks etcd whether the tenure is still ours, because somebody
	// else claims the VIP.
	ConfirmTenure
	// DefendVIP opens the fence again until Until and tells the neighbours.
	DefendVIP
)

func (v Verb) String() string {
	return [...]string{
		"bind", "announce", "extend", "remove", "sweep", "campaign", "withdraw", "resign", "shorten", "restart checks",
		"confirm", "defend",
	}[v]
}

// Action is one effect. The order of actions is the contract: each is done
// before the next begins, and when one fails the rest are skipped and the role
// stays.
type Action struct {
	Verb  Verb
	Until boottime.Instant
	Why   string
	Probe bool // BindVIP: ask first whether somebody answers for the VIP
}

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
			return Standby, []Action{{Verb: RemoveVIP, Until: f.removeBy()}, {Verb: Resign, Why: why}}
		}
		return Holder, f.repair()
	}
	if held {
		return f.enter(r)
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
	hold := []Action{{Verb: Withdraw}, {Verb: BindVIP, Until: f.HeldUntil}, {Verb: AnnounceVIP}}
	why := f.unfit()
	switch {
	case f.Paused && f.Stopping && f.Copies > 0:
		return Holder, nil // adopted while stopping: it is left as it is
	case f.Paused && !f.LinkUp:
		return r, nil // nothing to bind it to yet, and the tenure lives on
	case f.Paused || why == "":
		return Holder, hold
	case f.LinkUp && !f.HealthKnown && !f.Stopping && f.Copies > 0:
		return Holder, hold // an earlier run held it: no reason to drop it before the checks have spoken
	case f.LinkUp && !f.HealthKnown && !f.Stopping:
		return r, nil
	}
	return Standby, []Action{{Verb: Withdraw}, {Verb: RemoveVIP, Until: f.removeBy()}, {Verb: Resign, Why: why}}
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
	case f.HealthKnown && !f.Healthy && (!f.LastStanding || f.OthersEligible):
		return or(f.HealthWhy, "a check fails")
	case f.Barred != "":
		return f.Barred
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
	until := min(f.ShortUntil, f.HeldUntil)
	then := []Action{{Verb: Shorten, Until: until}, {Verb: RestartChecks}}
	switch {
	case f.HeldUntil <= f.ShortUntil, f.Copies == 0:
		return then // the kernel has nothing that lasts longer
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
	case !f.HealthKnown:
		return "the checks have not spoken yet"
	case !f.Healthy:
		return or(f.HealthWhy, "a check fails")
	}
	return f.Barred
}

// repair keeps the holder's VIP as it should be.
func (f *Facts) repair() []Action {
	switch {
	case f.toShorten():
		return f.shorten()
	case f.Stopping && f.room() >= time.Second && (f.Permanent || f.Bound && f.extend()):
		return []Action{{Verb: ExtendVIP, Until: f.HeldUntil}} // nobody will be there to do it during the pause
	case f.Stopping:
		return nil // paused: it stays as it is
	}
	var do []Action
	if f.Strays > 0 {
		do = append(do, Action{Verb: SweepStrays})
	}
	switch {
	case !f.LinkUp || f.room() < time.Second:
	case !f.Bound && !f.Permanent:
		do = append(do, Action{Verb: BindVIP, Until: f.HeldUntil}, Action{Verb: AnnounceVIP})
	case f.Permanent || f.extend():
		do = append(do, Action{Verb: ExtendVIP, Until: f.HeldUntil})
	}
	return do
}

// room is what is left of the tenure.
func (f *Facts) room() time.Duration { return f.HeldUntil.Sub(f.Now) }

// extend reports whether the kernel's lifetime should be set anew. Lifetimes are
// whole seconds, so one that was set just now may end up to a second before the
// tenure. The refresh follows the renewals and not the clock, because each makes
// the kernel tell every listener; only the last whole second of a tenure is used
// up to where the VIP is let go.
func (f *Facts) extend() bool {
	if f.room() < time.Second+letGo {
		return f.KernelUntil.Before(f.HeldUntil.Add(-letGo))
	}
	return f.HeldUntil.Sub(f.KernelUntil) >= time.Second
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
// VIP, and if not, why. It is what the member key says.
func Eligible(r Role, f Facts) (bool, string) {
	if r == Holder && !f.HealthKnown {
		f.HealthKnown, f.Healthy = true, true
	}
	why := f.unfit()
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
		soonest(f.HeldUntil.Add(-time.Second - renewSoon))
	}
	if r == Standby {
		soonest(f.FreeAt)
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
