package vip

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

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
