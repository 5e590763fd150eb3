package vip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// setTries bounds the repeats of a lifetime that was too late for its deadline.
const setTries = 3

// Bind puts every VIP on its device as configured, with a kernel lifetime that
// ends at or before until (see Lifetime; the kernel may be late by Lateness),
// and returns when the kernel shows them. A VIP that is there already keeps its
// place and label and gets the lifetime; one with another label on the same
// device and prefix is replaced. Other copies stay, see Sweep. IPv6 addresses
// are usable at once (IFA_F_NODAD).
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
// It fails with ErrNoRoom when under one second is left, or when until passed
// meanwhile; with ErrNoLink when a device is missing or down; with
// ErrOwnAddress; and with the kernel's error. What this call added is removed
// again then.
func (s *Set) Bind(_ context.Context, until boottime.Instant, probe bool) (err error) {
	s.op.Lock()
	defer s.op.Unlock()
	if _, ok := Lifetime(boottime.Now(), until); !ok {
		return fmt.Errorf("bind: %w", ErrNoRoom)
	}
	r, err := s.refresh()
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := s.prepare(r); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	var added []int
	for i := range s.specs {
		was := r.right(i) != nil
		if err = s.put(r, i, until); err != nil {
			break
		}
		if !was {
			added = append(added, i)
		}
	}
	if err == nil {
		err = s.guard.arm(until)
	}
	if err == nil {
		s.setLease(until)
		s.awaitLocal(added)
		err = s.confirm()
	}
	if err != nil {
		return fmt.Errorf("bind: %w", errors.Join(err, s.undo(added)))
	}
	for _, i := range added {
		s.log.Info("vip bound", "vip", s.specs[i].Prefix, "iface", s.specs[i].Device, "label", s.specs[i].Label)
	}
	return nil
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

// setLifetime creates or replaces the VIP with a lifetime that ends at or before
// until. The lifetime is relative, so a process that was held up between reading
// the clock and the kernel's reading its message would stretch it: the clock is
// read again, the lifetime shortened, and when there is no more room the VIP is
// deleted.
func (s *Set) setLifetime(r *reading, i int, until boottime.Instant) error {
	sp := s.specs[i]
	a := sp.address(r)
	for try := range setTries {
		before := s.now()
		seconds, ok := Lifetime(before, until)
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
		if s.now().Add(lifetime) <= until {
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

// awaitLocal waits until the kernel takes what comes for the IPv6 VIPs. It
// answers for a new IPv6 address at once, but makes the local route in a
// workqueue (addrconf_dad_work in net/ipv6/addrconf.c, with IFA_F_NODAD too): a
// SYN that comes in between is lost, and sent again after 1 s.
func (s *Set) awaitLocal(added []int) {
	deadline := boottime.Now().Add(localTimeout)
	for _, i := range added {
		ip := s.specs[i].Prefix.Addr()
		if ip.Is4() {
			continue
		}
		for wait := 50 * time.Microsecond; !s.isLocal(ip); wait *= 2 {
			if boottime.Now() >= deadline {
				s.log.Warn("kernel does not take the vip's packets yet", "vip", ip)
				return
			}
			time.Sleep(wait) // there is no report of it: RTM_NEWADDR comes before
		}
	}
}

// localTimeout bounds awaitLocal: 0.05 ms is the median, 1.1 ms the most of 300.
const localTimeout = 100 * time.Millisecond

func (s *Set) isLocal(ip netip.Addr) bool {
	routes, err := s.nl.RouteGet(ip.AsSlice())
	return err == nil && slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Type == unix.RTN_LOCAL })
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
		s.setKernelUntil(i, 0)
		if f := r.right(i); f != nil {
			errs = append(errs, s.remove(r, *f))
		}
	}
	_, err = s.refresh()
	return errors.Join(append(errs, err)...)
}

// Extend gives the VIPs that are there as configured a kernel lifetime that
// ends at or before until, longer or shorter than before, by one replace each:
// place, label and TCP sessions are kept. A VIP that somebody made permanent
// becomes finite again. It creates nothing.
//
// It fails with ErrNotBound when a VIP is missing, after it has extended the
// others; and with ErrNoRoom when under one second is left, in which case the
// VIPs keep the lifetime they had, and must be released. If until passed
// while the kernel was told, all are deleted.
func (s *Set) Extend(_ context.Context, until boottime.Instant) error {
	s.op.Lock()
	defer s.op.Unlock()
	if _, ok := Lifetime(boottime.Now(), until); !ok {
		return fmt.Errorf("extend: %w", ErrNoRoom)
	}
	r, err := s.refresh()
	if err != nil {
		return fmt.Errorf("extend: %w", err)
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
	} else {
		err = errors.Join(err, s.guard.arm(until))
		s.setLease(until)
	}
	if _, rerr := s.refresh(); rerr != nil {
		err = errors.Join(err, rerr)
	}
	if err != nil {
		return fmt.Errorf("extend: %w", err)
	}
	return nil
}

// Defend answers the claims of another host: the fence, where the kernel shut
// it, is opened until then, and the VIPs are announced. The caller has made sure
// after the claim that the VIPs are still ours.
func (s *Set) Defend(ctx context.Context, until boottime.Instant) error {
	if err := s.Extend(ctx, until); err != nil {
		return err
	}
	return s.Announce(ctx)
}
