package vip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// releasePasses bounds how often copies are deleted that others put back.
const releasePasses = 3

// Release takes the VIPs away, in this order: it stops announcing them; resets
// the TCP sessions of their clients, where configured; shuts the fence and reads
// that back; and deletes every copy of every VIP (any prefix length, device,
// label) and the routes that came with it. The resets stop at by, after which no
// frame of a VIP may leave; at or after by, and for the zero Instant, there are
// none. The deletion takes 1 ms more, so by must leave room for it. A kernel that
// cannot reset is logged once, and is no error; nor is a fence that cannot be
// shut once the addresses have gone.
//
// It returns nil only when the kernel shows no copy any more. An error wraps
// ErrOwnAddress when one was left because it seems to be the host's own. ctx
// ends the resets and the repeats, never the first deletion: a VIP must go even
// when everybody is in a hurry.
func (s *Set) Release(ctx context.Context, by boottime.Instant) error {
	s.op.Lock()
	defer s.op.Unlock()
	s.announcer.stop()
	s.setLease(0)
	busy := false
	if s.reset {
		busy = s.resetClients(ctx, by)
	}
	err := s.takeAway(ctx)
	if busy && err == nil {
		// A client that came back between the last reset and the deletion would
		// have its session revived if the VIP returned. No RST leaves any more.
		s.resetClients(ctx, boottime.Now().Add(afterwards))
	}
	s.settleClaims()
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}

// takeAway shuts the fence, then deletes every copy.
func (s *Set) takeAway(ctx context.Context) error {
	if err := s.guard.shut(); err != nil {
		s.log.Error("fence not shut, the addresses go all the same", "err", err)
	}
	return s.clear(ctx, func(found) bool { return true })
}

// settleClaims leaves nothing to answer: the VIPs are not this host's any more.
func (s *Set) settleClaims() {
	s.mu.Lock()
	if s.claim.Count > 0 {
		s.claim.Defended = boottime.Now()
	}
	s.mu.Unlock()
	s.republish()
}

