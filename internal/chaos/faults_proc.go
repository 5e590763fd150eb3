package chaos

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	"leasehold/internal/lab"
)

// fall ends a process for as long as the fault lasts.
func (w *world) fall(name string, how func(*lab.Process) error) (end, error) {
	u := w.units[name]
	if u == nil {
		return nil, fmt.Errorf("there is no %s", name)
	}
	return u.rise, u.fall(how)
}

func (w *world) freeze(ctx context.Context, name string) (end, error) {
	u := w.units[name]
	if u == nil {
		return nil, fmt.Errorf("there is no %s", name)
	}
	return func(context.Context) error { return u.thaw() }, u.freeze(ctx)
}

func killDaemon(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{node(e.On)}, time.Second
	return w.fall("daemon "+e.On, (*lab.Process).Kill)
}

func stopDaemon(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{node(e.On)}, time.Second
	return w.fall("daemon "+e.On, (*lab.Process).Term)
}

func freezeDaemon(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{node(e.On)}, time.Second
	return w.freeze(ctx, "daemon "+e.On)
}

// renew has the daemon start itself anew in place.
func renew(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	p := w.units["daemon "+e.On].process()
	if !p.Running() {
		e.Note = "it does not run"
		return nil, nil
	}
	return nil, p.Signal([]syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2}[e.Arg])
}

// serverBack is how long a mysqld takes to start, and two checks to be good.
const serverBack = 3 * time.Second

func killMysqld(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{node(e.On)}, serverBack
	return w.fall("mysqld "+e.On, (*lab.Process).Kill)
}

func freezeMysqld(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{node(e.On)}, serverBack
	return w.freeze(ctx, "mysqld "+e.On)
}

// memberBack is how long a member takes to start and to hear of the leader.
const memberBack = 2 * time.Second

func killMember(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{member(e.On)}, memberBack
	return w.fall("etcd "+e.On, (*lab.Process).Kill)
}

func freezeMember(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts, e.Recovery = []Part{member(e.On)}, memberBack
	return w.freeze(ctx, "etcd "+e.On)
}

func moveLeader(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = []Part{cluster}
	from, to := w.leader(ctx), ""
	for id, h := range w.members {
		if h == e.On {
			to = fmt.Sprintf("%x", id)
		}
	}
	_, err := w.etcd.CtlAt(ctx, lab.Client, []string{from}, "move-leader", to)
	if err != nil {
		e.Note, err = "refused: "+firstLine(err), nil // it cannot be had while the others are not there
	}
	return nil, err
}

// compact drops the history of all keys, so that a watch that lags is cancelled.
func compact(ctx context.Context, w *world, e *Event) (end, error) {
	out, err := w.ctl(ctx, "get", "--write-out", "fields", "--limit", "1", "--prefix", serviceKeys)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if revision, ok := strings.CutPrefix(strings.TrimSpace(line), `"Revision" : `); ok {
			e.Note = "revision " + revision
			_, err := w.ctl(ctx, "compact", revision)
			if err != nil && strings.Contains(err.Error(), "has been compacted") {
				e.Note, err = "done already", nil
			}
			return nil, err
		}
	}
	return nil, fmt.Errorf("etcdctl get says no revision: %q", out)
}

// noSpace is the alarm of a full etcd: it refuses every put until an operator
// takes the alarm back.
func noSpace(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts, e.Recovery = []Part{cluster}, time.Second
	return func(ctx context.Context) error {
		return lab.Wait(ctx, generous, "the alarm to be taken back", func() (bool, error) {
			err := w.etcd.NoSpace(ctx, e.On, false)
			return err == nil, err
		})
	}, w.etcd.NoSpace(ctx, e.On, true)
}
