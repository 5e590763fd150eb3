package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
)

// task is something that runs until its context is cancelled, and returns nil then.
type task struct {
	name string
	run  func(context.Context) error
}

// supervise runs everything, and returns when all of it has ended: nil after
// the end of ctx, else why it had to end. Two contexts: the end of ctx or a
// failure stops the loops only; what they look at and act through
// goes on until the last of them has let go, so that the lease outlives the
// address and never the reverse. onStop is called when the stopping begins, onLetGo
// when the last loop has ended.
func supervise(ctx context.Context, loops, observers []task, onStop, onLetGo func(), log hclog.Logger) error {
	observing, endObserving := context.WithCancel(context.WithoutCancel(ctx))
	defer endObserving()
	g, stopping := errgroup.WithContext(ctx)
	start := func(t task, ctx context.Context) {
		g.Go(func() error {
			err := t.run(ctx)
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", t.name, err)
			case ctx.Err() == nil:
				return fmt.Errorf("%s ended by itself", t.name)
			}
			return nil
		})
	}
	for _, t := range observers {
		start(t, observing)
	}
	var running sync.WaitGroup
	running.Add(len(loops))
	for _, t := range loops {
		start(task{t.name, func(ctx context.Context) error {
			defer running.Done()
			return t.run(ctx)
		}}, stopping)
	}
	g.Go(func() error {
		<-stopping.Done()
		onStop()
		log.Info("stopping", "why", context.Cause(stopping))
		running.Wait()
		onLetGo()
		endObserving()
		return nil
	})
	return g.Wait()
}
