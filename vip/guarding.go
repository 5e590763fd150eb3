package vip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

const (
	// guardCheck is how often Run asks whether the fence is in its place: of a
	// tcx link that is detached the kernel tells nobody.
	guardCheck = time.Second
	// guardRetry is how often a fence that was refused is tried again.
	guardRetry = 5 * time.Second
)

// A guarding is how a Set came to its guard. The Set's mu guards it.
type guarding struct {
	mode    FenceMode
	dir     string
	kind    fence.Kind       // empty: the best that there is
	why     string           // why there is no fence
	noGuard string           // why nothing may be bound
	missing string           // what of the fence is missing
	tried   boottime.Instant // when a fence was last asked for in vain
}

// ErrNoGuard says that nothing would end a tenure in the kernel as it is
// required, or that there is doubt about it; see State.NoGuard.
var ErrNoGuard = errors.New("no guard")

// chooseGuard finds the guard of the VIPs: a fence, or kernel lifetimes alone
// where that is asked for or bpf is refused and a fence is not required. The
// caller holds op, or nobody else has the Set yet.
func (s *Set) chooseGuard(ctx context.Context) {
	r, err := s.refresh()
	if err != nil {
		s.refuse("the kernel cannot be read: " + err.Error())
		return
	}
	// Where nothing is pinned, what is bound was bound without a fence.
	behind := s.pinned()
	if s.guarding.mode == FenceOff {
		s.useLifetimes(ctx, "turned off", behind)
		return
	}
	g := newFenceGuard(s.specs, fence.Config{Dir: s.guarding.dir, Kind: s.guarding.kind, Log: s.log})
	if err = s.openFences(g, r); err == nil {
		s.setGuard(g, "", "")
		err = s.shutAbsent(r)
	}
	if err == nil {
		s.republish()
		return
	}
	g.close()
	s.fenceRefused(ctx, err, behind)
}

// pinned reports whether a fence of one of the VIPs is.
func (s *Set) pinned() bool {
	return slices.ContainsFunc(s.specs, func(sp Spec) bool { return fence.Pinned(s.guarding.dir, sp.Prefix.Addr()) })
}

// fenceRefused is what is done without a fence. behind says whether VIPs may be
// there that were bound behind one.
func (s *Set) fenceRefused(ctx context.Context, err error, behind bool) {
	switch {
	case errors.Is(err, fence.ErrForeign):
		s.refuse(err.Error()) // whatever it is may let through what it likes
	case s.guarding.mode == FenceRequired:
		s.refuse(err.Error() + "; it is required: fence: auto does without where the ttl is 3 s or more")
	default:
		s.useLifetimes(ctx, err.Error(), behind)
	}
}

// useLifetimes goes on without a fence. What is pinned of one would keep the VIPs
// silent for ever: it goes, after the addresses that nothing but it ends in time.
func (s *Set) useLifetimes(ctx context.Context, why string, behind bool) {
	if err := s.dropFences(ctx, behind); err != nil {
		s.refuse(fmt.Sprintf("no fence (%s), and what is left of one is in the way: %v; leasehold release --purge as root takes it away", why, err))
		return
	}
	s.setGuard(lifetimesOnly{}, why, "")
}

// refuse says why nothing may be bound. What is pinned can still be shut.
func (s *Set) refuse(why string) {
	s.setGuard(pinnedGuard{specs: s.specs, dir: s.guarding.dir}, why, why)
}

func (s *Set) setGuard(g guard, why, noGuard string) {
	s.mu.Lock()
	was := s.guarding
	old := s.guard
	s.guard = g
	s.guarding.why, s.guarding.noGuard, s.guarding.missing = why, noGuard, ""
	s.guarding.tried = boottime.Now()
	for i, st := range g.fences() {
		if !st.Claimed {
			s.claimsSeen[i] = max(s.claimsSeen[i], st.ClaimedAt) // in an earlier process's time
		}
	}
	s.mu.Unlock()
	old.close()
	switch {
	case noGuard != "" && noGuard != was.noGuard:
		s.log.Error("nothing is bound without a guard", "err", noGuard)
	case noGuard == "" && why != "" && (why != was.why || was.noGuard != "") && s.guarding.mode != FenceOff:
		s.log.Warn("no fence, kernel lifetimes end a tenure", "why", why)
	case noGuard == "" && why == "" && (was.why != "" || was.noGuard != ""):
		s.log.Info("fence in place", "dir", s.guarding.dir)
	}
	s.republish()
}

