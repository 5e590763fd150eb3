package sim

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip"
)

// Bind is vip.Set.Bind.
func (s *set) Bind(_ context.Context, until boottime.Instant, probe bool) error {
	defer s.operate()()
	s.h.w.cov.hit(bindBegun)
	was, err := s.bind(until, probe)
	var dup *vip.DuplicateError
	switch k := &s.h.kernel; {
	case errors.As(err, &dup):
		s.tenure = 0
		s.shut()
		s.drop()
	case err != nil && !was && k.addr.there:
		s.drop()
	}
	s.refresh()
	return err
}

// operate is the lock of an operation.
func (s *set) operate() func() {
	s.busy = true
	return func() { s.busy = false }
}

// drop deletes the address as configured.
func (s *set) drop() {
	s.kernelUntil = 0
	s.h.kernel.addr = address{}
}

// bind says whether the address was there already.
func (s *set) bind(until boottime.Instant, probe bool) (was bool, err error) {
	h := s.h
	k := &h.kernel
	if _, ok := s.lifetime(until); !ok {
		return true, errNoRoom
	}
	h.pause(time.Millisecond)
	switch {
	case !k.link:
		return true, errNoLink
	case h.broken:
		return true, errDenied
	case k.fence.can && !k.fence.attached:
		s.rebuild()
	}
	if probe && !k.fence.can {
		if err := s.probe(); err != nil {
			return true, err
		}
	}
	was = k.addr.there
	if err := s.setLifetime(until); err != nil {
		return was, err
	}
	h.pause(time.Millisecond)
	if probe && k.fence.can {
		if err := s.probe(); err != nil {
			return was, err
		}
	}
	s.tenure = until
	if err := s.arm(until, false); err != nil {
		return was, err
	}
	h.pause(200 * time.Microsecond)
	if until <= h.clock() {
		return was, errNoRoom
	}
	s.refresh()
	if !s.state.Bound {
		return was, errNotBound
	}
	return was, nil
}

// probe asks the wire for somebody who has the VIP.
func (s *set) probe() error {
	h := s.h
	h.w.cov.hit(probed)
	heard := h.w.asked(h)
	h.pause(20 * time.Millisecond)
	if heard || h.w.asked(h) {
		h.w.cov.hit(duplicate)
		return &vip.DuplicateError{Addr: theVIP().Addr(), Device: "eth0", MAC: stranger}
	}
	return nil
}

// lifetime is how long the address may live, in whole seconds from now on.
func (s *set) lifetime(until boottime.Instant) (time.Duration, bool) {
	now := s.h.clock()
	if !s.h.fenced() {
		seconds, ok := vip.Lifetime(now, until)
		return time.Duration(seconds) * time.Second, ok
	}
	if until <= now {
		return 0, false
	}
	return (until.Sub(now) + time.Second - 1).Truncate(time.Second) + time.Second, true
}

// limit is when an address that is bound until then must be gone.
func (s *set) limit(until boottime.Instant) boottime.Instant {
	if s.h.fenced() {
		return until.Add(beyond)
	}
	return until
}

// setLifetime adds the address or gives it a lifetime. That is relative, so a
// process that was held up looks at the clock again right after it.
func (s *set) setLifetime(until boottime.Instant) error {
	h := s.h
	k := &h.kernel
	for range 3 {
		before := h.clock()
		d, ok := s.lifetime(until)
		if !ok {
			break
		}
		h.pause(100 * time.Microsecond)
		k.set(d)
		s.kernelUntil = before.Add(d)
		if late := h.clock().Add(d); late <= s.limit(until) {
			return nil
		}
		h.w.cov.hit(heldUp)
	}
	s.drop()
	return errNoRoom
}

// arm stores the deadline by comparing with what this process saw last, as
// vip/fence does; reopen also from where a claim has shut it. A deadline that
// another process has changed is shut, and armed then.
func (s *set) arm(until boottime.Instant, reopen bool) error {
	f := &s.h.kernel.fence
	if !f.can {
		return nil
	}
	err := s.swap(until, reopen)
	if errors.Is(err, errTaken) {
		s.shut()
		err = s.swap(until, reopen)
	}
	if err == nil {
		s.h.w.cov.hit(fenceArmed)
	}
	return err
}

