// Package election elects the holder of one service's VIP through an etcd lease.
//
// It owns everything that is said to etcd: the lease, the holder key, the tenure
// record, the members, the pause. It knows no addresses and touches no kernel.
// core.go is the election without a clock or I/O; candidate.go is its shell.
package election

import (
	"errors"
	"fmt"
	"time"

	"leasehold/internal/boottime"
)

// Config is one node's part in the election of one service.
type Config struct {
	Service string
	Node    string
	TTL     time.Duration
	Margin  time.Duration // δ of Deadline: 5 ms behind a fence, 50 ms with kernel lifetimes alone (docs/adr/0002)

	Priority     int
	Preempt      bool
	PreemptDelay time.Duration
	VIPs         []string
	Version      string
	Endpoints    int      // how many ways there are to etcd
	StateFile    string   // where the tenure is kept for a successor of this process; empty: nowhere
	Specs        []string // the VIPs in the words of the configuration, for the state file
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
	renewed  boottime.Instant // when the request was sent that etcd last confirmed the tenure by
	asked    boottime.Instant // when the last such request was handed out
	unclean  bool             // the tenure before this one was not released, or nothing is known of one
	cut      bool             // the kernel's deadline was made short, to move back: nothing but a move raises it

	renewAt boottime.Instant // next renewal
	confirm bool             // Confirm was called
	late    bool             // the last renewal has not succeeded, or not yet
	moving  *rehang          // a re-hang that was sent: the key may be on either lease
}

