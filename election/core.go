// Package election elects the holder of one service's VIP through an etcd lease.
//
// It owns everything that is said to etcd: the lease, the holder key, the tenure
// record, the members, the pause. It knows no addresses and touches no kernel.
// core.go is the election without a clock or I/O; candidate.go is its shell.
package election

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"leasehold/internal/boottime"
)

// Config is one node's part in the election of one service.
type Config struct {
	Service string
	Node    string
	TTL     time.Duration
	Margin  time.Duration // δ of Deadline: 5 ms behind a fence, 50 ms with kernel lifetimes alone (design: the clock of a tenure)

	Priority     int
	Preempt      bool
	PreemptDelay time.Duration
	VIPs         []string
	Version      string
	Endpoints    int    // how many ways there are to etcd
	StateFile    string // where the tenure is kept for a successor of this process; empty: nowhere
}

// tenure is what this node holds, as far as it knows.
type tenure struct {
	held     bool
	epoch    int64
	lease    LeaseID
	long     bool          // on the long lease of a pause
	ttl      time.Duration // the ttl that the holder key says
	deadline boottime.Instant
	since    time.Time
	rev      int64            // revision of the tenure record as this node wrote it
	pauseRev int64            // the pause that the long lease was made for
	kept     boottime.Instant // long: when the keep-alive of its lease that succeeded last was sent
	cut      bool             // the kernel's deadline was made short, to move back: nothing but a move raises it

	renewAt boottime.Instant // next renewal
	late    bool             // the last renewal has not succeeded, or not yet
	moving  *rehang          // a re-hang that was sent: the key may be on either lease
}

// attempt is a take-over that was sent and may have been carried out.
type attempt struct {
	epoch int64
	lease LeaseID
	sent  boottime.Instant // of the first try: the one to count from when the reply is lost
	since time.Time
}

// wish is what the node wants of the election. Levels, not events: a wish
// stands until it is replaced or carried out.
type wish struct {
	campaign  bool
	member    MemberValue
	release   int64 // epoch to release
	why       string
	history   *HistoryValue
	stop      bool // give everything back
	keepLease bool // with stop: leave the holder key where it is, HA is paused
}

// core is the election of one service on one node: what it knows, what it holds
// and what it asks of etcd next. It has no clock, no goroutine and does no I/O,
// so that a simulation can run it: poll hands out requests, and each comes back
// by its done.
type core struct {
	cfg  Config
	keys Keys
	now  boottime.Instant // of the current call, never older
	wall time.Time

	cluster uint64
	lastOK  boottime.Instant
	trouble struct {
		what string // went wrong last; empty: nothing, or it is over
		of   kind
		at   boottime.Instant
	}

	view     View
	known    bool // the keys were read at least once
	synced   bool // the view is what a read said, and a watch goes on from there
	watchGen int  // the shell shall run one watch, of this number, from watchRev
	watchRev int64
	readAt   boottime.Instant // not before
	heard    boottime.Instant // last watch event or read
	seen     boottime.Instant // the last sign of the holder: what its tenure is timed from
	capRev   int64            // the holder key's revision that freeCap was asked for
	freeCap  boottime.Instant // a long tenure that stood before us is over by then
	saved    *Saved           // what an earlier process left, until the first read

	lease    LeaseID // of the member key, and of the holder key but in a pause
	leaseTTL time.Duration
	keepAt   boottime.Instant
	keepLate bool      // the last keep-alive has not succeeded, or not yet
	long     rehang    // the lease for a pause, before the holder key hangs on it
	retired  []LeaseID // to be revoked

	member    MemberValue // what etcd has
	memberOn  LeaseID
	memberRev int64            // the revision that it was written at
	mendAt    boottime.Instant // not sooner is it written anew again because somebody else did
	tried     attempt
	mine      tenure
	over      string // why the latest tenure of this node ended without its wish
	wish      wish
	takeAt    boottime.Instant
	releaseAt boottime.Instant

	releaseDoubt bool // a release failed its compare: a read tells what is left
	retryAt      [kinds]boottime.Instant
	flying       [kinds]int
	tries        [kinds]int // since the last answer
}

func newCore(cfg Config, saved *Saved) *core {
	return &core{cfg: cfg, keys: KeysOf(cfg.Service), saved: saved}
}

// hedge is when an answer is late, so that another endpoint is asked as well:
// far above what a healthy etcd takes (1 to 10 ms), below what a tenure can spare.
const hedge = 250 * time.Millisecond