func (s *set) swap(until boottime.Instant, reopen bool) error {
	f := &s.h.kernel.fence
	s.h.pause(50 * time.Microsecond)
	switch {
	case !f.attached: // the map is there: nothing reads it
	case f.deadline == s.armed && s.armed != byClaim, reopen && f.deadline == byClaim:
	case f.deadline == byClaim:
		return vip.ErrClaimed
	default:
		return errTaken
	}
	s.h.kernel.store(until)
	s.armed = until
	return nil
}

// shut stores 0 and reads it back.
func (s *set) shut() {
	s.h.pause(50 * time.Microsecond)
	if f := &s.h.kernel.fence; f.can {
		f.deadline, s.armed = 0, 0
		f.disputed = f.disputed && s.h.loop.renewed <= f.claimed // settled by a tenure that is younger
	}
}

// Extend is vip.Set.Extend: behind a fence the deadline first, then the lifetime
// when it would end too soon.
func (s *set) Extend(_ context.Context, until boottime.Instant) error {
	defer s.operate()()
	err := s.extend(until, false)
	s.refresh()
	return err
}

func (s *set) extend(until boottime.Instant, reopen bool) error {
	h := s.h
	if _, ok := s.lifetime(until); !ok {
		return errNoRoom
	}
	if !h.fenced() {
		err := s.lengthen(until)
		if !errors.Is(err, vip.ErrNoRoom) {
			s.tenure = until
		}
		return err
	}
	err := s.arm(until, reopen)
	s.tenure = until
	if s.state.Bound && s.kernelUntil >= until && s.kernelUntil <= s.limit(until) && until > h.clock() {
		return err
	}
	return errors.Join(err, s.lengthen(until))
}

// lengthen gives an address that is there the lifetime that goes with until.
func (s *set) lengthen(until boottime.Instant) error {
	h := s.h
	h.pause(200 * time.Microsecond)
	if !h.kernel.addr.there {
		return errNotBound
	}
	err := s.setLifetime(until)
	if errors.Is(err, vip.ErrNoRoom) {
		s.drop()
	}
	return err
}

// Defend is vip.Set.Defend.
func (s *set) Defend(ctx context.Context, until boottime.Instant) error {
	defer s.operate()()
	answered := s.h.clock() // a claim from here on is another one
	s.h.pause(200 * time.Microsecond)
	if !s.h.kernel.addr.there {
		s.shut()
	} else if err := s.extend(until, true); err != nil {
		s.refresh()
		return err
	} else if err := s.Announce(ctx); err != nil {
		return err
	}
	s.claim.Defended = answered
	s.refresh()
	return nil
}

// Release is vip.Set.Release: resets, then the fence, then the addresses.
func (s *set) Release(_ context.Context, by boottime.Instant) error {
	defer s.operate()()
	h := s.h
	s.tenure = 0
	if h.kernel.addr.there {
		h.pause(min(h.resets, max(by.Sub(h.clock()), 0)))
	}
	s.shut()
	h.pause(time.Millisecond)
	h.kernel.remove()
	s.kernelUntil = 0
	if s.claim.Count > 0 {
		s.claim.Defended = h.clock()
	}
	s.refresh()
	return nil
}

// Sweep is vip.Set.Sweep.
func (s *set) Sweep(context.Context, bool) error {
	s.h.pause(time.Millisecond)
	s.h.kernel.stray = false
	s.refresh()
	return nil
}

// Ask is vip.Set.Ask. Nobody here runs keepalived.
func (s *set) Ask(context.Context) error { return nil }

// Announce is vip.Set.Announce.
func (s *set) Announce(context.Context) error {
	s.h.pause(200 * time.Microsecond)
	k := &s.h.kernel
	if k.addr.there && k.link && k.lan && (!k.fence.attached || s.h.clock() < k.fence.deadline) {
		s.h.w.cov.hit(announced)
		s.h.w.claimed(s.h)
	}
	return nil
}

func theVIP() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, 8, 188}), 24) }
