package keepalived

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// targets makes unicast or multicast.
func (c *converter) targets(in *instance, s *service, add func(string, string)) {
	peers := in.peers()
	for _, p := range in.Unicast.Peers {
		if !slices.Contains(peers, p) {
			c.left(p.At, "is of another family than the first address, and keepalived ignores it; take it out")
		}
	}
	source := in.Unicast.Source
	var parts []string
	kind := "multicast"
	if len(peers) > 0 {
		kind = "unicast"
	}
	if source.At != nil {
		parts = append(parts, "source: "+quote(source.Value.String()))
		c.became(source.At, s.key("vrrp."+kind+".source"))
	}
	if len(peers) > 0 {
		var list []string
		for _, p := range peers {
			list = append(list, quote(p.Value.String()))
			c.became(p.At, s.key("vrrp.unicast.peers"))
			if len(p.At.Words) > 1 {
				c.left(p.At, "without min_ttl and max_ttl: the address of a peer is compared, not its TTL")
			}
		}
		parts = append(parts, "peers: ["+join(list)+"]")
		if ttl := in.Unicast.TTL; ttl.At != nil && ttl.Value == 0 {
			c.left(ttl.At, "with a TTL of 0 a peer may not get the advert; Leasehold sends 255, keepalived's default")
		} else if ttl.At != nil {
			parts = append(parts, fmt.Sprintf("ttl: %d", ttl.Value))
			c.became(ttl.At, s.key("vrrp.unicast.ttl"))
		}
	} else if group := c.group(in); group.At != nil {
		parts = append(parts, "group: "+quote(group.Value.String()))
		c.became(group.At, s.key("vrrp.multicast.group"))
	}
	for _, b := range in.Unicast.block {
		c.became(b, heading)
	}
	if len(parts) > 0 {
		add(kind, "{"+join(parts)+"}")
	}
}

// peers are those of the instance's own family.
func (in *instance) peers() []setting[netip.Addr] {
	return slices.DeleteFunc(slices.Clone(in.Unicast.Peers), func(p setting[netip.Addr]) bool {
		return p.Value.Is6() != (in.family() == 6)
	})
}

// group is where multicast adverts go, unless it is the usual one.
func (c *converter) group(in *instance) setting[netip.Addr] {
	switch {
	case in.Group.At != nil:
		return in.Group
	case in.family() == 6:
		return c.cfg.Global.Group6
	}
	return c.cfg.Global.Group4
}

// deviations makes what differs from the RFC's timers and checksum.
func (c *converter) deviations(in *instance, s *service, version int, strict bool, add func(string, string)) {
	g := c.cfg.Global
	if sum := pick(in.ChecksumV2, g.ChecksumV2); sum.At != nil {
		if sum.Value && version == 3 && in.family() == 4 {
			add("checksum", "rfc9568")
			c.became(sum.At, s.key("vrrp.checksum"))
		} else {
			c.nothing(sum.At, "there is one form of checksum only, or it is the default")
		}
	}
	if down := pick(in.Timers.Down, g.Timers.Down); down.At != nil && !strict {
		add("down_timer_adverts", strconv.Itoa(down.Value))
		c.became(down.At, s.key("vrrp.down_timer_adverts"))
	}
	if no := pick(in.Timers.NoAdvert, g.Timers.NoAdvert); no.At != nil || strict {
		add("lower_prio_no_advert", strconv.FormatBool(no.Value || strict))
		c.became(no.At, s.key("vrrp.lower_prio_no_advert"))
	}
	if send := pick(in.Timers.SendAdvert, g.Timers.SendAdvert); send.At != nil && !strict {
		add("higher_prio_send_advert", strconv.FormatBool(send.Value))
		c.became(send.At, s.key("vrrp.higher_prio_send_advert"))
	}
	if delay := g.StartupDelay; delay.Value > 0 {
		add("startup_delay", delay.Value.String())
		c.became(delay.At, s.key("vrrp.startup_delay"))
	}
	var excluded []string
	for _, a := range s.excluded {
		excluded = append(excluded, quote(a.String()))
	}
	if len(excluded) > 0 {
		add("excluded", "["+join(excluded)+"]")
	}
}

// pick returns the instance's own setting, or the global one.
func pick[T any](own, global setting[T]) setting[T] {
	if own.At != nil {
		return own
	}
	return global
}

// other settles what has no key of its own.
func (c *converter) other(s *statement) {
	if c.settled(s) {
		return
	}
	switch s.keyword() {
	case "check_unicast_src", "unicast_fault_no_peer":
		c.nothing(s, "adverts of hosts that are no peers are always dropped")
	case "skip_check_adv_addr":
		c.nothing(s, "a list of addresses that differs is told, and does not make two masters")
	case "garp_lower_prio_delay", "garp_lower_prio_repeat":
		c.nothing(s, "an address is announced again whenever a lower priority is heard")
	case "accept", "native_ipv6":
		c.nothing(s, "it is the default")
	case "track_src_ip":
		c.left(s, "an address that goes away from the interface does not end a tenure; write an exec check if it should")
	case "old_unicast_checksum":
		c.left(s, "checksums of keepalived 1.3.6 and older are not sent; upgrade such a peer first")
	default:
		c.nothing(s, "nothing in this configuration goes by it")
	}
}