// Sweep deletes strays, with the routes that came with them, and logs each: of
// the VIPs as configured when keepRight is set (for the holder), else every
// copy, after it has shut the fence. It resets no sessions. It returns nil only when the kernel shows none of
// them any more, and an error that wraps ErrOwnAddress when it left a copy that
// seems to be the host's own.
func (s *Set) Sweep(ctx context.Context, keepRight bool) error {
	s.op.Lock()
	defer s.op.Unlock()
	var err error
	if keepRight {
		err = s.clear(ctx, func(f found) bool { return !f.Right })
	} else {
		s.announcer.stop()
		s.setLease(0)
		err = s.takeAway(ctx)
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// clear deletes the copies that match until the kernel shows none.
func (s *Set) clear(ctx context.Context, match func(found) bool) error {
	var err error
	for pass := range releasePasses {
		r, rerr := s.refresh()
		if rerr != nil {
			return rerr
		}
		var own []error
		var left []string
		for _, f := range r.found {
			switch {
			case !match(f):
			case s.own(r, f):
				own = append(own, ownError(f))
			default:
				left = append(left, f.String())
			}
		}
		if len(left) == 0 && len(own) == 0 {
			return nil
		}
		if len(left) == 0 {
			return errors.Join(own...)
		}
		if pass > 0 && ctx.Err() != nil {
			return errors.Join(fmt.Errorf("still there: %s: %w", strings.Join(left, ", "), context.Cause(ctx)), err)
		}
		err = s.removeAll(r, func(f found) bool { return match(f) && !s.own(r, f) })
	}
	r, rerr := s.refresh()
	if rerr != nil {
		return errors.Join(rerr, err)
	}
	if slices.ContainsFunc(r.found, match) {
		return errors.Join(fmt.Errorf("still there after %d deletions: %v", releasePasses, r.list()), err)
	}
	return nil
}

// removeAll deletes the copies that match, secondaries first: the deletion of a
// primary changes which are secondary.
func (s *Set) removeAll(r *reading, match func(found) bool) error {
	var doomed []found
	for _, f := range r.found {
		if match(f) {
			doomed = append(doomed, f)
		}
	}
	slices.SortStableFunc(doomed, func(a, b found) int {
		return cmp.Compare(btoi(b.secondary), btoi(a.secondary))
	})
	var errs []error
	for _, f := range doomed {
		errs = append(errs, s.remove(r, f))
	}
	return errors.Join(errs...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// remove deletes one copy and the route that came with it. The addresses that
// hang on it as secondaries stay.
func (s *Set) remove(r *reading, f found) error {
	var dependents []netlink.Addr
	if f.Prefix.Addr().Is4() && !f.secondary {
		dependents = r.dependents(f)
	}
	var promoteErr error
	if len(dependents) > 0 {
		promoteErr = promoteSecondaries(f.Device)
	}
	if err := s.deleteAddress(f.address); err != nil {
		return fmt.Errorf("delete %s: %w", f.Copy, err)
	}
	r.forget(f)
	if f.Right {
		s.setKernelUntil(f.spec, 0)
	}
	if f.Right && !f.Permanent {
		s.log.Info("vip removed", "vip", f.Prefix, "iface", f.Device, "label", f.Label)
	} else {
		s.log.Warn("stray vip removed", "vip", f.Prefix, "iface", f.Device, "label", f.Label, "permanent", f.Permanent)
	}
	var err error
	if promoteErr != nil {
		err = s.restore(dependents)
		s.log.Warn("host addresses went with the vip and were put back", "iface", f.Device, "err", promoteErr)
	}
	return errors.Join(err, s.removeRoute(r, f))
}

func (s *Set) deleteAddress(a netlink.Addr) error {
	a.Flags, a.ValidLft, a.PreferedLft = 0, 0, 0
	if a.Broadcast == nil {
		a.Broadcast = net.IPv4zero
	}
	err := s.nl.AddrDel(nil, &a)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.ENODEV):
		return nil // gone by itself
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (CAP_NET_ADMIN is missing)", err)
	}
	return err
}

// dependents returns the secondaries of a primary copy that are no VIPs.
func (r *reading) dependents(f found) []netlink.Addr {
	return slices.DeleteFunc(r.others(f), func(a netlink.Addr) bool {
		return a.Flags&unix.IFA_F_SECONDARY == 0 || prefixOf(a).Masked() != f.Prefix.Masked()
	})
}

// forget takes a deleted copy off the addresses, so that what is judged by
// them later in the same pass (a shared prefix route) is judged right.
func (r *reading) forget(f found) {
	r.addresses = slices.DeleteFunc(r.addresses, func(a netlink.Addr) bool {
		return a.LinkIndex == f.address.LinkIndex && prefixOf(a) == f.Prefix
	})
}

// restore puts addresses back that the kernel deleted along with their primary,
// for want of promote_secondaries.
func (s *Set) restore(addresses []netlink.Addr) error {
	var errs []error
	for _, a := range addresses {
		a.Flags &^= unix.IFA_F_SECONDARY | unix.IFA_F_PERMANENT
		if a.Broadcast == nil {
			a.Broadcast = net.IPv4zero
		}
		if err := s.nl.AddrReplace(nil, &a); err != nil {
			errs = append(errs, fmt.Errorf("put back %s: %w", prefixOf(a), err))
		}
	}
	return errors.Join(errs...)
}

// removeRoute deletes the connected route of a copy that is gone, where the
// kernel left it: it never takes a finite IPv6 address's route along (only
// permanent ones, ipv6_del_addr in net/ipv6/addrconf.c), which would linger for
// what was left of the lifetime. Another address of the prefix keeps it. Routes
// that somebody else made with the VIP as their source are the kernel's to
// remove, or their maker's.
func (s *Set) removeRoute(r *reading, f found) error {
	network := f.Prefix.Masked()
	if slices.ContainsFunc(r.addresses, func(a netlink.Addr) bool {
		ip, _ := addrOf(a)
		return a.LinkIndex == f.address.LinkIndex && ip != f.Prefix.Addr() && prefixOf(a).Masked() == network
	}) {
		return nil
	}
	ip := network.Addr()
	route := &netlink.Route{
		LinkIndex: f.address.LinkIndex,
		Dst:       &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(network.Bits(), ip.BitLen())},
		Protocol:  unix.RTPROT_KERNEL,
	}
	if ip.Is4() {
		route.Scope, route.Src = unix.RT_SCOPE_LINK, f.Prefix.Addr().AsSlice()
	}
	err := s.nl.RouteDel(route)
	switch {
	case err == nil:
		s.log.Info("route of a vip removed", "route", network, "iface", f.Device)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENETDOWN):
	default:
		return fmt.Errorf("delete route %s dev %s: %w", network, f.Device, err)
	}
	return nil
}
