package health

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// How often an absent process is looked for. By name it means reading all of /proc.
const (
	findInterval       = 100 * time.Millisecond
	findByNameInterval = 500 * time.Millisecond
)

// processCheck watches one process. Only its goroutine in Run uses it.
type processCheck struct {
	process      Process
	useConnector bool
	log          hclog.Logger
}

func newProcessCheck(p Process, useConnector bool, log hclog.Logger) *processCheck {
	return &processCheck{process: p, useConnector: useConnector, log: log}
}

// watch is the work of one process check while it runs.
type watch struct {
	*Checks
	ck      *check
	conn    *connector       // nil where there is none
	events  <-chan procEvent // of conn; nil where there is none
	last    *target          // the process that ended last; held so that it is not found again
	ending  string           // how last ended
	exiting bool             // ending is to be written again once last has ended
	lost    time.Time        // when last was seen to end
	wg      sync.WaitGroup
}

// watchProcess runs a process check until ctx ends.
func (c *Checks) watchProcess(ctx context.Context, ck *check) {
	w := &watch{Checks: c, ck: ck}
	if ck.process.useConnector {
		conn, err := openConnector()
		if err != nil {
			ck.process.log.Info("process connector not available, a large process is seen to die late", "err", err)
		} else {
			events := make(chan procEvent, 16)
			w.conn, w.events = conn, events
			w.wg.Go(func() { conn.deliver(ctx, events) })
		}
	}
	w.run(ctx)
}

// run watches until ctx ends.
func (w *watch) run(ctx context.Context) {
	defer w.wg.Wait()
	defer func() {
		if w.conn != nil {
			w.conn.close()
		}
		if w.last != nil {
			w.last.close()
		}
	}()
	for ctx.Err() == nil {
		if t := w.find(ctx); t != nil {
			w.hold(ctx, t)
		}
	}
}

// find looks for the process until it is there, and reports that it is not.
// It returns nil when ctx ends.
func (w *watch) find(ctx context.Context) *target {
	every := findInterval
	if w.ck.process.process.Name != "" {
		every = findByNameInterval
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		generation, begin := w.begun(), time.Now()
		t, err := w.look(ctx)
		if ctx.Err() != nil {
			if t != nil {
				t.close()
			}
			return nil
		}
		if err == nil {
			return t
		}
		detail := err.Error()
		if w.last != nil { // says more than that nobody listens now
			if w.exiting && w.last.ended() {
				w.exiting, w.ending = false, w.last.String()+" exited"
			}
			detail = w.ending
		}
		w.report(w.ck, outcome{generation: generation, fact: true, detail: detail, took: time.Since(begin)})
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-w.ck.wake:
		case e, ok := <-w.events:
			w.afterthought(e, ok)
		}
	}
}

// look looks for the process once.
func (w *watch) look(ctx context.Context) (*target, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second) // a unix socket needs none; be safe
	defer cancel()
	t, err := w.ck.process.process.find(ctx)
	if err != nil {
		return nil, err
	}
	if w.conn != nil {
		// Before the process is verified, so that no moment is uncovered.
		if err := w.conn.follow(t.pid); err != nil {
			w.ck.process.log.Warn("process connector given up, a large process is seen to die late", "err", err)
			w.dropConnector()
		}
	}
	err = t.alive()
	if err == nil && w.last != nil && w.last.same(t) && time.Since(w.lost) < doubt {
		err = errEnding
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// errEnding is for a process that the connector reported as killed and that
// nothing else shows as dying yet: until its memory is torn down its sockets
// still accept, which looks like life.
var errEnding = errors.New("the process is exiting")

// doubt is how long the connector is believed against /proc. The leader of a
// process that was killed is marked as exiting within microseconds. One that is
// not, two seconds later, lost a single thread, which seccomp can do and a bug in
// the kernel.
const doubt = 2 * time.Second

// hold reports the process as there, until it ends, which it reports at once.
func (w *watch) hold(ctx context.Context, t *target) {
	if w.last != nil {
		w.last.close()
	}
	w.last, w.ending = nil, ""
	gone := make(chan struct{})
	w.wg.Go(func() { defer close(gone); t.wait() })
	ticker := time.NewTicker(w.ck.cfg.Interval)
	defer ticker.Stop()
	for {
		generation, begin := w.begun(), time.Now()
		if err := t.alive(); err != nil {
			w.lose(t, err.Error())
			w.exiting = true // as far as is known
			return
		}
		w.report(w.ck, outcome{generation: generation, ok: true, fact: true, detail: t.String() + t.note, took: time.Since(begin)})
	wait:
		select {
		case <-ctx.Done():
			t.close()
			return
		case <-gone:
			w.lose(t, t.String()+" exited")
			return
		case e, ok := <-w.events:
			switch {
			case !ok:
				w.dropConnector()
			case e.lost:
				// Something was dropped; the top of the loop looks for itself.
			case e.tgid != t.pid:
				goto wait // queued before the last follow
			case e.fatal():
				w.lose(t, t.String()+" exited ("+e.cause()+")")
				return
			case e.pid == e.tgid:
				w.lose(t, t.String()+" exited ("+e.cause()+")")
				return
			}
		case <-ticker.C:
		case <-w.ck.wake:
		}
	}
}

// lose reports the end of a process and keeps it as the last one.
func (w *watch) lose(t *target, ending string) {
	w.last, w.ending, w.lost, w.exiting = t, ending, time.Now(), false
	w.report(w.ck, outcome{generation: w.begun(), fact: true, detail: ending})
}

// afterthought takes an event that came after its process was reported: the pidfd
// of a small process may be faster, but only the event knows the cause.
func (w *watch) afterthought(e procEvent, ok bool) {
	if !ok {
		w.dropConnector()
		return
	}
	if w.last != nil && e.tgid == w.last.pid && (e.fatal() || e.pid == e.tgid) {
		w.ending, w.exiting = w.last.String()+" exited ("+e.cause()+")", false
	}
}

// dropConnector goes on without the connector.
func (w *watch) dropConnector() {
	if w.conn != nil {
		w.conn.close()
	}
	w.conn, w.events = nil, nil
}
