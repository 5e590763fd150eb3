package election

import (
	"time"

	"leasehold/internal/boottime"
)

// pollLease keeps this node's lease alive. Safety does not rest on it: it makes
// the tenure visible and revocable, and cleans up behind the dead.
func (c *Core) pollLease() []Request {
	if c.wish.stop && c.wish.release == 0 {
		return nil
	}
	if c.lease == 0 {
		if !c.ready(KindGrant) || c.saved != nil {
			return nil
		}
		return []Request{c.ask(Request{Kind: KindGrant, Seconds: ceilSeconds(c.cfg.TTL), Done: func(r Reply) {
			if r.Err == nil {
				c.hang(r.Lease, r)
			}
		}})}
	}
	if c.now.Before(c.keepAt) || c.flying[KindKeepAlive] > 2*max(1, c.cfg.Endpoints) {
		return nil
	}
	out := []Request{c.keepAlive(c.lease, 0)}
	if c.keepLate {
		for i := 1; i < c.cfg.Endpoints; i++ {
			out = append(out, c.keepAlive(c.lease, i))
		}
	}
	c.keepLate = true // until a success says otherwise, as with renewals
	c.keepAt = c.now.Add(min(c.leaseTTL/10, hedge))
	return out
}

// hang makes l this node's lease.
func (c *Core) hang(l LeaseID, r Reply) {
	c.lease, c.leaseTTL, c.keepLate = l, time.Duration(r.TTL)*time.Second, false
	c.keepAt = r.Sent.Add(c.leaseTTL / 4)
}

// keepAlive is one try, at the endpoint that many after the current one.
func (c *Core) keepAlive(l LeaseID, endpoint int) Request {
	return c.ask(Request{Kind: KindKeepAlive, Lease: l, Skip: endpoint, Done: func(r Reply) {
		switch {
		case r.LeaseGone:
			c.leaseLost(l)
		case l != c.lease:
		case r.Err != nil:
			c.keepAt = min(c.keepAt, c.retryAt[KindKeepAlive])
		default:
			c.keepLate = false
			c.keepAt = max(c.keepAt, r.Sent.Add(c.leaseTTL/4))
		}
	}})
}

// leaseLost books that etcd no longer knows a lease: somebody revoked it, or it
// ran out.
func (c *Core) leaseLost(l LeaseID) {
	if c.lease == l {
		c.lease, c.memberOn = 0, 0
	}
	if c.mine.held && c.mine.lease == l {
		c.doubt("etcd no longer knows the lease " + l.String())
	}
}

// pollTidy does what nobody waits for.
func (c *Core) pollTidy() []Request {
	var out []Request
	for _, step := range []func() []Request{c.pollRevoke, c.pollPauseEnd, c.pollSwitchoverEnd, c.pollHistory, c.pollCap} {
		out = append(out, step()...)
	}
	return out
}

// pollRevoke gives leases back that nothing of ours hangs on any more. The
// member key goes to the new lease first, so that this node is never missing.
func (c *Core) pollRevoke() []Request {
	if len(c.retired) == 0 || !c.ready(KindRevoke) || c.wish.release != 0 {
		return nil
	}
	if !c.wish.stop && (c.lease == 0 || c.memberOn != c.lease) {
		return nil
	}
	l := c.retired[0]
	return []Request{c.ask(Request{Kind: KindRevoke, Lease: l, Done: func(r Reply) {
		if (r.Err == nil || r.LeaseGone) && len(c.retired) > 0 && c.retired[0] == l {
			c.retired = c.retired[1:]
		}
	}})}
}

// pollMember writes the member key when what the node says of itself, or the
// lease, is not what etcd has.
func (c *Core) pollMember() []Request {
	if c.lease == 0 || c.wish.member.Node == "" || c.wish.stop || !c.ready(KindMember) {
		return nil
	}
	value, l := c.wish.member, c.lease
	if value == c.member && l == c.memberOn {
		return nil
	}
	return []Request{c.ask(Request{
		Kind: KindMember, Txn: Txn{Then: []Write{put(c.keys.Member(c.cfg.Node), encode(value), l)}},
		Done: func(r Reply) {
			switch {
			case r.LeaseGone:
				c.leaseLost(l)
			case r.Err == nil && l == c.lease:
				c.member, c.memberOn, c.memberRev = value, l, r.Revision
			}
		},
	})}
}

// pollSwitchoverEnd takes a switchover key away that asks for nothing that can
// be done, so that it surprises nobody later.
func (c *Core) pollSwitchoverEnd() []Request {
	s := c.view.Switchover
	if s == nil || !c.mine.held || !c.synced || !c.ready(KindSwitchoverEnd) || c.view.yield(c.cfg.Node, c.cfg.PreemptDelay, c.now) != "" {
		return nil
	}
	return []Request{c.ask(Request{
		Kind: KindSwitchoverEnd,
		Txn:  Txn{If: []Cond{isMod(c.keys.Switchover(), s.ModRevision)}, Then: []Write{del(c.keys.Switchover())}},
		Done: func(Reply) { c.retryAt[KindSwitchoverEnd] = c.now.Add(time.Second) },
	})}
}

// kept is how many tenures the history keeps.
const kept = 100

func (c *Core) pollHistory() []Request {
	h := c.wish.history
	if h == nil || !c.ready(KindHistory) {
		return nil
	}
	then := []Write{put(c.keys.History(h.Epoch), encode(h), 0)}
	if h.Epoch > kept {
		then = append(then, del(c.keys.History(h.Epoch-kept)))
	}
	return []Request{c.ask(Request{Kind: KindHistory, Txn: Txn{Then: then}, Done: func(r Reply) {
		if r.Err == nil && c.wish.history == h {
			c.wish.history = nil
		}
	}})}
}

// pollCap asks etcd how long the tenure of a pause may still last that stood
// before we came: a standby that was restarted during a pause does not wait
// longer than the pause. Only then is the lease as long as the tenure: that of an
// ordinary one is kept alive beside the renewals, and may end before the holder does.
func (c *Core) pollCap() []Request {
	h, t := c.view.Holder, c.view.Tenure
	if h == nil || t == nil || c.mine.held || !c.synced || h.Bad != "" || !h.Paused || t.Lease != h.Lease || c.capRev == h.ModRevision || !c.ready(KindTimeToLive) {
		return nil
	}
	rev := h.ModRevision
	return []Request{c.ask(Request{Kind: KindTimeToLive, Lease: h.Lease, Done: func(r Reply) {
		if r.Err != nil || c.view.Holder == nil || c.view.Holder.ModRevision != rev {
			return
		}
		c.capRev = rev
		if r.TTL >= 0 {
			c.freeCap = r.Got.Add(time.Duration(r.TTL)*time.Second + leaseSlack)
		}
	}})}
}

func ceilSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// rehang is a move of the holder key to another lease, with the ttl to match.
type rehang struct {
	lease    LeaseID
	ttl      time.Duration
	long     bool
	pauseRev int64
	sent     boottime.Instant // what the new deadline is counted from
	dead     bool             // etcd no longer knows the lease
}
