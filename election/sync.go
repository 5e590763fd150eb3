package election

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"leasehold/internal/boottime"
)

// unsync gives up the view as a ground for taking over, until a read renews it.
func (c *Core) unsync() {
	c.synced = false
	c.readAt = min(c.readAt, c.now)
}

// checkAt is when a silent watch has been silent for long enough to be asked
// after: a watch that lost its member, or an event, says nothing at all. While
// somebody renews, an event is due every fifth of the ttl, and a renewal that the
// watch had not told of starts the wait for the tenure's end anew when it is read:
// at a ttl of 500 ms half a second more would have been a second ttl without
// service (measured, host lost together with the watch's member).
func (c *Core) checkAt() boottime.Instant {
	if !c.synced {
		return 0
	}
	ttl, least := c.cfg.TTL, 500*time.Millisecond // no need to ask often while nobody holds
	if c.view.Holder != nil {
		ttl, least = max(ttl, time.Duration(c.view.Holder.TTL)), 0
	}
	return c.heard.Add(min(max(ttl*2/5, least), 5*time.Second))
}

// reread is how often the keys are read although the watch speaks: etcd has left
// events out of watches in released versions (etcd-io/etcd #17529, #19179), and a
// member key that is missed so would stay missed.
const reread = 10 * time.Second

// nextRead is when the keys are read although the view is in step.
func (c *Core) nextRead() boottime.Instant {
	if !c.synced {
		return 0
	}
	at := min(c.checkAt(), c.loaded.Add(reread))
	if c.stillBeaten() {
		at = min(at, c.beatenAt.Add(watchGrace))
	}
	return at
}

// watchGrace is how long the watch may take to tell why a take-over failed; it takes
// 1 to 5 ms. A read tells as well, but not whether a holder key that is gone was
// renewed before that, so that the tenure would have to be waited out once more: a
// lost host whose lease etcd ended in the very moment of the take-over was missed for
// two ttls (simulation, seed 23046).
const watchGrace = 50 * time.Millisecond

// pollSync reads the keys when the view is not in step with etcd, when the watch
// is silent, and now and then.
func (c *Core) pollSync() []Request {
	if c.wish.stop && c.wish.release == 0 {
		return nil
	}
	if c.flying[KindRead] >= 4 || c.now.Before(c.readAt) || c.now.Before(c.retryAt[KindRead]) {
		return nil
	}
	if c.synced && c.now.Before(c.nextRead()) {
		return nil
	}
	c.readAt = c.now.Add(min(c.cfg.TTL/10, hedge))
	return []Request{c.ask(Request{Kind: KindRead, Skip: c.skip(KindRead), Done: func(r Reply) {
		if r.Err == nil {
			c.load(r)
		}
	}})}
}

// load takes a read of all keys as the new view.
func (c *Core) load(r Reply) {
	if c.known && r.Revision < c.view.Revision {
		if !r.Sent.Before(c.heard) {
			c.wrong(KindRead, fmt.Sprintf("read: etcd went back from revision %d to %d: it lost data, and nothing that it says is believed, because it may not know who holds the VIP; restart leasehold if etcd was emptied on purpose", c.view.Revision, r.Revision))
		}
		return // else it is a late reply; the watch is ahead of it
	}
	old := c.view
	v := View{Cluster: r.Cluster, Revision: r.Revision, At: r.Sent}
	for _, kv := range r.KVs {
		v.apply(c.keys, kv, r.Got, r.Wall)
	}
	v.keep(&old)
	if !c.known || modRev(v.Holder) != modRev(old.Holder) || tenureRev(&v) != tenureRev(&old) {
		// It may have been renewed up to now; also when no key was there before and
		// none is now, but the record says that there was one in between.
		c.seen = r.Got
		c.freeCap = 0
	}
	changed := !sameKeys(&v, &old)
	c.view, c.heard, c.loaded = v, r.Got, r.Got
	if !c.synced || changed {
		c.watchGen++
		c.watchRev = r.Revision + 1
	}
	c.known, c.synced, c.beaten = true, true, nil
	c.adopt()
	c.settleRelease()
	c.settle()
}

