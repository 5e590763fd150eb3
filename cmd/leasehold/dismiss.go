package main

import (
	"context"
	"sync"
)

// dismissal lets one service go while the others go on: first its loop, which
// takes the VIPs away, then what that stands on, which gives the tenure back.
type dismissal struct {
	loop      chan struct{} // closed: the loop shall end
	observers chan struct{} // closed: so shall the rest
	ended     sync.WaitGroup
	gone      chan struct{} // closed: the loop has ended
	begin     func()
}

func newDismissal() *dismissal {
	d := &dismissal{loop: make(chan struct{}), observers: make(chan struct{}), gone: make(chan struct{})}
	d.begin = sync.OnceFunc(func() { close(d.loop) })
	return d
}

// dismissed reports whether dismiss was called.
func (u *unit) dismissed() bool { return closed(u.leave.loop) }

// dismiss lets go of a service for good, in the full order of a stop, and waits
// until it has: seconds where etcd does not answer. It is called once.
func (u *unit) dismiss(ctx context.Context) error {
	u.leave.begin()
	select {
	case <-u.leave.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	close(u.leave.observers)
	done := make(chan struct{})
	go func() { // ends with the tasks, which a dismissal bounds
		u.leave.ended.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dismissable makes a task end early when early is closed, without its supervisor
// taking that for a failure: to it the task goes on until it is told to end.
func dismissable(t task, early <-chan struct{}, ended func()) task {
	return task{t.name, func(ctx context.Context) error {
		own, cancel := context.WithCancel(ctx)
		defer cancel()
		var watching sync.WaitGroup
		watching.Go(func() {
			select {
			case <-early:
				cancel()
			case <-own.Done():
			}
		})
		err := t.run(own)
		cancel()
		watching.Wait()
		ended()
		if err == nil && closed(early) {
			<-ctx.Done()
		}
		return err
	}}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
