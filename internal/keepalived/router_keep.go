package keepalived

import (
	"fmt"
	"net/netip"

	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// routerID is what tells one VRRP router on a network from another.
type routerID struct {
	iface string
	vrid  int
	v6    bool
}

// noRouter says why a vrrp section could not be the router that the instance is;
// empty: it can, and is taken.
func (c *converter) noRouter(in *instance, s *service) string {
	if len(s.advertised) == 0 {
		return "none of the addresses that keepalived advertises could be taken over"
	}
	if s.incomplete {
		return "an address that keepalived advertises was left out, and a keepalived peer drops an advert without it, so that two would hold the others"
	}
	iface := in.Interface.Value
	switch {
	case in.Interface.At == nil:
		iface = s.advertised[0].Device
	case !s.devices[iface]:
		return "keepalived's adverts go over another interface than the addresses are on, and only the links of these are watched, so that a host that hears nobody would hold them too"
	}
	if why := c.noHost(in, s); why != "" {
		return why
	}
	if err := c.routerOf(in, s).Validate(); err != nil {
		return err.Error()
	}
	id := routerID{iface, in.RouterID.Value, in.family() == 6}
	if other, twice := c.routers[id]; twice {
		return fmt.Sprintf("virtual_router_id %d on this interface is services.%s already, and each would take the other's adverts for a rival's", id.vrid, other)
	}
	c.routers[id] = s.name
	return ""
}

// noHost says which address is none of a host's own.
func (c *converter) noHost(in *instance, s *service) string {
	all := append(in.peers(), in.Unicast.Source, c.group(in))
	for _, a := range all {
		switch {
		case a.At == nil:
		case a.Value.Is4In6():
			return fmt.Sprintf("%s is an IPv4 address in IPv6's clothes, which no advert has", a.Value)
		case c.taken[a.Value] == s.name:
			return fmt.Sprintf("%s is one of the addresses that move, and adverts come from and go to those that a host always has", a.Value)
		}
	}
	return ""
}

// routerOf is the router as the vrrp section will have it.
func (c *converter) routerOf(in *instance, s *service) vrrpcompat.Config {
	strict, version := c.strict(in), c.versionOf(in)
	r := vrrpcompat.Config{
		VRID: uint8(in.RouterID.Value), Version: uint8(version), VIPs: advertised(s.advertised),
		Priority: uint8(in.basePriority()), NoPreempt: !in.preempts(strict), Source: in.Unicast.Source.Value,
	}
	r.Interval, _ = in.interval(version)
	if !r.NoPreempt {
		r.PreemptDelay = in.delay(s)
	}
	for _, p := range in.peers() {
		r.Peers = append(r.Peers, p.Value)
	}
	if !r.Unicast() {
		r.Group = c.group(in).Value
	}
	return r
}

func advertised(specs []vip.Spec) []netip.Addr {
	addrs := make([]netip.Addr, len(specs))
	for i, s := range specs {
		addrs[i] = s.Prefix.Addr()
	}
	return addrs
}
