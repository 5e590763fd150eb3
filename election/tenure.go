package election

import (
	"slices"
	"time"

	"leasehold/internal/boottime"
)

// pollRenew renews the tenure every fifth of its ttl. A renewal that is slow or
// failed is not waited for: the next one goes to every endpoint at once, so that
// one good endpoint is enough, however many bad ones come before it.
func (c *Core) pollRenew() []Request {
	m := &c.mine
	if !m.held || m.moving != nil || m.cut || c.now.Before(m.renewAt) || c.flying[KindRenew] > 2*max(1, c.cfg.Endpoints) {
		return nil
	}
	if m.confirm {
		m.confirm, m.asked = false, c.now
		if m.long {
			return []Request{c.confirmation()}
		}
	}
	if m.long && c.timedPause() {
		m.renewAt = c.now.Add(m.ttl) // it ends by itself: to renew it would make everybody wait longer
		return nil
	}
	if m.long && c.now.Sub(m.kept) > m.ttl/10 {
		return c.keepLong()
	}
	m.asked = c.now
	out := []Request{c.renewal(0)}
	if m.late {
		for i := 1; i < c.cfg.Endpoints; i++ {
			out = append(out, c.renewal(i))
		}
	}
	m.late = true // until a success says otherwise
	m.renewAt = c.now.Add(min(m.ttl/10, hedge))
	return out
}

// keepLong keeps the lease of a long tenure alive, and only then is the tenure
// renewed: others may cut their wait short by what etcd says is left of that
// lease (pollCap), so the deadline must not go past it.
func (c *Core) keepLong() []Request {
	m := &c.mine
	l := m.lease
	m.renewAt = c.now.Add(min(m.ttl/10, hedge))
	if c.flying[KindKeepAlive] > 2*max(1, c.cfg.Endpoints) {
		return nil
	}
	return []Request{c.ask(Request{
		Kind: KindKeepAlive, Lease: l, Skip: c.skip(KindKeepAlive),
		Done: func(r Reply) {
			switch {
			case r.LeaseGone:
				c.leaseLost(l)
			case r.Err == nil && m.lease == l:
				m.kept, m.renewAt = max(m.kept, r.Sent), c.now
			}
		},
	})}
}

// renewal is one try, at the endpoint that many after the current one.
func (c *Core) renewal(endpoint int) Request {
	m := &c.mine
	lease, epoch, ttl, kept := m.lease, m.epoch, m.ttl, m.kept
	return c.ask(Request{
		Kind: KindRenew,
		Skip: endpoint,
		Txn: Txn{
			If:   []Cond{onLease(c.keys.Holder(), lease)},
			Then: []Write{put(c.keys.Holder(), c.holderValue(ttl, m.long), lease)},
		},
		Done: func(r Reply) {
			if !m.held || m.epoch != epoch || m.lease != lease || m.cut {
				return // of a tenure that is over, or was hung on another lease since, or is about to be
			}
			switch {
			case r.LeaseGone:
				c.doubt("etcd no longer knows the lease " + lease.String())
			case r.Err != nil:
				m.renewAt = min(m.renewAt, c.retryAt[KindRenew])
			case !r.Succeeded:
				c.doubt("the holder key is not on our lease any more")
			default:
				from := r.Sent
				if m.long {
					from = min(from, kept)
				}
				m.deadline = max(m.deadline, Deadline(from, ttl, c.cfg.Margin))
				m.renewed = max(m.renewed, r.Sent)
				m.late = false
				m.renewAt = max(m.renewAt, r.Sent.Add(ttl/5))
			}
		},
	})
}

// confirmation asks whether the holder key is still on our lease, and changes
// nothing: what a long tenure needs, whose renewal would make others wait longer.
func (c *Core) confirmation() Request {
	m := &c.mine
	lease, epoch := m.lease, m.epoch
	return c.ask(Request{
		Kind: KindConfirm, Skip: c.skip(KindConfirm),
		Txn: Txn{If: []Cond{onLease(c.keys.Holder(), lease)}},
		Done: func(r Reply) {
			switch {
			case !m.held || m.epoch != epoch || m.lease != lease:
			case r.Err != nil:
				m.asked = 0
			case !r.Succeeded:
				c.doubt("the holder key is not on our lease any more")
			default:
				m.renewed = max(m.renewed, r.Sent)
			}
		},
	})
}

// Confirm has the tenure confirmed by a request that is sent after the given
// moment, unless one is under way: somebody else has claimed the VIP. State's
// Renewed tells when it was.
func (c *Core) Confirm(after boottime.Instant) {
	m := &c.mine
	if m.held && !after.Before(m.asked) && !m.confirm {
		m.confirm, m.renewAt = true, c.now
	}
}

func (c *Core) holderValue(ttl time.Duration, paused bool) string {
	return encode(HolderValue{Node: c.cfg.Node, TTL: Seconds(ttl), Epoch: c.mine.epoch, VIPs: c.cfg.VIPs, Since: c.mine.since, Paused: paused})
}

