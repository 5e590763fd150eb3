package node

import (
	"fmt"
	"time"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// Reading is everything that a node looks at for one decision, as its sources
// say it. The loop and the simulation make one from the same sources and have it
// turned into Facts by the same function.
type Reading struct {
	Now      boottime.Instant
	Election election.State
	Short    boottime.Instant // when a tenure of the short ttl that is renewed now would end
	VIP      vip.State
	Lateness time.Duration // by which the kernel may be late; it changes when the fence comes or goes
	Health   health.State

	// From the node's Memory, see Memory.Fill.
	Barred       string           // why the VIP cannot be had here; empty: it can
	RetryBind    boottime.Instant // nothing is bound before then
	Asked        boottime.Instant // when the tenure was last asked to be confirmed
	LastStanding bool
	Strained     string // why another host should rather hold; empty: it need not

	// Router is nil where the service has none.
	Router    *vrrpcompat.RouterState
	Succeeds  bool   // another of our nodes had the VIP, and its router was Active
	Announced uint64 // how often the VIP was announced because the router wanted it
	Settled   uint64 // how many times that somebody made himself Active beside us were settled

	Stopping bool
}

// Facts is the reading in the words of Step. The kernel's lateness is taken off
// every deadline here, and nowhere else.
func (r Reading) Facts() Facts {
	e, v, h := r.Election, r.VIP, r.Health
	f := Facts{
		Now:            r.Now,
		FreeAt:         e.FreeAt,
		AdoptUntil:     e.AdoptUntil,
		ShortUntil:     r.Short.Add(-r.Lateness),
		Paused:         e.Paused,
		Long:           e.Long,
		PauseOver:      e.PauseOver,
		Yield:          e.Yield,
		Ended:          e.Over,
		OthersEligible: e.OthersEligible,
		Renewed:        e.Renewed,
		Unclean:        e.Unclean,

		KernelKnown: v.Known,
		LinkUp:      v.LinkUp,
		LinkWhy:     v.LinkWhy,
		Bound:       v.Bound,
		Permanent:   v.Permanent,
		Copies:      len(v.Copies),
		KernelUntil: v.KernelUntil,

		Fenced:     v.Fence.Kind != "",
		FenceUntil: v.Fence.Until,
		Claimed:    v.Fence.Claimed,
		ClaimedAt:  v.Claim.At,
		DefendedAt: v.Claim.Defended,

		HealthKnown: h.Known,
		Healthy:     h.Healthy,
		HealthWhy:   h.Why,

		Barred:       or(v.NoGuard, r.Barred),
		Strained:     r.Strained,
		RetryBind:    r.RetryBind,
		Asked:        r.Asked,
		LastStanding: r.LastStanding,
		Stopping:     r.Stopping,
	}
	r.beside(&f)
	if e.HeldUntil != 0 {
		f.HeldUntil = e.HeldUntil.Add(-r.Lateness)
	}
	if f.Claimed && f.DefendedAt >= f.ClaimedAt { // its report is still on the way, or was lost
		f.ClaimedAt = v.At
	}
	for _, c := range v.Copies {
		if !c.Right {
			f.Strays++
		}
		if c.Permanent && e.AdoptUntil != 0 { // no lifetime of the last run ends it, only we do
			f.AdoptUntil = e.AdoptUntil.Add(-r.Lateness)
		}
	}
	return f
}

// beside adds what the router says.
func (r Reading) beside(f *Facts) {
	s := r.Router
	if s == nil {
		return
	}
	f.VRRP, f.QuietUntil, f.Told = true, s.QuietUntil, s.Told
	if s.QuietUntil != 0 && s.QuietUntil != vrrpcompat.Endless {
		f.QuietUntil = s.QuietUntil.Add(-r.Lateness)
	}
	f.Station = s.Station().String()
	f.Announce, f.Announced, f.Mute = s.Announce, r.Announced, s.Trouble
	f.Contests, f.Settled = s.Contests, r.Settled
	if f.Mute != "" {
		f.Mute = "VRRP does not work: " + f.Mute
	}
	// A lifetime is a whole second at least, and must last until the next advert.
	if s.Mode == vrrpcompat.ModeFull && r.VIP.Known && !f.Fenced && s.Quiet-r.Lateness-s.Interval < time.Second {
		f.Barred = or(f.Barred, fmt.Sprintf("adverts every %s need the fence: without one a VIP could not be taken from this host before a Backup takes over", s.Interval))
	}
	// What answers here was ours all the time, under an earlier run of the daemon.
	answers := f.Now.Before(f.KernelUntil)
	if f.Fenced {
		answers = f.Now.Before(f.FenceUntil) && !f.Claimed
	}
	f.Succeeds = r.Succeeds || answers && f.Bound
}