// try is how long one request may take: short enough that a hung endpoint costs
// a renewal one try and not the tenure.
func (c *core) try() time.Duration { return min(c.cfg.TTL/4, 2*time.Second) }

// ask marks a request as sent and wires its reply through what every reply has
// in common.
func (c *core) ask(r request) request {
	c.flying[r.kind]++
	if r.timeout == 0 {
		r.timeout = c.try()
	}
	done := r.done
	r.done = func(rep reply) {
		c.flying[r.kind]--
		c.tick(rep.got, rep.wall)
		if err := c.checkCluster(rep.cluster); err != nil {
			rep.err, rep.leaseGone = err, false // what another cluster knows of our lease means nothing
		}
		if r.kind == kindRevoke && rep.leaseGone {
			rep.err = nil // as wished
		}
		if rep.err != nil {
			c.wrong(r.kind, fmt.Sprintf("%s: %v", r.kind, rep.err))
			c.retryAt[r.kind] = c.now.Add(min(50*time.Millisecond, c.cfg.TTL/20))
		} else {
			c.lastOK = max(c.lastOK, rep.sent)
			c.tries[r.kind] = 0
			c.right(r.kind)
		}
		done(rep)
	}
	return r
}

// wrong notes what went wrong, for people.
func (c *core) wrong(k kind, what string) {
	c.trouble.what, c.trouble.of, c.trouble.at = what, k, c.now
}

// right notes that something works. What went wrong of another kind stands until
// it has not for a ttl: an etcd that is full, or a role that may only read, refuses
// some requests and grants others all the time.
func (c *core) right(k kind) {
	if c.trouble.of == k || c.now.Sub(c.trouble.at) > c.cfg.TTL {
		c.trouble.what = ""
	}
}

// errCluster says that the endpoints lead to another etcd than before.
var errCluster = errors.New("another etcd cluster answers")

func (c *core) checkCluster(id uint64) error {
	switch {
	case id == 0 || id == c.cluster:
		return nil
	case c.cluster == 0:
		c.cluster = id
		return nil
	}
	return fmt.Errorf("%w: cluster id %x, was %x: nothing that it says is believed, because it does not know who holds the VIP; restart leasehold if the cluster was rebuilt on purpose", errCluster, id, c.cluster)
}

func (c *core) tick(now boottime.Instant, wall time.Time) {
	if c.now.Before(now) {
		c.now, c.wall = now, wall
	}
}

// ready reports whether a request of this kind may go out now, one at a time.
func (c *core) ready(k kind) bool { return c.flying[k] == 0 && !c.now.Before(c.retryAt[k]) }

// skip is which endpoint the next try of a kind goes to: that many after the
// current one, one further with each try that has had no answer. Not by how many
// are under way: that is the same number each time when all of them hang.
func (c *core) skip(k kind) int {
	n := c.tries[k] % max(1, c.cfg.Endpoints)
	c.tries[k]++
	return n
}

// poll returns what to ask of etcd now. Safety first: what ends a tenure goes
// before what starts one.
func (c *core) poll(now boottime.Instant, wall time.Time) []request {
	c.tick(now, wall)
	var out []request
	for _, step := range []func() []request{
		c.pollRelease, c.pollRenew, c.pollRehang, c.pollLease, c.pollSync,
		c.pollMember, c.pollTake, c.pollTidy,
	} {
		out = append(out, step()...)
	}
	return out
}

// wake is when poll should be called again although nothing has happened.
func (c *core) wake() boottime.Instant {
	at := c.now.Add(time.Second)
	for _, t := range []boottime.Instant{c.keepAt, c.mine.renewAt, c.takeWake(), c.releaseAt, c.checkAt(), c.readAt, c.view.Pause.End()} {
		if c.now.Before(t) {
			at = min(at, t)
		}
	}
	for _, t := range c.retryAt {
		if c.now.Before(t) {
			at = min(at, t)
		}
	}
	return at
}