// tenureValue is the record of this node's tenure on the given lease.
func (c *Core) tenureValue(state, why string, lease LeaseID, ttl time.Duration) string {
	return encode(TenureValue{
		Epoch: c.mine.epoch, Node: c.cfg.Node, Lease: lease, TTL: Seconds(ttl),
		State: state, Why: why, At: c.wall.UTC().Truncate(time.Millisecond),
	})
}

// lost ends the tenure in our books: somebody or something in etcd ended it.
// The node lets go when it reads this, and then wishes the release.
func (c *Core) lost(why string) {
	c.over = why
	c.mine.held, c.mine.deadline = false, 0
	c.unsync()
}

// doubt is what a renewal that failed gives of the tenure: it is lost, unless a
// move of the key to another lease is under way, which a renewal that was sent
// before it may see done before we hear of it. Then the key itself tells.
func (c *Core) doubt(why string) {
	if c.mine.moving != nil {
		c.unsync()
		return
	}
	c.lost(why)
}

// pollTake tries to take over once the rules allow it.
func (c *Core) pollTake() []Request {
	if !c.wish.campaign || c.wish.stop || c.mine.held || c.lease == 0 || c.memberOn != c.lease || c.flying[KindTake] >= 4 {
		return nil
	}
	if at := c.freeAt(); at.IsZero() || c.now.Before(at) || c.now.Before(c.takeAt) || c.wish.release != 0 {
		return nil
	}
	if c.stillBeaten() {
		return nil
	}
	c.takeAt = c.now.Add(min(c.cfg.TTL/10, hedge))
	v := &c.view
	epoch := c.nextEpoch()
	if c.tried.epoch != epoch || c.tried.lease != c.lease {
		c.tried = attempt{epoch: epoch, lease: c.lease, sent: c.now, since: c.wall.UTC().Truncate(time.Millisecond), unclean: !v.released()}
	}
	t, ifs := c.tried, c.takeIfs()
	hv := HolderValue{Node: c.cfg.Node, TTL: Seconds(c.cfg.TTL), Epoch: epoch, VIPs: c.cfg.VIPs, Since: t.since}
	tv := TenureValue{Epoch: epoch, Node: c.cfg.Node, Lease: c.lease, TTL: Seconds(c.cfg.TTL), State: TenureHeld, At: t.since}
	then := []Write{put(c.keys.Holder(), encode(hv), c.lease), put(c.keys.Tenure(), encode(tv), 0)}
	if v.Switchover != nil {
		then = append(then, del(c.keys.Switchover()))
	}
	return []Request{c.ask(Request{
		Kind: KindTake, Skip: c.skip(KindTake), Txn: Txn{If: ifs, Then: then},
		Done: func(r Reply) {
			switch {
			case r.LeaseGone:
				c.leaseLost(t.lease)
			case r.Err != nil: // it may have been carried out all the same: the next try's compare tells
			case !r.Succeeded:
				c.takeAt = c.now // once the watch, or a read, has told why
				c.beaten, c.beatenAt = ifs, c.now
			default:
				c.takeAt = c.now
				c.took(t, r.Revision, c.cfg.TTL, r.Sent)
			}
		},
	})}
}

// takeIfs is what a take-over compares: that nothing has happened since the view.
func (c *Core) takeIfs() []Cond {
	ifs := []Cond{isMod(c.keys.Holder(), 0), isMod(c.keys.Tenure(), 0), isMod(c.keys.Pause(), 0)}
	if h := c.view.Holder; h != nil {
		ifs[0].Equals = h.ModRevision
	}
	if t := c.view.Tenure; t != nil {
		ifs[1].Equals = t.ModRevision
	}
	return ifs
}

// stillBeaten reports whether the view is the one that a take-over failed from.
func (c *Core) stillBeaten() bool { return c.beaten != nil && slices.Equal(c.beaten, c.takeIfs()) }

func (c *Core) nextEpoch() int64 { return max(c.mine.epoch, c.view.top) + 1 }

// took books a tenure that etcd has confirmed.
func (c *Core) took(t attempt, rev int64, ttl time.Duration, sent boottime.Instant) {
	if c.mine.epoch >= t.epoch {
		return
	}
	c.over = ""
	c.mine = tenure{
		held: true, epoch: t.epoch, lease: t.lease, ttl: ttl, since: t.since, rev: rev,
		deadline: Deadline(sent, ttl, c.cfg.Margin), renewAt: sent.Add(ttl / 5),
		renewed: sent, asked: sent, unclean: t.unclean,
	}
	c.tried = attempt{}
	if c.wish.stop && !c.wish.keepLease {
		c.Release(t.epoch, "stopped") // it was on its way when everything was given back
	}
}

