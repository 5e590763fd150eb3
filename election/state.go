package election

import (
	"time"

	"leasehold/internal/boottime"
)

// State is what a node may know of an election at one moment.
type State struct {
	View    View
	Known   bool             // the keys were read at least once
	Synced  bool             // and are watched from there on
	Heard   boottime.Instant // last watch event or read
	LastOK  boottime.Instant // when the last request that succeeded was sent
	Trouble string           // what goes wrong; empty when nothing does

	Lease     LeaseID          // of this node's member key; 0: none
	HeldUntil boottime.Instant // end of this node's tenure; zero: it holds none
	Epoch     int64            // of this node's latest tenure
	TTL       time.Duration    // of that tenure, as the holder key says
	Long      bool             // it hangs on the long lease of a pause
	PauseOver bool             // still long, but the pause is gone: Shorten
	Renewed   boottime.Instant // when the request was sent that etcd last confirmed it by
	Unclean   bool             // the tenure before it was not released, or nothing is known of one
	Over      string           // why etcd ended this node's latest tenure; empty: it did not

	FreeAt         boottime.Instant // when this node may take over; zero: not as things stand
	AdoptUntil     boottime.Instant // until when a VIP of the last run may be left alone; zero: not
	Paused         bool
	Yield          string // why the holder should hand over although it is well
	OthersEligible bool
}

// State is the present moment as a State.
func (c *Core) State() State {
	s := State{
		View: c.view, Known: c.known, Synced: c.synced, Heard: c.heard, LastOK: c.lastOK, Trouble: c.trouble.what,
		Lease: c.lease, Epoch: c.mine.epoch, TTL: c.mine.ttl, Long: c.mine.held && c.mine.long, PauseOver: c.pauseOver() && !c.mine.cut, Over: c.over,
		FreeAt: c.freeAt(), Paused: c.view.Pause != nil, OthersEligible: c.view.othersEligible(c.cfg.Node),
	}
	if c.mine.held {
		s.HeldUntil, s.Renewed, s.Unclean = c.mine.deadline, c.mine.renewed, c.mine.unclean
		if c.synced {
			s.Yield = c.view.yield(c.cfg.Node, c.cfg.PreemptDelay, c.now)
		}
	}
	if c.saved != nil {
		s.AdoptUntil = max(c.saved.Now.Deadline, c.saved.Next.Deadline)
		s.Paused = s.Paused || c.saved.Now.Long
		s.Long = c.saved.Now.Long
	}
	return s
}

// Campaign says whether this node wants the VIP.
func (c *Core) Campaign(want bool) { c.wish.campaign = want }

// Say sets what this node's member key says of it.
func (c *Core) Say(m MemberValue) { c.wish.member = m }

// Release ends the tenure of that epoch. The VIP must be gone from the host.
func (c *Core) Release(epoch int64, why string) {
	if epoch != c.mine.epoch || c.mine.rev == 0 {
		return
	}
	c.mine.held, c.mine.deadline = false, 0
	c.wish.campaign = false
	c.wish.release, c.wish.why, c.releaseAt = epoch, why, 0
}

// Shorten says that the kernel will end the tenure of that epoch by until, so
// that the holder key may go back to the short lease.
func (c *Core) Shorten(epoch int64, until boottime.Instant) {
	if epoch != c.mine.epoch || !c.mine.held {
		return
	}
	c.mine.deadline = min(c.mine.deadline, until)
	c.mine.cut = true
}

// Stop gives everything back: the tenure (after release), the leases. With
// leave the holder key stays on its long lease, because HA is paused.
func (c *Core) Stop(leave bool) {
	if c.wish.stop {
		return
	}
	c.wish.stop, c.wish.keepLease, c.wish.campaign = true, leave, false
	if leave && c.mine.held {
		c.retire(c.long.lease)
		if c.lease != c.mine.lease {
			c.retire(c.lease)
		}
		return
	}
	c.retire(c.lease)
	c.retire(c.long.lease)
}

// Stopped reports that nothing is left to give back.
func (c *Core) Stopped() bool {
	return c.wish.stop && c.wish.release == 0 && len(c.retired) == 0 && c.wish.history == nil
}
