package node

import "leasehold/internal/boottime"

// speaks reports whether the VIP may be on this host as far as VRRP goes: there is
// no router beside keepalived, or it is Active and was heard not long ago.
func (f *Facts) speaks() bool { return !f.VRRP || f.Now.Before(f.QuietUntil) }

// end is when the kernel has to stop answering for the VIP: with the tenure, and
// beside keepalived no later than a Backup there takes over because it hears no
// adverts, so that a node of ours that is killed or frozen is silent by then.
func (f *Facts) end() boottime.Instant {
	if f.VRRP {
		return min(f.HeldUntil, f.QuietUntil)
	}
	return f.HeldUntil
}

// mustYield reports that the holder keeps its tenure and lets go of the VIP: the
// router is not Active any more, another host answers for the VIP, or is about to. The
// next turn asks who does, and binds it again if nobody.
func (f *Facts) mustYield() bool {
	return f.VRRP && (!f.speaks() || f.Now.Before(f.RetryBind) || f.Contests > f.Settled)
}

// yield resets no sessions: the other host has the VIP already, and its kernel
// does.
func (f *Facts) yield() []Action { return append(f.speak(), Action{Verb: RemoveVIP}) }

// speak tells the router how long the tenure lasts, if it does not know.
func (f *Facts) speak() []Action {
	if !f.VRRP || f.Told == f.HeldUntil {
		return nil
	}
	return []Action{{Verb: SpeakVRRP, Until: f.HeldUntil, Succeeds: f.Succeeds}}
}

// shortenAlone puts a tenure that was made for a pause back on the short lease
// while the VIP is with a foreign router.
func (f *Facts) shortenAlone() []Action {
	if !f.toShorten() || f.Copies > 0 {
		return nil
	}
	return f.shorten()
}

// mustAsk reports whether the network is to be asked before the VIP is bound.
// Beside keepalived always, for a router that is cut off or frozen keeps its
// addresses; but not for a VIP that never stopped answering here.
func (f *Facts) mustAsk() bool {
	if f.VRRP {
		return !f.Bound || !f.Fenced || !f.Now.Before(f.FenceUntil)
	}
	return f.Unclean
}

// defend answers a claim that etcd did not bear out. Beside keepalived that proves
// nothing, for etcd does not know of keepalived: who answers on the network has
// the VIP.
func (f *Facts) defend() []Action {
	defend := Action{Verb: DefendVIP, Until: f.end()}
	if f.VRRP {
		return []Action{{Verb: AskVIP}, defend}
	}
	return []Action{defend}
}