// keep carries over when unchanged keys were seen first.
func (v *View) keep(old *View) {
	v.top = max(v.top, old.top)
	if v.Tenure == nil || v.Tenure.Bad != "" {
		v.term = max(v.term, old.term)
	}
	if v.Holder != nil && modRev(v.Holder) == modRev(old.Holder) {
		v.Holder = old.Holder
	}
	if v.Tenure != nil && old.Tenure != nil && v.Tenure.ModRevision == old.Tenure.ModRevision {
		v.Tenure = old.Tenure
	}
	if v.Pause != nil && old.Pause != nil && v.Pause.ModRevision == old.Pause.ModRevision {
		v.Pause = old.Pause
	}
	for i, m := range v.Members {
		if o := old.Member(m.Node); o != nil && o.MemberValue == m.MemberValue && o.Lease == m.Lease {
			v.Members[i].Seen = o.Seen
		}
	}
}

func modRev(h *HolderKey) int64 {
	if h == nil {
		return 0
	}
	return h.ModRevision
}

// sameKeys reports whether two views have the same keys that decide, so that a
// watch which said nothing between them has kept nothing back.
func sameKeys(a, b *View) bool {
	rev := func(v *View) (t, p, s int64) {
		if v.Tenure != nil {
			t = v.Tenure.ModRevision
		}
		if v.Pause != nil {
			p = v.Pause.ModRevision
		}
		if v.Switchover != nil {
			s = v.Switchover.ModRevision
		}
		return t, p, s
	}
	at, ap, as := rev(a)
	bt, bp, bs := rev(b)
	return modRev(a.Holder) == modRev(b.Holder) && at == bt && ap == bp && as == bs &&
		slices.EqualFunc(a.Members, b.Members, func(x, y Member) bool { return x.MemberValue == y.MemberValue && x.Lease == y.Lease })
}

// Event is one change that a watch reports.
type Event struct {
	KV      *mvccpb.KeyValue
	Deleted bool
	PrevRev int64 // deleted: the revision that was deleted; 0: not told
}

// Watched takes what the watch of number gen reports. Events come in the order
// of their revisions, without gaps, from the revision that the read was of.
func (c *Core) Watched(gen int, events []Event, now boottime.Instant, wall time.Time) {
	c.Tick(now, wall)
	if gen != c.watchGen || !c.synced {
		return
	}
	c.heard = now
	rev := c.view.Revision
	for _, e := range events {
		if e.KV.ModRevision <= c.view.Revision {
			continue // in a read already
		}
		c.change(e, now, wall)
		rev = max(rev, e.KV.ModRevision)
	}
	// Not the header's revision: while a watch catches up it is ahead of events
	// that are still to come (etcd server/storage/mvcc/watchable_store.go).
	c.view.Revision, c.view.At = rev, now
	c.settle()
}

func (c *Core) change(e Event, now boottime.Instant, wall time.Time) {
	holder := string(e.KV.Key) == c.keys.Holder()
	switch {
	case !e.Deleted:
		c.view.apply(c.keys, e.KV, now, wall)
		// The tenure's record is a sign of a holder as well: etcd has left events
		// out of watches, and the holder key's may be one of them.
		if holder || string(e.KV.Key) == c.keys.Tenure() {
			c.seen, c.freeCap = now, 0
		}
	case holder && (e.PrevRev == 0 || e.PrevRev != modRev(c.view.Holder)):
		c.seen = now // we may have missed its last renewal
		fallthrough
	default:
		// The end of the key is no sign of life: the tenure is timed from the
		// last renewal, which we saw.
		c.view.drop(c.keys, string(e.KV.Key))
	}
}

