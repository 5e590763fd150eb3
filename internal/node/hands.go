package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// Elector is what a node needs of package election; *election.Candidate is one.
// None of its methods blocks.
type Elector interface {
	State() election.State
	Changed() <-chan struct{}
	Campaign(want bool)
	Say(election.MemberValue)
	Release(epoch int64, why string)
	Shorten(epoch int64, until boottime.Instant)
	ShortDeadline() boottime.Instant
	Confirm(after boottime.Instant)
	Record(election.HistoryValue)
	Leave()
}

// Addresses is what a node needs of package vip; *vip.Set is one. Its methods
// wait for the kernel, because the order of effects is the safety property.
type Addresses interface {
	State() vip.State
	Changed() <-chan struct{}
	Bind(ctx context.Context, until boottime.Instant, probe bool) error
	Extend(ctx context.Context, until boottime.Instant) error
	Defend(ctx context.Context, until boottime.Instant) error
	Release(ctx context.Context, by boottime.Instant) error
	Sweep(ctx context.Context, keepRight bool) error
	Announce(ctx context.Context) error
	Ask(ctx context.Context) error
	Lateness() time.Duration
}

// Checks is what a node needs of package health; *health.Checks is one.
type Checks interface {
	State() health.State
	Changed() <-chan struct{}
	Restart()
}

// Router is what a node needs of package vrrpcompat; *vrrpcompat.Router is one.
// Leave returns when what is to be said was sent.
type Router interface {
	State() vrrpcompat.RouterState
	Changed() <-chan struct{}
	Speak(until boottime.Instant, succeeds bool)
	Leave(invite bool)
	Fellows(sources []netip.Addr)
}

// Hands read what decisions are made from, and carry them out: the loop's, and
// those of a simulated node, which does one action at a time.
type Hands struct {
	Elect  Elector
	Addrs  Addresses
	Checks Checks
	Router Router // nil: there is no keepalived to live beside
	Memory *Memory
	Log    hclog.Logger
	Now    func() boottime.Instant
	Wall   func() time.Time
}

// Read reads everything anew.
func (h Hands) Read(stopping bool) Reading {
	r := Reading{
		Now: h.Now(), Election: h.Elect.State(), Short: h.Elect.ShortDeadline(),
		VIP: h.Addrs.State(), Lateness: h.Addrs.Lateness(), Health: h.Checks.State(), Stopping: stopping,
	}
	if h.Router != nil {
		s := h.Router.State()
		r.Router = &s
	}
	h.Memory.Fill(&r)
	return r
}

// Say keeps the member key in step with the role and the facts, and the router
// with what the others say of theirs.
func (h Hands) Say(r Role, f Facts) {
	if f.KernelKnown {
		h.Elect.Say(h.Memory.Member(r, f, h.Wall()))
	}
	if h.Router != nil {
		h.Router.Fellows(h.Memory.fellows(h.Elect.State().View.Members))
	}
}

// Do carries out one action. It returns when it is done, or has failed; the error
// names what was tried.
func (h Hands) Do(ctx context.Context, f Facts, a Action) error {
	switch a.Verb {
	case BindVIP:
		return h.Addrs.Bind(ctx, a.Until, a.Probe)
	case AnnounceVIP:
		return h.Addrs.Announce(ctx)
	case ExtendVIP:
		return h.Addrs.Extend(ctx, a.Until)
	case DefendVIP:
		return h.Addrs.Defend(ctx, a.Until)
	case RemoveVIP:
		return h.Addrs.Release(ctx, a.Until)
	case SweepStrays:
		h.Log.Warn("copies of the VIP that should not be there are removed", "copies", fmt.Sprint(h.Addrs.State().Copies))
		return h.Addrs.Sweep(ctx, true)
	case Campaign:
		h.Elect.Campaign(true)
	case Withdraw:
		h.Elect.Campaign(false)
	case Resign:
		h.Say(Standby, f)
		h.Elect.Release(h.Elect.State().Epoch, a.Why)
	case Shorten:
		h.Elect.Shorten(h.Elect.State().Epoch, a.Until.Add(h.Addrs.Lateness()))
	case ConfirmTenure:
		h.Elect.Confirm(a.Until)
	case AskVIP:
		return h.Addrs.Ask(ctx)
	case SpeakVRRP:
		h.Router.Speak(a.Until, a.Succeeds)
	case LeaveVRRP:
		h.Router.Leave(a.Invite)
	case RestartChecks:
		h.Checks.Restart()
	}
	return nil
}
