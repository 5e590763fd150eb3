package vip

import (
	"context"
	"errors"
	"fmt"
)

// shutAbsent shuts the fences of VIPs that are not there as configured: nobody
// holds them, and what is put there next must not be answered for.
func (s *Set) shutAbsent(r *reading) error {
	var errs []error
	for i := range s.specs {
		if r.right(i) == nil {
			errs = append(errs, s.guard.shutOne(i))
		}
	}
	return errors.Join(errs...)
}

// fenced reports whether a fence guards the VIPs. op is held.
func (s *Set) fenced() bool {
	_, ok := s.guard.(*fenceGuard)
	return ok
}

// barred returns why nothing may be bound, nil when it may.
func (s *Set) barred() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guarding.noGuard != "" {
		return fmt.Errorf("%w: %s", ErrNoGuard, s.guarding.noGuard)
	}
	return nil
}

// ready makes sure that there is a guard, that all of it is in its place, and
// that it is shut for the VIPs that are not there. It returns the reading after
// that: VIPs behind an incomplete fence have been removed.
func (s *Set) ready(ctx context.Context, r *reading) (*reading, error) {
	if g, ok := s.guard.(*fenceGuard); ok && s.tendFence(ctx, g, r) != nil {
		var err error
		if r, err = s.refresh(); err != nil {
			return nil, err
		}
	}
	if err := s.barred(); err != nil {
		return nil, err
	}
	for i, st := range s.guard.fences() {
		if st.Claimed {
			return nil, fmt.Errorf("%s: %w", s.specs[i].Prefix.Addr(), ErrClaimed)
		}
	}
	return r, s.shutAbsent(r)
}
