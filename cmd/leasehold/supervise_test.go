package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// letsGo is a loop that takes a second to let go after it was told to stop, and
// must have its observer until then.
func letsGo(t *testing.T, observed *atomic.Bool) task {
	return task{"service mysql", func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second)
		if !observed.Load() {
			t.Error("the observer has ended before the loop")
		}
		return nil
	}}
}

func observer(observed *atomic.Bool) task {
	return task{"election mysql", func(ctx context.Context) error {
		observed.Store(true)
		<-ctx.Done()
		observed.Store(false)
		return nil
	}}
}

// However it ends, the loops end first, and what they stand on after them.
func TestSuperviseOrder(t *testing.T) {
	broken := errors.New("netlink is gone")
	for name, tc := range map[string]struct {
		more task
		want string // in the error; empty: none
	}{
		"told to":                 {task{"vip mysql", func(ctx context.Context) error { <-ctx.Done(); return nil }}, ""},
		"an observer fails":       {task{"vip mysql", func(context.Context) error { time.Sleep(time.Millisecond); return broken }}, "vip mysql: netlink is gone"},
		"an observer just ends":   {task{"vip mysql", func(context.Context) error { time.Sleep(time.Millisecond); return nil }}, "vip mysql ended by itself"},
		"an observer fails early": {task{"vip mysql", func(context.Context) error { return broken }}, "vip mysql: netlink is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var observed atomic.Bool
				stops := 0
				err := supervise(ctx, []task{letsGo(t, &observed)}, []task{observer(&observed), tc.more}, func() { stops++ }, func() {}, hclog.NewNullLogger())
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				if observed.Load() || stops != 1 {
					t.Errorf("observer still there: %v; told to stop %d times", observed.Load(), stops)
				}
			})
		})
	}
}

// A loop that ends without being told to takes the others along.
func TestSuperviseLoopEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var observed atomic.Bool
		quits := task{"service other", func(context.Context) error { time.Sleep(time.Hour); return nil }}
		err := supervise(t.Context(), []task{letsGo(t, &observed), quits}, []task{observer(&observed)}, func() {}, func() {}, hclog.NewNullLogger())
		if err == nil || !strings.Contains(err.Error(), "service other ended by itself") {
			t.Errorf("got %v", err)
		}
	})
}

// SIGHUP and SIGUSR2 leave the daemon alone, and are told; SIGTERM and SIGINT end it.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		ctx, renew, stop := signals(t.Context())
		for _, again := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2} {
			if err := syscall.Kill(syscall.Getpid(), again); err != nil {
				t.Fatal(err)
			}
			if got := <-renew; got != again || ctx.Err() != nil {
				t.Errorf("got %v, %v; want %v", got, ctx.Err(), again)
			}
		}
		if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		<-ctx.Done()
		stop()
	}
}