// attempt is a take-over that was sent and may have been carried out.
type attempt struct {
	epoch int64
	lease LeaseID
	sent  boottime.Instant // of the first try: the one to count from when the reply is lost
	since time.Time

	unclean bool // as in tenure
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

// Core is the election of one service on one node: what it knows, what it holds
// and what it asks of etcd next. It has no clock, no goroutine and does no I/O,
// so that a simulation can run it: poll hands out requests, and each comes back
// by its done.
type Core struct {
	cfg  Config
	keys Keys
	now  boottime.Instant // of the current call, never older
	wall time.Time

	cluster uint64
	lastOK  boottime.Instant
	trouble struct {
		what string // went wrong last; empty: nothing, or it is over
		of   Kind
		at   boottime.Instant
	}

	view     View
	known    bool // the keys were read at least once
	synced   bool // the view is what a read said, and a watch goes on from there
	watchGen int  // the shell shall run one watch, of this number, from watchRev
	watchRev int64
	readAt   boottime.Instant // not before
	heard    boottime.Instant // last watch event or read
	loaded   boottime.Instant // last read
	seen     boottime.Instant // the last sign of the holder: what its tenure is timed from
	capRev   int64            // the holder key's revision that freeCap was asked for
	freeCap  boottime.Instant // a long tenure that stood before us is over by then
	saved    *Saved           // what an earlier process left, until the first read
	refused  string           // why it was not taken up although the holder key is on its lease

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
	beaten    []Cond           // what the last take-over compared in vain; nil: it did not, or a read has told why
	beatenAt  boottime.Instant // when that was known
	releaseAt boottime.Instant

	releaseDoubt bool // a release failed its compare: a read tells what is left
	retryAt      [kinds]boottime.Instant
	flying       [kinds]int
	tries        [kinds]int // since the last answer
}

// NewCore returns a core that has asked for nothing yet. saved is what an earlier
// process of this boot left, nil when there is nothing.
func NewCore(cfg Config, saved *Saved) *Core {
	return &Core{cfg: cfg, keys: KeysOf(cfg.Service), saved: saved}
}

// hedge is when an answer is late, so that another endpoint is asked as well:
// far above what a healthy etcd takes (1 to 10 ms), below what a tenure can spare.
const hedge = 250 * time.Millisecond

// try is how long one request may take: short enough that a hung endpoint costs
// a renewal one try and not the tenure.
func (c *Core) try() time.Duration { return min(c.cfg.TTL/4, 2*time.Second) }

// ask marks a request as sent and wires its reply through what every reply has
// in common.
func (c *Core) ask(r Request) Request {
	c.flying[r.Kind]++
	if r.Timeout == 0 {
		r.Timeout = c.try()
	}
	done := r.Done
	r.Done = func(rep Reply) {
		c.flying[r.Kind]--
		c.Tick(rep.Got, rep.Wall)
		if err := c.checkCluster(rep.Cluster); err != nil {
			rep.Err, rep.LeaseGone = err, false // what another cluster knows of our lease means nothing
		}
		if r.Kind == KindRevoke && rep.LeaseGone {
			rep.Err = nil // as wished
		}
		if rep.Err != nil {
			c.wrong(r.Kind, fmt.Sprintf("%s: %v", r.Kind, rep.Err))
			c.retryAt[r.Kind] = c.now.Add(min(50*time.Millisecond, c.cfg.TTL/20))
		} else {
			c.lastOK = max(c.lastOK, rep.Sent)
			c.tries[r.Kind] = 0
			c.right(r.Kind)
		}
		done(rep)
	}
	return r
}

// wrong notes what went wrong, for people.
func (c *Core) wrong(k Kind, what string) {
	c.trouble.what, c.trouble.of, c.trouble.at = what, k, c.now
}

// right notes that something works. What went wrong of another kind stands until
// it has not for a ttl: an etcd that is full, or a role that may only read, refuses
// some requests and grants others all the time.
func (c *Core) right(k Kind) {
	if c.trouble.of == k || c.now.Sub(c.trouble.at) > c.cfg.TTL {
		c.trouble.what = ""
	}
}

// errCluster says that the endpoints lead to another etcd than before.
var errCluster = errors.New("another etcd cluster answers")

func (c *Core) checkCluster(id uint64) error {
	switch {
	case id == 0 || id == c.cluster:
		return nil
	case c.cluster == 0:
		c.cluster = id
		return nil
	}
	return fmt.Errorf("%w: cluster id %x, was %x: nothing that it says is believed, because it does not know who holds the VIP; restart leasehold if the cluster was rebuilt on purpose", errCluster, id, c.cluster)
}

// Tick tells the core how late it is, on both clocks. It never goes back.
func (c *Core) Tick(now boottime.Instant, wall time.Time) {
	if c.now.Before(now) {
		c.now, c.wall = now, wall
	}
}

// ready reports whether a request of this kind may go out now, one at a time.
func (c *Core) ready(k Kind) bool { return c.flying[k] == 0 && !c.now.Before(c.retryAt[k]) }

// skip is which endpoint the next try of a kind goes to: that many after the
// current one, one further with each try that has had no answer. Not by how many
// are under way: that is the same number each time when all of them hang.
func (c *Core) skip(k Kind) int {
	n := c.tries[k] % max(1, c.cfg.Endpoints)
	c.tries[k]++
	return n
}

// Watching says which watch the shell shall run: one of that number (0: none),
// from that revision on.
func (c *Core) Watching() (gen int, revision int64) { return c.watchGen, c.watchRev }

// Poll returns what to ask of etcd now. Safety first: what ends a tenure goes
// before what starts one.
func (c *Core) Poll(now boottime.Instant, wall time.Time) []Request {
	c.Tick(now, wall)
	var out []Request
	for _, step := range []func() []Request{
		c.pollRelease, c.pollRenew, c.pollRehang, c.pollLease, c.pollSync,
		c.pollMember, c.pollTake, c.pollTidy,
	} {
		out = append(out, step()...)
	}
	return out
}

// Wake is when poll should be called again although nothing has happened.
func (c *Core) Wake() boottime.Instant {
	at := c.now.Add(time.Second)
	for _, t := range []boottime.Instant{c.keepAt, c.mine.renewAt, c.takeWake(), c.releaseAt, c.nextRead(), c.readAt, c.view.Pause.End()} {
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