// pollRenew renews the tenure every fifth of its ttl. A renewal that is slow or
// failed is not waited for: the next one goes to every endpoint at once, so that
// one good endpoint is enough, however many bad ones come before it.
func (c *core) pollRenew() []request {
	m := &c.mine
	if !m.held || m.moving != nil || m.cut || c.now.Before(m.renewAt) || c.flying[kindRenew] > 2*max(1, c.cfg.Endpoints) {
		return nil
	}
	if m.long && c.timedPause() {
		m.renewAt = c.now.Add(m.ttl) // it ends by itself: to renew it would make everybody wait longer
		return nil
	}
	if m.long && c.now.Sub(m.kept) > m.ttl/10 {
		return c.keepLong()
	}
	out := []request{c.renewal(0)}
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
func (c *core) keepLong() []request {
	m := &c.mine
	l := m.lease
	m.renewAt = c.now.Add(min(m.ttl/10, hedge))
	if c.flying[kindKeepAlive] > 2*max(1, c.cfg.Endpoints) {
		return nil
	}
	return []request{c.ask(request{
		kind: kindKeepAlive, lease: l, skip: c.skip(kindKeepAlive),
		done: func(r reply) {
			switch {
			case r.leaseGone:
				c.leaseLost(l)
			case r.err == nil && m.lease == l:
				m.kept, m.renewAt = max(m.kept, r.sent), c.now
			}
		},
	})}
}

// renewal is one try, at the endpoint that many after the current one.
func (c *core) renewal(endpoint int) request {
	m := &c.mine
	lease, epoch, ttl, kept := m.lease, m.epoch, m.ttl, m.kept
	return c.ask(request{
		kind: kindRenew,
		skip: endpoint,
		txn: txn{
			ifs:  []cond{onLease(c.keys.Holder(), lease)},
			then: []write{put(c.keys.Holder(), c.holderValue(ttl, m.long), lease)},
		},
		done: func(r reply) {
			if !m.held || m.epoch != epoch || m.lease != lease || m.cut {
				return // of a tenure that is over, or was hung on another lease since, or is about to be
			}
			switch {
			case r.leaseGone:
				c.doubt("etcd no longer knows the lease " + lease.String())
			case r.err != nil:
				m.renewAt = min(m.renewAt, c.retryAt[kindRenew])
			case !r.succeeded:
				c.doubt("the holder key is not on our lease any more")
			default:
				from := r.sent
				if m.long {
					from = min(from, kept)
				}
				m.deadline = max(m.deadline, Deadline(from, ttl, c.cfg.Margin))
				m.late = false
				m.renewAt = max(m.renewAt, r.sent.Add(ttl/5))
			}
		},
	})
}

func (c *core) holderValue(ttl time.Duration, paused bool) string {
	return encode(HolderValue{Node: c.cfg.Node, TTL: Seconds(ttl), Epoch: c.mine.epoch, VIPs: c.cfg.VIPs, Since: c.mine.since, Paused: paused})
}

// tenureValue is the record of this node's tenure on the given lease.
func (c *core) tenureValue(state, why string, lease LeaseID, ttl time.Duration) string {
	return encode(TenureValue{
		Epoch: c.mine.epoch, Node: c.cfg.Node, Lease: lease, TTL: Seconds(ttl),
		State: state, Why: why, At: c.wall.UTC().Truncate(time.Millisecond),
	})
}

// lost ends the tenure in our books: somebody or something in etcd ended it.
// The node lets go when it reads this, and then wishes the release.
func (c *core) lost(why string) {
	c.over = why
	c.mine.held, c.mine.deadline = false, 0
	c.unsync()
}

// doubt is what a renewal that failed gives of the tenure: it is lost, unless a
// move of the key to another lease is under way, which a renewal that was sent
// before it may see done before we hear of it. Then the key itself tells.
func (c *core) doubt(why string) {
	if c.mine.moving != nil {
		c.unsync()
		return
	}
	c.lost(why)
}

// pollTake tries to take over once the rules allow it.
func (c *core) pollTake() []request {
	if !c.wish.campaign || c.wish.stop || c.mine.held || c.lease == 0 || c.memberOn != c.lease || c.flying[kindTake] >= 4 {
		return nil
	}
	if at := c.freeAt(); at.IsZero() || c.now.Before(at) || c.now.Before(c.takeAt) || c.wish.release != 0 {
		return nil
	}
	c.takeAt = c.now.Add(min(c.cfg.TTL/10, hedge))
	v := &c.view
	epoch := c.nextEpoch()
	if c.tried.epoch != epoch || c.tried.lease != c.lease {
		c.tried = attempt{epoch: epoch, lease: c.lease, sent: c.now, since: c.wall.UTC().Truncate(time.Millisecond)}
	}
	t := c.tried
	ifs := []cond{isMod(c.keys.Holder(), 0), isMod(c.keys.Tenure(), 0), isMod(c.keys.Pause(), 0)}
	if v.Holder != nil {
		ifs[0].equals = v.Holder.ModRevision
	}
	if v.Tenure != nil {
		ifs[1].equals = v.Tenure.ModRevision
	}
	hv := HolderValue{Node: c.cfg.Node, TTL: Seconds(c.cfg.TTL), Epoch: epoch, VIPs: c.cfg.VIPs, Since: t.since}
	tv := TenureValue{Epoch: epoch, Node: c.cfg.Node, Lease: c.lease, TTL: Seconds(c.cfg.TTL), State: TenureHeld, At: t.since}
	then := []write{put(c.keys.Holder(), encode(hv), c.lease), put(c.keys.Tenure(), encode(tv), 0)}
	if v.Switchover != nil {
		then = append(then, del(c.keys.Switchover()))
	}
	return []request{c.ask(request{
		kind: kindTake, skip: c.skip(kindTake), txn: txn{ifs: ifs, then: then},
		done: func(r reply) {
			switch {
			case r.leaseGone:
				c.leaseLost(t.lease)
			case r.err != nil: // it may have been carried out all the same: the next try's compare tells
			case !r.succeeded:
				c.takeAt = c.now // once a read has told why
				c.unsync()
			default:
				c.takeAt = c.now
				c.took(t, r.revision, c.cfg.TTL, r.sent)
			}
		},
	})}
}

func (c *core) nextEpoch() int64 { return max(c.mine.epoch, c.view.top) + 1 }

// took books a tenure that etcd has confirmed.
func (c *core) took(t attempt, rev int64, ttl time.Duration, sent boottime.Instant) {
	if c.mine.epoch >= t.epoch {
		return
	}
	c.over = ""
	c.mine = tenure{
		held: true, epoch: t.epoch, lease: t.lease, ttl: ttl, since: t.since, rev: rev,
		deadline: Deadline(sent, ttl, c.cfg.Margin), renewAt: sent.Add(ttl / 5),
	}
	c.tried = attempt{}
	if c.wish.stop && !c.wish.keepLease {
		c.release(t.epoch, "stopped") // it was on its way when everything was given back
	}
}

// recognise finds in the view what a lost reply would have told: that a
// take-over of ours was carried out.
func (c *core) recognise() {
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
func (c *core) freeAt() boottime.Instant {
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

func (c *core) takeWake() boottime.Instant {
	if !c.wish.campaign || c.mine.held {
		return 0
	}
	return max(c.freeAt(), c.takeAt)
}

// pollRelease marks the tenure released, which lets a successor in at once. It
// is asked for when the address is gone, and retried until etcd has an answer.
func (c *core) pollRelease() []request {
	if c.wish.release == 0 || c.now.Before(c.releaseAt) || c.flying[kindRelease] >= 4 {
		return nil
	}
	if c.flying[kindRehang] > 0 || c.releaseDoubt {
		return nil // a move of the key that is under way changes the record: its answer first
	}
	epoch := c.wish.release
	if epoch != c.mine.epoch || c.mine.rev == 0 {
		c.wish.release = 0
		return nil
	}
	c.releaseAt = c.now.Add(min(c.cfg.TTL/10, hedge))
	then := []write{
		put(c.keys.Tenure(), c.tenureValue(TenureReleased, c.wish.why, c.mine.lease, c.mine.ttl), 0),
		del(c.keys.Holder()),
	}
	if c.lease != 0 && c.wish.member.Node != "" {
		// In the same transaction, so that the successors rank themselves by it.
		then = append(then, put(c.keys.Member(c.cfg.Node), encode(c.wish.member), c.lease))
	}
	member, on := c.wish.member, c.lease
	return []request{c.ask(request{
		kind: kindRelease, skip: c.skip(kindRelease),
		txn: txn{ifs: []cond{isMod(c.keys.Tenure(), c.mine.rev)}, then: then},
		done: func(r reply) {
			if c.wish.release != epoch {
				return
			}
			switch {
			case r.leaseGone: // the member's lease: release without it
				c.leaseLost(on)
				c.releaseAt = c.now
			case r.err != nil:
			case !r.succeeded:
				// A successor is there, or an earlier try of ours was carried out,
				// or a move of the key changed the record: the record tells.
				c.releaseDoubt = true
				c.unsync()
			default:
				if len(then) == 3 {
					c.member, c.memberOn, c.memberRev = member, on, r.revision
				}
				c.ended()
			}
		},
	})}
}

// settleRelease draws from a read whether a release that failed its compare has
// anything left to release.
func (c *core) settleRelease() {
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
func (c *core) ended() {
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

func (c *core) retire(l LeaseID) {
	if l != 0 && !slices.Contains(c.retired, l) {
		c.retired = append(c.retired, l)
	}
}
