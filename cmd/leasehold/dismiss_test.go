package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// One service is let go, its loop first, and the other does not notice.
func TestDismiss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var order []string
		note := func(name string, takes time.Duration) task {
			return task{name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(takes)
				order = append(order, name)
				return nil
			}}
		}
		u := &unit{name: "mysql", leave: newDismissal()}
		u.leave.ended.Add(1)
		loops := []task{dismissable(note("mysql", time.Second), u.leave.loop, func() { close(u.leave.gone) }), note("other", time.Second)}
		observers := []task{dismissable(note("election mysql", time.Second), u.leave.observers, u.leave.ended.Done), note("election other", 0)}
		done := make(chan error, 1)
		go func() { done <- supervise(ctx, loops, observers, func() {}, func() {}, hclog.NewNullLogger()) }()
		synctest.Wait()
		if u.dismissed() {
			t.Error("dismissed before anybody asked for it")
		}
		start := time.Now()
		if err := u.dismiss(ctx); err != nil || !u.dismissed() || time.Since(start) != 2*time.Second {
			t.Errorf("dismiss: %v after %v", err, time.Since(start))
		}
		time.Sleep(time.Hour)
		if want := []string{"mysql", "election mysql"}; !slices.Equal(order, want) {
			t.Errorf("ended %v, want %v", order, want)
		}
		cancel()
		if err := <-done; err != nil || len(order) != 4 {
			t.Errorf("%v, ended %v", err, order)
		}
	})
}

// A task that fails or ends by itself is still a failure, dismissed or not.
func TestDismissableFails(t *testing.T) {
	broken := errors.New("broken")
	early := make(chan struct{})
	fails := dismissable(task{"x", func(context.Context) error { return broken }}, early, func() {})
	if err := fails.run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ends := dismissable(task{"x", func(context.Context) error { return nil }}, early, func() {})
	err := supervise(t.Context(), []task{ends}, nil, func() {}, func() {}, hclog.NewNullLogger())
	if err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("got %v", err)
	}
	close(early)
	if err := fails.run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("dismissed: got %v", err)
	}
}
