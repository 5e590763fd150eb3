package vip

import (
	"context"
	"errors"
	"fmt"

	"leasehold/internal/boottime"
)

// Extend moves the end of the VIPs' time to until, later or sooner than before:
// the fence's deadline by one store each, and their kernel lifetime by one
// replace each: place, label and TCP sessions are kept. Behind a fence, and while
// Run watches, the lifetime is set anew and the kernel read only when it would
// end before until or over 2 s after it. A VIP that somebody made permanent
// becomes finite again. It creates nothing.
//
// It fails with ErrNotBound when a VIP is missing, and with ErrClaimed when the
// kernel shut the fence of one, after it has extended the others; and with
// ErrNoRoom when until has passed, without a fence also when under one second is
// left, in which case the VIPs keep the lifetime they had, and must be released.
// If until passed while the kernel was told, all are deleted.
func (s *Set) Extend(_ context.Context, until boottime.Instant) error {
	s.op.Lock()
	defer s.op.Unlock()
	if err := s.extend(until, s.guard.arm); err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	return nil
}

// extend is Extend, with what arms the guard.
func (s *Set) extend(until boottime.Instant, arm func(boottime.Instant) error) error {
	if _, ok := s.guard.lifetime(boottime.Now(), until); !ok {
		return ErrNoRoom
	}
	if err := s.barred(); err != nil {
		return err
	}
	if !s.fenced() {
		err := s.setLifetimes(until)
		if !errors.Is(err, ErrNoRoom) {
			s.setLease(until)
		}
		return err
	}
	err := arm(until)
	s.setLease(until)
	if s.lasts(until) {
		s.republish()
		if until > s.now() {
			return err
		}
	}
	return errors.Join(err, s.setLifetimes(until))
}

// lasts reports whether every VIP is known to be there with a lifetime that goes
// with until.
func (s *Set) lasts(until boottime.Instant) bool {
	if st := s.State(); !s.watching.Load() || !st.Known || !st.Bound {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.kernelUntil {
		if at < until || at > s.guard.limit(until) {
			return false
		}
	}
	return true
}

// setLifetimes gives the VIPs that are there the lifetime that goes with until,
// or deletes them when there is no room for one any more.
func (s *Set) setLifetimes(until boottime.Instant) error {
	r, err := s.refresh()
	if err != nil {
		return err
	}
	var errs []error
	for i, sp := range s.specs {
		f := r.right(i)
		switch {
		case f == nil:
			errs = append(errs, fmt.Errorf("%s is %w", sp, ErrNotBound))
		case s.own(r, *f):
			errs = append(errs, ownError(*f))
		default:
			errs = append(errs, s.setLifetime(r, i, until))
		}
	}
	err = errors.Join(errs...)
	if errors.Is(err, ErrNoRoom) {
		err = errors.Join(err, s.removeAll(r, func(f found) bool { return f.Right && !s.own(r, f) }))
	}
	_, rerr := s.refresh()
	return errors.Join(err, rerr)
}

// Defend answers the claims of another host, after the caller has made sure that
// the VIPs are still this host's: it is Extend, opens the fences that the kernel
// shut, and announces the VIPs. At most one such announcement leaves a second;
// one that is asked for sooner is sent by Run when the second is over. (RFC 5227
// section 2.4 lets a host that will not give its address up defend it.)
//
// Where a VIP is missing as well it only forgets the claims and leaves the fence
// shut: Bind is what is next.
func (s *Set) Defend(_ context.Context, until boottime.Instant) error {
	s.op.Lock()
	defer s.op.Unlock()
	answered := boottime.Now() // a claim from here on is another one
	err := s.defend(until)
	if err == nil {
		s.mu.Lock()
		s.claim.Defended = answered
		s.mu.Unlock()
		s.republish()
		return nil
	}
	return fmt.Errorf("defend: %w", err)
}

func (s *Set) defend(until boottime.Instant) error {
	r, err := s.refresh()
	if err != nil {
		return err
	}
	for i := range s.specs {
		if r.right(i) == nil {
			return s.guard.shut()
		}
	}
	if err := s.extend(until, s.guard.reopen); err != nil {
		return err
	}
	return s.answer()
}