// recognise finds in the view what a lost reply would have told: that a
// take-over of ours was carried out.
func (c *Core) recognise() {
	h, t := c.view.Holder, c.view.Tenure
	if h == nil || t == nil || c.tried.epoch == 0 || c.mine.epoch >= c.tried.epoch {
		return
	}
	if t.Epoch == c.tried.epoch && t.Node == c.cfg.Node && t.Lease == c.tried.lease && h.Lease == c.tried.lease && t.State == TenureHeld {
		c.took(c.tried, t.ModRevision, c.cfg.TTL, c.tried.sent)
	}
}

// freeAt is when this node may take over, its turn among the standbys included;
// zero: not as things stand.
func (c *Core) freeAt() boottime.Instant {
	v := &c.view
	if !c.synced || v.Pause != nil {
		return 0
	}
	at := v.freeFrom(c.seen, c.freeCap, c.cfg.TTL)
	return max(at.Add(v.turn(c.cfg.Node)), 1)
}

// freeFrom is when the latest tenure is over for certain: at once when it was
// released, else when the holder was last seen and the longest ttl that it may
// have been promised has passed since, or at limit if that is earlier.
func (v *View) freeFrom(seen, limit boottime.Instant, own time.Duration) boottime.Instant {
	if v.released() {
		return v.Tenure.Seen
	}
	at := seen.Add(v.wait(own))
	if !limit.IsZero() {
		at = min(at, max(limit, seen.Add(own)))
	}
	return at
}

func (c *Core) takeWake() boottime.Instant {
	if !c.wish.campaign || c.mine.held {
		return 0
	}
	return max(c.freeAt(), c.takeAt)
}

// pollRelease marks the tenure released, which lets a successor in at once. It
// is asked for when the address is gone, and retried until etcd has an answer.
func (c *Core) pollRelease() []Request {
	if c.wish.release == 0 || c.now.Before(c.releaseAt) || c.flying[KindRelease] >= 4 {
		return nil
	}
	if c.flying[KindRehang] > 0 || c.releaseDoubt {
		return nil // a move of the key that is under way changes the record: its answer first
	}
	epoch := c.wish.release
	if epoch != c.mine.epoch || c.mine.rev == 0 {
		c.wish.release = 0
		return nil
	}
	c.releaseAt = c.now.Add(min(c.cfg.TTL/10, hedge))
	then := []Write{
		put(c.keys.Tenure(), c.tenureValue(TenureReleased, c.wish.why, c.mine.lease, c.mine.ttl), 0),
		del(c.keys.Holder()),
	}
	if c.lease != 0 && c.wish.member.Node != "" {
		// In the same transaction, so that the successors rank themselves by it.
		then = append(then, put(c.keys.Member(c.cfg.Node), encode(c.wish.member), c.lease))
	}
	member, on := c.wish.member, c.lease
	return []Request{c.ask(Request{
		Kind: KindRelease, Skip: c.skip(KindRelease),
		Txn: Txn{If: []Cond{isMod(c.keys.Tenure(), c.mine.rev)}, Then: then},
		Done: func(r Reply) {
			if c.wish.release != epoch {
				return
			}
			switch {
			case r.LeaseGone: // the member's lease: release without it
				c.leaseLost(on)
				c.releaseAt = c.now
			case r.Err != nil:
			case !r.Succeeded:
				// A successor is there, or an earlier try of ours was carried out,
				// or a move of the key changed the record: the record tells.
				c.releaseDoubt = true
				c.unsync()
			default:
				if len(then) == 3 {
					c.member, c.memberOn, c.memberRev = member, on, r.Revision
				}
				c.ended()
			}
		},
	})}
}

// settleRelease draws from a read whether a release that failed its compare has
// anything left to release.
func (c *Core) settleRelease() {
	if !c.releaseDoubt {
		return
	}
	c.releaseDoubt = false
	t := c.view.Tenure
	if t != nil && t.Bad == "" && t.Epoch == c.mine.epoch && t.Node == c.cfg.Node && t.State == TenureHeld {
		c.mine.rev, c.releaseAt = t.ModRevision, 0
		return
	}
	c.ended()
}

// ended closes the books on a tenure: its lease goes back, a new one is opened
// for the member key.
func (c *Core) ended() {
	c.wish.release, c.wish.why, c.releaseAt = 0, "", 0
	c.mine.held, c.mine.deadline, c.mine.rev = false, 0, 0
	c.retire(c.mine.lease)
	if m := c.mine.moving; m != nil {
		c.retire(m.lease)
		c.mine.moving = nil
	}
	c.retire(c.long.lease)
	c.long = rehang{}
	if slices.Contains(c.retired, c.lease) {
		c.lease, c.memberOn = 0, 0
	}
}

func (c *Core) retire(l LeaseID) {
	if l != 0 && !slices.Contains(c.retired, l) {
		c.retired = append(c.retired, l)
	}
}
