package vrrpcompat

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SourceAddr returns the address of an interface that adverts are to come from:
// for IPv4 the first, which is the primary one, for IPv6 the link-local one that
// duplicate detection has passed; none of except, which are the VIPs. It fails
// where there is none, and may not a second later.
func SourceAddr(ifname string, v6 bool, except []netip.Addr) (netip.Addr, error) {
	where := Config{}
	if v6 {
		where.VIPs = []netip.Addr{group6()}
	}
	link, err := netlink.LinkByName(ifname)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source of adverts on %s: %w", ifname, explainSocket("find it", err))
	}
	list, err := addresses(link, socketFamily(where))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source of adverts on %s: %w", ifname, err)
	}
	var tentative netip.Addr
	for _, a := range list {
		switch ip := a.ip; {
		case slices.Contains(except, ip) || ip.IsLoopback() || v6 && !ip.IsLinkLocalUnicast():
		case a.usable():
			return ip, nil
		default:
			tentative = ip
		}
	}
	return netip.Addr{}, fmt.Errorf("source of adverts on %s: %s", ifname, noSource(ifname, v6, tentative))
}

// noSource says why an interface has no address, and what to do.
func noSource(ifname string, v6 bool, tentative netip.Addr) string {
	switch {
	case tentative.IsValid():
		return fmt.Sprintf("its link-local address %s is still being checked, or another host has it (ip -6 addr show dev %s says tentative or dadfailed): nothing may come from it; it takes a second, else give one of the two another", tentative, ifname)
	case v6 && disabledIPv6(ifname):
		return fmt.Sprintf("IPv6 is off there, and the VIPs are IPv6: adverts come from its link-local address (RFC 9568 section 5.1.2.1); set net.ipv6.conf.%s.disable_ipv6=0", ifname)
	case v6:
		return "it has no link-local address, which adverts come from (RFC 9568 section 5.1.2.1); set it up, or give it one, or write source"
	}
	return "it has no IPv4 address of its own besides the VIPs: peers compare it when two have the same priority, and adverts must come from one that stays; give it one, or write source"
}

// disabledIPv6 reports whether an interface runs without IPv6.
func disabledIPv6(ifname string) bool {
	b, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + ifname + "/disable_ipv6")
	return err != nil || strings.TrimSpace(string(b)) != "0"
}

// hasAddress returns nil where this host has the address, and may use it; a
// link-local one must be on the interface itself.
func hasAddress(own netip.Addr, index int) error {
	family := unix.AF_INET
	if own.Is6() {
		family = unix.AF_INET6
	}
	list, err := addresses(nil, family)
	if err != nil {
		return err
	}
	for _, a := range list {
		switch {
		case a.ip != own || own.Is6() && own.IsLinkLocalUnicast() && a.index != index:
		case a.usable():
			return nil
		default:
			return fmt.Errorf("the source %s is still being checked for a duplicate, or is one (ip -6 addr says tentative or dadfailed): nothing may come from it; try again in a second, or write another source", own)
		}
	}
	return fmt.Errorf("the source %s is none of its addresses: peers could not answer, and would take it for another host's; give the interface the address, or write source with one that ip addr shows", own)
}

// An address is one that an interface has.
type address struct {
	ip    netip.Addr
	index int // of its interface
	flags int // IFA_F_*
}

// usable reports whether packets may come from it: duplicate detection (RFC 4862
// section 5.4) is over, and found nobody.
func (a address) usable() bool { return a.flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 }

// addresses returns the addresses of an interface, or of all, in the kernel's
// order: primary ones first.
func addresses(link netlink.Link, family int) ([]address, error) {
	list, err := netlink.AddrList(link, family)
	for errors.Is(err, netlink.ErrDumpInterrupted) { // they changed meanwhile
		list, err = netlink.AddrList(link, family)
	}
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []address
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			all = append(all, address{ip: ip.Unmap(), index: a.LinkIndex, flags: a.Flags})
		}
	}
	return all, nil
}