// dropFences takes away the fences of the VIPs that are pinned; where VIPs may
// be behind them, after those.
func (s *Set) dropFences(ctx context.Context, behind bool) error {
	if behind {
		s.announcer.stop()
		s.setLease(0)
		if err := (pinnedGuard{specs: s.specs, dir: s.guarding.dir}).shut(); err != nil {
			s.log.Debug("fence not shut before it is removed", "err", err)
		}
		if err := s.clear(ctx, func(found) bool { return true }); err != nil {
			return err
		}
		if s.pinned() {
			s.log.Warn("fences of an earlier run are removed", "dir", s.guarding.dir)
		}
	}
	return s.removeFences()
}

// removeFences takes the pinned fences of the VIPs away.
func (s *Set) removeFences() error {
	var errs []error
	for _, sp := range s.specs {
		if ip := sp.Prefix.Addr(); fence.Pinned(s.guarding.dir, ip) {
			_, err := fence.Remove(s.guarding.dir, ip)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// tendGuard puts right what is wrong with the guard.
func (s *Set) tendGuard(ctx context.Context) {
	s.op.Lock()
	defer s.op.Unlock()
	r, err := s.refresh() // the deadline too, and claims that no listener heard
	if err != nil {
		s.log.Warn("kernel cannot be read", "err", err)
		return
	}
	g, ok := s.guard.(*fenceGuard)
	if !ok {
		s.retryFence(ctx)
		return
	}
	if s.tendFence(ctx, g, r) != nil {
		return // it has logged, and shows in State
	}
	if err := g.tend(); err != nil {
		s.log.Debug("the host's other devices are not fenced", "err", err)
	}
}

// tendFence follows devices that come and go, and puts the fence back where
// something of it is missing. It returns what was.
func (s *Set) tendFence(ctx context.Context, g *fenceGuard, r *reading) error {
	if err := s.openFences(g, r); err != nil {
		s.fenceRefused(ctx, err, true)
		return err
	}
	missing := ""
	switch err := g.check(); {
	case errors.Is(err, fence.ErrMissing):
		s.rebuild(ctx, g, err)
		return err
	case err != nil:
		missing = "it cannot be checked: " + err.Error()
	}
	if devices := g.missingDevices(); len(devices) > 0 {
		missing = strings.Join(devices, ", ")
	}
	s.setMissing(missing)
	return nil
}

// openFences opens what is not open. A device may go meanwhile: then it is asked
// for no more.
func (s *Set) openFences(g *fenceGuard, r *reading) error {
	err := g.open(r)
	if err == nil {
		return nil
	}
	if r, rerr := s.refresh(); rerr == nil {
		err = g.open(r)
	}
	return err
}

// rebuild puts back a fence of which something is missing. The addresses that
// it guards go first: what is left of it may pass anything.
func (s *Set) rebuild(ctx context.Context, g *fenceGuard, missing error) {
	s.setMissing(missing.Error())
	s.log.Error("fence incomplete: vips are removed, then it is put back shut", "err", missing)
	s.announcer.stop()
	s.setLease(0)
	if err := s.takeAway(ctx); err != nil {
		s.log.Error("vips behind an incomplete fence", "err", err)
	}
	err := g.rebuild()
	if err != nil {
		// Perhaps a device has just gone, and with it the need for its programs.
		if r, rerr := s.refresh(); rerr == nil && g.open(r) == nil && g.check() == nil {
			err = nil
		}
	}
	if err != nil {
		s.fenceRefused(ctx, fmt.Errorf("%w, and it cannot be put back: %w", missing, err), true)
		return
	}
	s.setMissing("")
	s.log.Info("fence put back, shut", "dir", s.guarding.dir)
}

// retryFence asks for a fence again where there is none, unless a VIP is bound
// without: the fence would be shut in front of it.
func (s *Set) retryFence(ctx context.Context) {
	s.mu.Lock()
	g := s.guarding
	s.mu.Unlock()
	settled := g.noGuard == "" && (g.mode == FenceOff || len(s.State().Copies) > 0)
	if settled || boottime.Now().Sub(g.tried) < guardRetry {
		return
	}
	s.chooseGuard(ctx)
}

func (s *Set) setMissing(what string) {
	s.mu.Lock()
	changed := s.guarding.missing != what
	s.guarding.missing = what
	s.mu.Unlock()
	if !changed {
		return
	}
	if what != "" {
		s.log.Warn("fence not complete", "missing", what)
	}
	s.republish()
}
