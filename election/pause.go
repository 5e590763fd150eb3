package election

import (
	"time"
)

// timedPause reports whether the tenure runs under a pause that ends by itself.
func (c *Core) timedPause() bool { return c.view.Pause != nil && c.view.Pause.Until != nil }

// pauseOver reports that the tenure still hangs on the long lease of a pause
// that is gone, or that a much shorter one has taken the place of. The node makes
// the kernel's deadline short first, then wishes shorten: take away before
// inviting. A pause that is still there then makes it long again, to fit.
func (c *Core) pauseOver() bool {
	m, p := &c.mine, c.view.Pause
	if !m.held || !m.long || m.moving != nil || !c.known {
		return false
	}
	if p == nil {
		return true
	}
	end := p.End()
	return p.ModRevision != m.pauseRev && !end.IsZero() && end.Add(2*pauseRest).Before(m.deadline) && usable(longTTL(end.Sub(c.now))) < m.deadline.Sub(c.now)/2
}

// pollRehang moves the holder key to a long lease when a pause begins, and back
// when it is over.
func (c *Core) pollRehang() []Request {
	m := &c.mine
	if !m.held || !c.ready(KindRehang) {
		return nil
	}
	switch p := c.view.Pause; {
	case m.moving != nil:
		return c.sendRehang() // sent before, no answer that we know of: again, it is one compare
	case c.pauseOver():
		if !m.cut || c.lease == 0 {
			return nil // the kernel's deadline first
		}
		m.moving = &rehang{lease: c.lease, ttl: c.cfg.TTL, sent: c.now}
		return c.sendRehang()
	case p != nil && c.synced && m.pauseRev != p.ModRevision:
		return c.pauseBegins(p)
	}
	return nil
}

// pauseBegins opens a lease as long as the pause, then moves the holder key to it.
func (c *Core) pauseBegins(p *PauseKey) []Request {
	var left time.Duration
	if end := p.End(); !end.IsZero() {
		if left = end.Sub(c.now); left <= 0 {
			return nil // over already: pollPauseEnd takes it away
		}
	}
	need := max(longTTL(left), c.cfg.TTL) // the deadline that the short ttl has set stands
	if c.mine.long && !c.mine.deadline.Before(Deadline(c.now, need, c.cfg.Margin).Add(-pauseRest/2)) {
		c.mine.pauseRev = p.ModRevision // the tenure covers the changed pause as it is
		return nil
	}
	// A lease that was opened a while ago ends too early for a deadline counted
	// from now: etcd must not drop the key while the kernel still holds the VIP.
	if c.long.lease == 0 || c.long.pauseRev != p.ModRevision || c.now.Sub(c.long.sent) > c.cfg.TTL {
		if !c.ready(KindLongGrant) {
			return nil
		}
		c.retire(c.long.lease)
		c.long = rehang{}
		return []Request{c.ask(Request{Kind: KindLongGrant, Seconds: ceilSeconds(need), Done: func(r Reply) {
			if r.Err == nil {
				c.long = rehang{lease: r.Lease, ttl: need, long: true, pauseRev: p.ModRevision, sent: r.Sent}
			}
		}})}
	}
	next := c.long
	c.mine.moving = &next
	return c.sendRehang()
}

// sendRehang sends the move that is under way. Until etcd has said what came of
// it the key may hang on either lease, and nothing is renewed.
func (c *Core) sendRehang() []Request {
	m, next := &c.mine, c.mine.moving
	epoch := m.epoch
	ifs := []Cond{onLease(c.keys.Holder(), m.lease)}
	if next.long {
		ifs = append(ifs, isMod(c.keys.Pause(), next.pauseRev))
	}
	return []Request{c.ask(Request{
		Kind: KindRehang,
		Txn: Txn{If: ifs, Then: []Write{
			put(c.keys.Holder(), c.holderValue(next.ttl, next.long), next.lease),
			put(c.keys.Tenure(), c.tenureValue(TenureHeld, "", next.lease, next.ttl), 0),
		}},
		Done: func(r Reply) {
			switch {
			case m.epoch != epoch || m.moving != next:
			case r.LeaseGone:
				next.dead = true
				if c.long.lease == next.lease {
					c.long = rehang{}
				}
				c.leaseLost(next.lease)
				c.unsync() // carried out by an earlier try or not: the key tells
			case r.Err != nil:
			case r.Succeeded:
				c.moved(r.Revision)
			default:
				c.unsync()
			}
		},
	})}
}

// moved books the move that is under way as carried out.
func (c *Core) moved(rev int64) {
	m, next := &c.mine, c.mine.moving
	if m.lease != c.lease {
		c.retire(m.lease) // an earlier pause's; the member's lease stays
	}
	if c.long.lease == next.lease {
		c.long = rehang{}
	}
	m.kept = next.sent
	m.lease, m.ttl, m.long, m.pauseRev, m.rev, m.moving, m.cut = next.lease, next.ttl, next.long, next.pauseRev, rev, nil, false
	if !m.held {
		return // let go meanwhile: the release goes by the new record
	}
	m.deadline = max(m.deadline, Deadline(next.sent, next.ttl, c.cfg.Margin))
	m.renewed = max(m.renewed, next.sent)
	m.renewAt = c.now.Add(m.ttl / 5)
	if !m.long {
		m.renewAt = c.now // the deadline was cut short before the move
	}
}

// pollPauseEnd takes the pause key away when its time is over on this node's
// clock: etcd stretches leases when its leader changes.
func (c *Core) pollPauseEnd() []Request {
	p := c.view.Pause
	if end := p.End(); end.IsZero() || c.now.Before(end) || !c.mine.held || !c.synced || !c.ready(KindPauseEnd) {
		return nil
	}
	return []Request{c.ask(Request{
		Kind: KindPauseEnd,
		Txn:  Txn{If: []Cond{isMod(c.keys.Pause(), p.ModRevision)}, Then: []Write{del(c.keys.Pause())}},
		Done: func(r Reply) {
			if r.Err == nil && !r.Succeeded {
				c.unsync()
			}
		},
	})}
}