// WatchEnded takes the end of the watch of number gen, for whatever reason.
func (c *Core) WatchEnded(gen int, why error, now boottime.Instant, wall time.Time) {
	c.Tick(now, wall)
	if gen != c.watchGen || !c.synced {
		return
	}
	c.synced = false
	c.readAt = now.Add(20 * time.Millisecond)
	if why != nil {
		c.wrong(KindRead, "watch: "+why.Error())
	}
}

// settle draws from a changed view what it says about our own tenure.
func (c *Core) settle() {
	c.recognise()
	c.settleMember()
	m, h := &c.mine, c.view.Holder
	if !m.held || c.view.Revision < m.rev {
		return
	}
	switch {
	case h != nil && m.moving != nil && h.Lease == m.moving.lease:
		c.moved(max(m.rev, tenureRev(&c.view)))
	case h != nil && h.Lease == m.lease:
		if m.moving != nil && c.cannotMove() {
			m.moving = nil
		}
	case h == nil:
		c.lost("the holder key was deleted, or its lease revoked")
	default:
		c.lost("the holder key was overwritten by " + orUnknown(h.Node))
	}
}

// settleMember has the member key written again when it is not what we believe
// that we wrote: a request that we gave up on may be carried out later than one
// that we sent after it, when a cable comes back and TCP delivers what it kept.
func (c *Core) settleMember() {
	if c.memberOn == 0 || c.flying[KindMember] > 0 || c.flying[KindRelease] > 0 || c.view.Revision < c.memberRev {
		return
	}
	m := c.view.Member(c.cfg.Node)
	if m == nil || m.Lease != c.memberOn || !m.same(c.member) {
		if c.now.Before(c.mendAt) { // not as fast as etcd can
			c.wrong(KindMember, "member key: somebody else writes it again and again: is another daemon running under the name "+c.cfg.Node+"?")
			c.retryAt[KindMember] = max(c.retryAt[KindMember], c.mendAt)
		}
		c.mendAt = max(c.now, c.mendAt).Add(c.cfg.TTL / 3)
		c.member, c.memberOn = MemberValue{}, 0
	}
}

// cannotMove reports whether a move that was not carried out never will be: its
// lease is gone, or the pause that it was for.
func (c *Core) cannotMove() bool {
	next, p := c.mine.moving, c.view.Pause
	return next.dead || next.long && (p == nil || p.ModRevision != next.pauseRev)
}

func tenureRev(v *View) int64 {
	if v.Tenure == nil {
		return 0
	}
	return v.Tenure.ModRevision
}

// adopt takes over, at the first read, what an earlier process of this node
// held: if the holder key still hangs on its lease, nothing has happened.
func (c *Core) adopt() {
	s := c.saved
	if s == nil {
		return
	}
	c.saved = nil
	h, t := c.view.Holder, c.view.Tenure
	if h == nil || t == nil || h.Bad != "" || h.Epoch != s.Epoch || h.Node != c.cfg.Node ||
		t.Epoch != s.Epoch || t.Lease != h.Lease || t.State != TenureHeld || t.TTL != h.TTL { // a stranger's: ours say the same
		return
	}
	p := s.Now
	if h.Lease != p.Lease {
		p = s.Next // it died between sending a move and hearing of it
	}
	if h.Lease != p.Lease {
		return
	}
	if c.refused = s.doubt(p, h, c.view.Cluster, c.now); c.refused != "" {
		return
	}
	c.mine = tenure{
		held: true, epoch: s.Epoch, lease: p.Lease, ttl: time.Duration(h.TTL), since: h.Since, rev: t.ModRevision,
		long: p.Long, deadline: p.Deadline, renewAt: c.now,
		renewed: c.view.At, asked: c.view.At, // this very read has shown that it is ours
	}
	if !p.Long {
		c.lease, c.leaseTTL = p.Lease, time.Duration(ceilSeconds(c.cfg.TTL))*time.Second
		c.keepAt = c.now
		return
	}
}
