package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	bpflink "github.com/cilium/ebpf/link"

	"leasehold/internal/lab"
)

// unfence takes the fence of a host off its devices and leaves the pins, as a
// stranger with bpftool would. A host whose daemon does not run then is guarded
// by the lifetimes of its addresses alone.
func unfence(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	if !w.o.fenced() {
		e.Note = "there is none"
		return nil, nil
	}
	// A lifetime ends a tenure up to 2 s after the fence would, and up to a
	// second late, see package vip.
	e.Hurts, e.Speaks, e.Recovery = []Part{node(e.On)}, e.On, w.o.TTL+3*time.Second
	n, err := w.detach(e.On)
	if n == 0 && err == nil {
		e.Note = "it was off already"
	}
	return nil, err
}

// detach takes every program of a host's fence off its device.
func (w *world) detach(host string) (n int, err error) {
	dir, err := w.BPFDir(host)
	if err != nil {
		return 0, err
	}
	pins, err := filepath.Glob(filepath.Join(dir, "*", "[0-9]*_*"))
	if err != nil {
		return 0, fmt.Errorf("list the fence's pins: %w", err)
	}
	for _, pin := range pins {
		l, err := bpflink.LoadPinnedLink(pin, nil)
		if err != nil {
			continue // it has just gone, or is a program without a link
		}
		if err := errors.Join(l.Detach(), l.Close()); err != nil {
			return n, fmt.Errorf("detach %s: %w", pin, err)
		}
		n++
	}
	return n, nil
}

// exposed reports whether somebody took the fence of a host away not long ago.
func (w *world) exposed(host string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.journal {
		if e.Kind == "unfence" && e.On == host && time.Since(e.From) < roundLength {
			return true
		}
	}
	return false
}

// impostor gives the VIP to a host that is no node.
func impostor(ctx context.Context, w *world, e *Event) (end, error) {
	_, err := w.Exec(ctx, e.On, "ip", "addr", "add", w.VIP.String(), "dev", "eth0")
	return func(ctx context.Context) error {
		_, err := w.Exec(ctx, e.On, "ip", "addr", "del", w.VIP.String(), "dev", "eth0")
		return err
	}, err
}

// unguarded gives the VIP to a node that has neither a daemon nor a fence.
func unguarded(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	u := w.units["daemon "+e.On]
	err := u.fall((*lab.Process).Kill)
	if err == nil {
		_, err = w.detach(e.On)
	}
	var back end
	if err == nil {
		back, err = impostor(ctx, w, e)
	}
	return func(ctx context.Context) error {
		if back != nil {
			if err := back(ctx); err != nil {
				return err
			}
		}
		return u.rise(ctx)
	}, err
}
