package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// setTries bounds the repeats of a lifetime that was too late for its deadline.
const setTries = 3

// Bind puts every VIP on its device as configured, with a kernel lifetime that
// follows from until, opens the guard until then, and returns when the kernel
// shows them. A VIP that is there already keeps its place and label and gets the
// lifetime; one with another label on the same device and prefix is replaced.
// Other copies stay, see Sweep. IPv6 addresses are usable at once (IFA_F_NODAD).
//
// Behind a fence nothing answers for a VIP that was not there before until
// everything else is done; the lifetime ends up to 2 s after until. Without one
// it ends at or before until (see Lifetime; the kernel may be late by Lateness).
//
// With probe the network is asked first whether another host has one of the VIPs
// (behind a fence while the addresses are added). If one answers no VIP is left,
// also none that was there before, and the error wraps a *DuplicateError.
//
// An IPv4 VIP becomes a secondary of the host's own address in its subnet. The
// device's promote_secondaries is set to 1 first and stays so, else the kernel
// deletes all secondaries along with their primary: the VIP with the host's
// address, or, where the VIP came first, the host's address with the VIP. Where
// this cannot be set and is not 1 already, nothing is bound. With it, a VIP on
// a device that has no address of that subnet (yet) is safe as well: the host's
// address, when it comes, is promoted when the VIP goes; until then the host
// itself uses the VIP as source in that subnet, which is logged. /32 and
// IPv6 know no secondaries. An IPv6 VIP beside another address of its prefix is
// bound without a prefix route of its own (IFA_F_NOPREFIXROUTE): the kernel
// would share the host's, and hang the VIP's lifetime on it.
//
// It fails with ErrNoRoom when until has passed, before or meanwhile, and without
// a fence when under one second is left; with ErrNoGuard; with ErrClaimed when
// the kernel shut a fence (Defend is what is next then); with ErrNoLink when a
// device is missing or down; with ErrOwnAddress; and with the kernel's error.
// What this call added is removed again then.
func (s *Set) Bind(ctx context.Context, until boottime.Instant, probe bool) error {
	s.op.Lock()
	defer s.op.Unlock()
	err := s.bind(ctx, until, probe)
	if duplicate := (*DuplicateError)(nil); errors.As(err, &duplicate) {
		s.setLease(0)
		err = errors.Join(err, s.guard.shut(), s.clear(ctx, func(f found) bool { return f.Right }))
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (s *Set) bind(ctx context.Context, until boottime.Instant, probe bool) error {
	if _, ok := s.guard.lifetime(boottime.Now(), until); !ok {
		return ErrNoRoom
	}
	r, err := s.refresh()
	if err != nil {
		return err
	}
	if err := s.prepare(r); err != nil {
		return err
	}
	if r, err = s.ready(ctx, r); err != nil {
		return err
	}
	var asked *probing // nil: nobody
	if probe {
		asked, err = s.startProbe()
		defer asked.end()
	}
	if err == nil && !s.fenced() {
		err = asked.wait(ctx)
	}
	if err != nil {
		return err
	}
	added, err := s.putAll(r, until)
	if err == nil {
		s.awaitLocal(added)
		if s.fenced() {
			err = asked.wait(ctx)
		}
	}
	if err == nil {
		err = s.open(until)
	}
	if err != nil {
		return errors.Join(err, s.undo(added))
	}
	for _, i := range added {
		s.log.Info("vip bound", "vip", s.specs[i].Prefix, "iface", s.specs[i].Device, "label", s.specs[i].Label)
	}
	return nil
}

// open opens the guard of VIPs that are there, and makes sure that they are.
func (s *Set) open(until boottime.Instant) error {
	s.setLease(until)
	if err := s.guard.arm(until); err != nil {
		return err
	}
	if until <= s.now() {
		return fmt.Errorf("this process was held up until its lease was over: %w", ErrNoRoom)
	}
	return s.confirm()
}

// putAll binds or refreshes every VIP, and returns those that were not there, as
// far as it came.
func (s *Set) putAll(r *reading, until boottime.Instant) (added []int, err error) {
	for i := range s.specs {
		was := r.right(i) != nil
		if err := s.put(r, i, until); err != nil {
			return added, err
		}
		if !was {
			added = append(added, i)
		}
	}
	return added, nil
}

// prepare checks what must hold before the first VIP is bound.
func (s *Set) prepare(r *reading) error {
	for _, sp := range s.specs {
		switch l, ok := r.links[sp.Device]; {
		case !ok:
			return fmt.Errorf("%w: %s does not exist", ErrNoLink, sp.Device)
		case !l.up:
			return fmt.Errorf("%w: %s is down", ErrNoLink, sp.Device)
		}
	}
	for _, f := range r.found {
		if s.own(r, f) {
			return ownError(f)
		}
	}
	for i, sp := range s.specs {
		if sp.Prefix.Addr().Is6() || sp.Prefix.Bits() == 32 {
			continue
		}
		if err := promoteSecondaries(sp.Device); err != nil {
			return err
		}
		if r.right(i) == nil && !r.hasSubnet(r.links[sp.Device].index, sp.Prefix) {
			s.log.Warn("device has no address of the vip's subnet, the host will use the vip as source", "vip", sp.Prefix, "iface", sp.Device)
		}
	}
	return nil
}

// put binds one VIP or refreshes it.
func (s *Set) put(r *reading, i int, until boottime.Instant) error {
	sp := s.specs[i]
	if r.right(i) == nil {
		// A replace changes no label, so the copy in its place must go first.
		for _, f := range r.found {
			if f.spec == i && f.Device == sp.Device && f.Prefix == sp.Prefix {
				if err := s.remove(r, f); err != nil {
					return err
				}
			}
		}
	}
	return s.setLifetime(r, i, until)
}

// setLifetime creates or replaces the VIP with the lifetime that goes with until.
// The lifetime is relative, so a process that was held up between reading the
// clock and the kernel's reading its message would stretch it: the clock is read
// again, the lifetime shortened, and when there is no more room the VIP is
// deleted.
func (s *Set) setLifetime(r *reading, i int, until boottime.Instant) error {
	sp := s.specs[i]
	a := sp.address(r)
	for try := range setTries {
		before := s.now()
		seconds, ok := s.guard.lifetime(before, until)
		if !ok {
			if try == 0 {
				return ErrNoRoom
			}
			break
		}
		a := *a // the library writes a broadcast address into it
		a.ValidLft, a.PreferedLft = int(seconds), int(seconds)
		if err := s.nl.AddrReplace(nil, &a); err != nil {
			return fmt.Errorf("set %s for %d s: %w", sp, seconds, explain(err, sp))
		}
		lifetime := time.Duration(seconds) * time.Second
		s.setKernelUntil(i, before.Add(lifetime))
		if s.now().Add(lifetime) <= s.guard.limit(until) {
			return nil
		}
	}
	s.setKernelUntil(i, 0)
	if err := s.deleteAddress(*a); err != nil {
		return err
	}
	return fmt.Errorf("%s: this process was held up until its lease was over: %w", sp.Prefix.Addr(), ErrNoRoom)
}

// address returns the netlink form of the VIP, without lifetimes.
func (s Spec) address(r *reading) *netlink.Addr {
	ip := s.Prefix.Addr()
	a := &netlink.Addr{
		IPNet:     &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(s.Prefix.Bits(), ip.BitLen())},
		Label:     s.label(),
		Scope:     int(s.Scope),
		LinkIndex: r.links[s.Device].index,
		Broadcast: net.IPv4zero, // none; the library would make one up for nil
	}
	if s.Broadcast.IsValid() {
		a.Broadcast = s.Broadcast.AsSlice()
	}
	if ip.Is6() {
		a.Flags = unix.IFA_F_NODAD
		if r.hasSubnet(a.LinkIndex, s.Prefix) {
			a.Flags |= unix.IFA_F_NOPREFIXROUTE
		}
	}
	return a
}

// explain adds to a bare errno what it means here.
func explain(err error, sp Spec) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %w", ErrNoLink, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (CAP_NET_ADMIN is missing)", err)
	case errors.Is(err, unix.EACCES) && sp.Prefix.Addr().Is6():
		return fmt.Errorf("%w (IPv6 is disabled on %s: sysctl net.ipv6.conf.%s.disable_ipv6=0)", err, sp.Device, sp.Device)
	}
	return err
}

// confirm reads the kernel, and fails unless every VIP is there.
func (s *Set) confirm() error {
	r, err := s.refresh()
	if err != nil {
		return err
	}
	for i, sp := range s.specs {
		if f := r.right(i); f == nil || f.Permanent {
			return fmt.Errorf("%s is %w: somebody else changed it", sp, ErrNotBound)
		}
	}
	return nil
}

// undo removes the VIPs that a failed Bind added.
func (s *Set) undo(added []int) error {
	if len(added) == 0 {
		return nil
	}
	r, err := s.refresh()
	if err != nil {
		return err
	}
	var errs []error
	for _, i := range added {
		errs = append(errs, s.guard.shutOne(i))
		s.setKernelUntil(i, 0)
		if f := r.right(i); f != nil {
			errs = append(errs, s.remove(r, *f))
		}
	}
	_, err = s.refresh()
	return errors.Join(append(errs, err)...)
}
