package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/boottime"
)

// rerun is what the daemon needs to start itself anew, in place. The loops go
// on until the kernel runs the new binary: where that fails, nothing has happened.
type rerun struct {
	cfg    *Config
	units  []*unit
	notify *notifier
	log    hclog.Logger

	args    []string
	path    string
	replace func(path string) error // returns only when it failed
}

// errUnsettled says that the tenure could not be confirmed in time.
var errUnsettled = errors.New("etcd does not confirm the tenure now, so that the new process could be late for it")

// settleLimit is how long a fresh renewal of every tenure is waited for.
const settleLimit = 2 * time.Second

// armWait is how long the kernel's deadline may lag behind a renewal: the loops
// pass it on within milliseconds, where there is anything to pass it on to.
const armWait = 30 * time.Millisecond

// run answers the signals until ctx ends. stopping is the end of the daemon, at
// which nothing is begun any more.
func (r *rerun) run(ctx, stopping context.Context, signals <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case sig := <-signals:
			if stopping.Err() != nil {
				continue
			}
			r.log.Info("asked to take up the binary and the configuration anew", "signal", sig.String(), "binary", r.path, "config", r.cfg.File)
			if err := r.renew(stopping); err != nil && stopping.Err() == nil {
				r.log.Error("not taken up, this process goes on as before", "err", err)
				r.notify.Refused(err)
			}
		}
	}
}

// renew does not return when it succeeds.
func (r *rerun) renew(ctx context.Context) error {
	next, err := askRehearsal(ctx, r.path, r.args)
	if err != nil {
		return err
	}
	drop, err := r.dropped(next)
	if err != nil {
		return err
	}
	r.notify.Reloading()
	for _, u := range drop {
		r.log.Info("service is not in the configuration any more: let go", "service", u.name)
		r.notify.Forget(u.name)
		if err := u.dismiss(ctx); err != nil {
			return fmt.Errorf("service %s: %w", u.name, err)
		}
	}
	kept := slices.DeleteFunc(slices.Clone(r.units), func(u *unit) bool { return slices.Contains(drop, u) || u.dismissed() })
	if err := settle(ctx, kept); err != nil {
		return err
	}
	r.log.Info("running in place", "version", next.Leasehold, "was", versionText())
	r.notify.Ping()
	return r.replace(r.path)
}

// dropped returns the services that the next process will not have, and so cannot
// let go of; an error where it cannot take over from this one at all.
func (r *rerun) dropped(next rehearsal) ([]*unit, error) {
	now := rehearsalOf(r.cfg)
	switch {
	case next.Layout != now.Layout:
		return nil, fmt.Errorf("version %s keeps its state in another layout (%d, this one has %d): restart the daemon for it", next.Leasehold, next.Layout, now.Layout)
	case next.RunDir != now.RunDir:
		return nil, fmt.Errorf("run_dir is %s now, was %s: the state would not be found; restart the daemon for it", next.RunDir, now.RunDir)
	case next.BPFDir != now.BPFDir:
		return nil, fmt.Errorf("bpf_dir is %s now, was %s: the fences would not be found; restart the daemon for it", next.BPFDir, now.BPFDir)
	}
	var drop []*unit
	var paused []string
	for _, u := range r.units {
		if _, ok := next.Services[u.name]; u.dismissed() || ok && next.Node == now.Node {
			continue
		}
		if s := u.candidate.State(); s.Paused && s.HeldUntil != 0 {
			paused = append(paused, u.name)
		}
		drop = append(drop, u)
	}
	if len(paused) > 0 {
		return nil, fmt.Errorf("HA of %s is paused and this node holds it, so it stays: a configuration without it, or with another node name, has to wait for leasehold resume",
			strings.Join(paused, ", "))
	}
	return drop, nil
}

// settle waits for the moment to be replaced: every tenure just renewed, so that
// the next process has the most of it, the kernel told of that, and nothing on
// its way to etcd that could change who holds.
func settle(ctx context.Context, units []*unit) error {
	since := boottime.Now()
	for _, u := range units {
		if u.candidate.State().HeldUntil != 0 {
			u.candidate.Confirm(since)
		}
	}
	limit := time.NewTimer(settleLimit)
	defer limit.Stop()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	var settled time.Time
	for {
		switch late := !settled.IsZero() && time.Since(settled) > armWait; {
		case slices.ContainsFunc(units, func(u *unit) bool { return !u.candidate.Settled(since) }):
			settled = time.Time{}
		case late || !slices.ContainsFunc(units, func(u *unit) bool { return !u.armed() }):
			return nil
		case settled.IsZero():
			settled = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return errUnsettled
		case <-poll.C:
		}
	}
}

// armed reports whether the kernel has the deadline of the last renewal.
func (u *unit) armed() bool {
	held := u.candidate.State().HeldUntil
	if held == 0 {
		return true
	}
	st := u.set.State()
	if st.Fence.Kind != "" {
		return !st.Fence.Until.Before(held)
	}
	// Lifetimes are whole seconds, and end a tenure early by up to one.
	return !st.KernelUntil.Before(held.Add(-u.set.Lateness() - time.Second))
}
