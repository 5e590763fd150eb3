package election

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"leasehold/internal/boottime"
)

// Candidate is one node's part in the election of one service: the core with
// etcd and a clock. Its methods neither block nor do I/O; Run does.
type Candidate struct {
	cluster *Cluster
	log     hclog.Logger
	clk     clock
	cfg     Config

	mu    sync.Mutex
	core  *Core
	leave bool

	boot    string // boot id; empty: no state is kept
	stored  *Saved // what the state file has; changed by Run alone, under mu
	written bool
	storing string // why it could not be written; empty: it could

	kick    chan struct{} // Run shall poll
	changed chan struct{} // State may have changed
}

// New returns a candidate that does nothing yet. It reads what an earlier
// process of this boot left, so that the first State already says that its VIP
// may stay.
func New(cfg Config, cluster *Cluster, log hclog.Logger) *Candidate {
	cfg.Endpoints = cluster.Size()
	c := &Candidate{
		cluster: cluster, log: log, cfg: cfg,
		clk:  clock{now: boottime.Now, wall: time.Now},
		core: NewCore(cfg, nil), kick: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
	c.restore()
	return c
}

// State returns what is known now. A wish made before is in it.
func (c *Candidate) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core.Tick(c.clk.now(), c.clk.wall())
	return c.core.State()
}

// Changed is signalled when State may have changed. It has one slot.
func (c *Candidate) Changed() <-chan struct{} { return c.changed }

// Campaign says whether this node wants the VIP. It is taken over as soon as
// the rules allow, and State then has HeldUntil.
func (c *Candidate) Campaign(want bool) {
	c.wish(func() bool {
		if c.core.wish.campaign == want {
			return false
		}
		c.core.Campaign(want)
		return true
	})
}

// Say sets this node's member key.
func (c *Candidate) Say(m MemberValue) {
	c.wish(func() bool {
		if c.core.wish.member == m {
			return false
		}
		c.core.Say(m)
		return true
	})
}

// Release ends this node's tenure of that epoch in favour of a successor, who
// may have the VIP milliseconds later: the address must be gone before. It is
// tried until etcd has an answer, also while Run is ending.
func (c *Candidate) Release(epoch int64, why string) {
	c.wish(func() bool { c.core.Release(epoch, why); return true })
}

// Shorten ends the long tenure of a pause: the kernel must have been told until
// as the new deadline before.
func (c *Candidate) Shorten(epoch int64, until boottime.Instant) {
	c.wish(func() bool { c.core.Shorten(epoch, until); return true })
}

// Confirm has this node's tenure confirmed by a request that is sent after the
// given moment: State's Renewed then says so.
func (c *Candidate) Confirm(after boottime.Instant) {
	c.wish(func() bool {
		c.core.Confirm(after)
		return c.core.mine.confirm
	})
}

// ShortDeadline is the deadline of a tenure of the configured ttl from now on.
func (c *Candidate) ShortDeadline() boottime.Instant {
	return Deadline(c.clk.now(), c.cfg.TTL, c.cfg.Margin)
}

// Record writes a line of history.
func (c *Candidate) Record(h HistoryValue) {
	c.wish(func() bool { c.core.wish.history = &h; return true })
}

// Leave makes the end of Run leave the holder key where it is: HA is paused and
// the VIP stays without a daemon.
func (c *Candidate) Leave() { c.wish(func() bool { c.leave = true; return true }) }

