package node

import "time"

// disputed reports a foreign claim of the VIP that has not been answered. Behind
// a fence the kernel has shut it, and nothing but an answer opens it: a claim
// means that somebody else may be right, so etcd is asked, by a request that was
// sent after the claim. Is the tenure still ours, the VIP is opened and announced
// again; is it not, it is let go like any tenure that is over. A pause makes no
// difference: "never two" stands above "pause means pause", and an etcd that
// cannot answer leaves the VIP shut, not doubled.
func (f *Facts) disputed() bool {
	return f.Claimed || f.DefendedAt < f.ClaimedAt
}

// confirmed reports that etcd had the tenure as ours after the last claim.
func (f *Facts) confirmed() bool { return f.ClaimedAt < f.Renewed }

// confirm asks for that, not more often than confirmEvery.
func (f *Facts) confirm() []Action {
	if f.Asked != 0 && f.Now.Before(f.Asked.Add(confirmEvery)) {
		return nil
	}
	return []Action{{Verb: ConfirmTenure, Until: f.ClaimedAt}}
}

// confirmEvery is how often etcd is asked at most whether a tenure that is
// claimed by somebody else is still ours: an answer takes 1 to 10 ms on a LAN,
// and only one that was lost is asked for again.
const confirmEvery = 50 * time.Millisecond