// wish changes what the core is asked for, and has it polled when f says that
// something changed.
func (c *Candidate) wish(f func() bool) {
	c.mu.Lock()
	c.core.Tick(c.clk.now(), c.clk.wall())
	changed := f()
	c.mu.Unlock()
	if changed {
		signal(c.kick)
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// closing is how long the end of Run may take to give lease and tenure back.
// What is not given back by then is waited out by the others.
const closing = 3 * time.Second

// Run takes part in the election until ctx is done, then gives back what this
// node holds and returns nil. The VIP must be gone by then, or Leave called.
func (c *Candidate) Run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
	}()
	w := &watcher{c: c, wg: &wg}
	defer func() { w.stop() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	done, end := ctx.Done(), (<-chan time.Time)(nil)
	for {
		wake, stopped := c.turn(work, &wg, w)
		if stopped {
			return nil
		}
		timer.Reset(wake)
		select {
		case <-c.kick:
		case <-timer.C:
		case <-end:
			c.log.Warn("tenure and lease could not be given back in time, the others wait them out")
			return nil
		case <-done:
			done, end = nil, time.After(closing)
			c.mu.Lock()
			c.core.Stop(c.leave)
			c.mu.Unlock()
		}
	}
}

// turn polls the core once and starts what it asks for. It returns how long
// nothing has to be done, and whether all is given back.
func (c *Candidate) turn(ctx context.Context, wg *sync.WaitGroup, w *watcher) (time.Duration, bool) {
	c.mu.Lock()
	now := c.clk.now()
	reqs := c.core.Poll(now, c.clk.wall())
	saved, stopped := c.core.Save(), c.core.Stopped()
	gen, rev := c.core.Watching()
	wake := c.core.Wake().Sub(now)
	refused := c.core.refused
	c.core.refused = ""
	c.mu.Unlock()

	if refused != "" {
		c.log.Warn("state of the last run is not used, so its VIP is removed and elected anew", "file", c.cfg.StateFile, "why", refused)
	}

	c.store(saved) // before a request that may move the tenure to another lease
	for _, r := range reqs {
		wg.Go(func() { c.carry(ctx, r, w) })
	}
	w.follow(ctx, gen, rev)
	signal(c.changed)
	return max(wake, time.Millisecond), stopped
}

// carry sends one request and hands the reply to the core.
func (c *Candidate) carry(ctx context.Context, r Request, w *watcher) {
	rep, i := c.cluster.send(ctx, c.core.keys, r, c.clk)
	if rep.Err != nil {
		c.log.Debug("request to etcd", "kind", r.Kind.String(), "err", rep.Err)
	}
	c.mu.Lock()
	r.Done(rep)
	if rep.Down && w.uses(i) {
		c.core.WatchEnded(w.number(), nil, rep.Got, rep.Wall) // what fails here is deaf as well
	}
	c.mu.Unlock()
	signal(c.kick)
}

// watcher runs the one watch that the core wants.
type watcher struct {
	c  *Candidate
	wg *sync.WaitGroup

	mu     sync.Mutex
	gen    int
	at     int // endpoint
	cancel context.CancelFunc
}

func (w *watcher) uses(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cancel != nil && w.at == i
}

func (w *watcher) number() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gen
}

func (w *watcher) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cancel != nil {
		w.cancel()
	}
}

// follow starts the watch of number gen unless it runs already.
func (w *watcher) follow(ctx context.Context, gen int, rev int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if gen == w.gen {
		return
	}
	if w.cancel != nil {
		w.cancel()
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.gen, w.at = gen, w.c.cluster.pick(0)
	at := w.at
	w.wg.Go(func() { w.c.watch(ctx, gen, at, rev) })
}

var errEnded = errors.New("the stream ended")

// watch feeds the core with the events from revision rev on, until the stream
// ends for whatever reason.
func (c *Candidate) watch(ctx context.Context, gen, at int, rev int64) {
	err := c.stream(ctx, gen, at, rev)
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	c.core.WatchEnded(gen, err, c.clk.now(), c.clk.wall())
	c.mu.Unlock()
	signal(c.kick)
}

func (c *Candidate) stream(ctx context.Context, gen, at int, rev int64) error {
	login, cancel := context.WithTimeout(ctx, dialTimeout)
	cli, err := c.cluster.connect(login, c.cluster.endpoints[at])
	cancel()
	if err != nil {
		return err
	}
	// Without a leader the member knows nothing new: better the stream ends.
	ch := cli.Watch(clientv3.WithRequireLeader(ctx), c.core.keys.Prefix(), clientv3.WithPrefix(), clientv3.WithRev(rev), clientv3.WithPrevKV())
	for resp := range ch {
		if err := resp.Err(); err != nil {
			return err
		}
		c.mu.Lock()
		if err := c.core.checkCluster(resp.Header.ClusterId); err != nil {
			c.mu.Unlock()
			return err
		}
		c.core.Watched(gen, eventsOf(resp), c.clk.now(), c.clk.wall())
		c.mu.Unlock()
		signal(c.kick)
	}
	return errEnded
}

func eventsOf(resp clientv3.WatchResponse) []Event {
	events := make([]Event, 0, len(resp.Events))
	for _, e := range resp.Events {
		ev := Event{KV: e.Kv, Deleted: e.Type == clientv3.EventTypeDelete}
		if e.PrevKv != nil {
			ev.PrevRev = e.PrevKv.ModRevision
		}
		events = append(events, ev)
	}
	return events
}
