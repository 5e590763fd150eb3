package vrrpcompat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Validate says what is wrong with c, why it matters, and what to write instead.
// Zeros that stand for a default are right.
func (c Config) Validate() error {
	if c.VRID == 0 {
		return fmt.Errorf("router_id is 0: VRRP numbers its routers 1 to 255, and keepalived's virtual_router_id must be the same; write router_id: 51 with that number")
	}
	if c.Mode > ModeGate {
		return fmt.Errorf("mode (%s) is unknown; write full, or gate", c.Mode)
	}
	for _, check := range []func(Config) error{
		Config.validateVIPs, Config.validateVersion, Config.validateInterval, Config.validateAuth,
		Config.validateAddresses, Config.validatePeers, Config.validateTTL, Config.validateChecksum, Config.validatePreempt,
	} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func (c Config) validateVIPs() error {
	switch {
	case len(c.VIPs) == 0:
		return fmt.Errorf("there is no VIP to advertise: keepalived peers would not know what the router stands for (RFC 9568 section 5.2.5); name at least one")
	case len(c.VIPs) > maxVIPs:
		return fmt.Errorf("there are %d VIPs: an advert counts them in one octet; keep %d or fewer, or make a second router with another router_id", len(c.VIPs), maxVIPs)
	}
	for i, a := range c.VIPs {
		switch {
		case !a.IsValid():
			return fmt.Errorf("VIP %d is not an address; write for example 10.20.8.188", i+1)
		case a.Is4In6():
			return fmt.Errorf("VIP %s is IPv4 in IPv6's clothes; write %s", a, a.Unmap())
		case a.Zone() != "":
			return fmt.Errorf("VIP %s has a zone: the advert carries none; write %s", a, a.WithZone(""))
		case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback():
			return fmt.Errorf("VIP %s is no address that a host can answer for on a network; write the one that clients use", a)
		case family(a) != family(c.VIPs[0]):
			return fmt.Errorf("VIP %s is %s and the first, %s, is %s: a VRRP router has one family, and keepalived takes it from the first; give the others a router of their own, or keep them out of the advert (keepalived's virtual_ipaddress_excluded)",
				a, family(a), c.VIPs[0], family(c.VIPs[0]))
		case slices.Contains(c.VIPs[:i], a):
			return fmt.Errorf("VIP %s is there twice; keep one", a)
		}
	}
	return nil
}

func (c Config) validateVersion() error {
	switch v := c.WithDefaults().Version; {
	case v != Version2 && v != Version3:
		return fmt.Errorf("version (%d) is unknown: keepalived speaks 2 and 3; write the one that your peers have, 2 is keepalived's default", v)
	case v == Version2 && c.IPv6():
		return fmt.Errorf("version (2) knows no IPv6, and the VIP %s is: keepalived speaks 3 for it, whatever its configuration says; write version: 3", c.VIPs[0])
	}
	return nil
}

func (c Config) validateInterval() error {
	d := c.WithDefaults()
	switch {
	case d.Version == Version2 && (d.Interval < time.Second || d.Interval > maxV2Interval):
		return fmt.Errorf("advert_interval (%s) is not in 1s to 255s, what version 2 can say: peers drop an advert whose interval is not theirs; write advert_interval: 1s, or version: 3 on every router for shorter ones", d.Interval)
	case d.Version == Version2 && d.Interval%time.Second != 0:
		return fmt.Errorf("advert_interval (%s) is no whole second, and version 2 carries nothing else: keepalived rounds it to %s; write that", d.Interval, max(d.Interval.Round(time.Second), time.Second))
	case d.Version == Version3 && (d.Interval < centisecond || d.Interval > maxV3Interval):
		return fmt.Errorf("advert_interval (%s) is not in 10ms to 40.95s, what version 3 can say (RFC 9568 section 5.2.7); write advert_interval: 1s", d.Interval)
	case d.Version == Version3 && d.Interval%centisecond != 0:
		return fmt.Errorf("advert_interval (%s) is no multiple of 10ms, version 3's unit; write %s", d.Interval, max(d.Interval.Round(centisecond), centisecond))
	case c.MaxInterval != 0 && d.Version == Version2:
		return fmt.Errorf("max_interval (%s) bounds what version 3 learns, and version 2 learns nothing; take it out", c.MaxInterval)
	case d.Version == Version3 && (d.MaxInterval < d.Interval || d.MaxInterval > maxV3Interval):
		return fmt.Errorf("max_interval (%s) is not in advert_interval (%s) to 40.95s: below, a peer with our own interval would be taken for dead, above, no packet can say it; write one between, or take it out", c.MaxInterval, d.Interval)
	case d.DownAdverts < 1 || d.DownAdverts > maxDownAdverts:
		return fmt.Errorf("down_timer_adverts (%d) is not in 1 to %d; leave it out for the default, 3, which your peers have too", d.DownAdverts, maxDownAdverts)
	}
	return nil
}

// validateAuth says nothing of what is in the password.
func (c Config) validateAuth() error {
	switch t, n := c.Auth.Type, len(c.Auth.Password); {
	case t > AuthAH:
		return fmt.Errorf("auth.type (%s) is unknown; write PASS, or AH, or leave auth out", t)
	case t == AuthNone && n > 0:
		return fmt.Errorf("auth has a password and no type: it would protect nothing; write type: PASS, or AH, as your peers have it")
	case t == AuthNone:
		return nil
	case c.WithDefaults().Version == Version3 && c.IPv6():
		return fmt.Errorf("auth (%s) is for IPv4: VRRP for IPv6 is version 3, which has no authentication (RFC 5798 section 9), and keepalived ignores the block; take auth out", t)
	case c.WithDefaults().Version == Version3:
		return fmt.Errorf("auth (%s) is for version 2: version 3 has no authentication (RFC 5798 section 9), and keepalived ignores the block; take auth out, or write version: 2 here and on your peers", t)
	case n == 0:
		return fmt.Errorf("auth.type is %s and there is no password: keepalived ignores a block without one; write the peers' auth_pass into the password file", t)
	case n > maxPassword:
		return fmt.Errorf("the auth password is %d bytes long: VRRP carries %d, and keepalived cuts the rest without a word; write only its first %d", n, maxPassword, maxPassword)
	case strings.ContainsRune(c.Auth.Password, 0):
		return fmt.Errorf("the auth password has a NUL byte: the packet pads with them, so it could not be told from a shorter one; leave it out")
	}
	return nil
}

func (c Config) validateAddresses() error {
	d := c.WithDefaults()
	switch {
	case c.Source.IsValid() && family(c.Source) != family(c.VIPs[0]):
		return fmt.Errorf("source (%s) is %s and the VIPs are %s: an advert travels in the family of its VIPs; write one of this host's %s addresses", c.Source, family(c.Source), family(c.VIPs[0]), family(c.VIPs[0]))
	case c.Source.IsValid() && (c.Source.IsUnspecified() || c.Source.IsMulticast()):
		return fmt.Errorf("source (%s) is no address of a host; write one of this host's own", c.Source)
	case c.Source.IsValid() && slices.Contains(c.VIPs, c.Source.WithZone("")):
		return fmt.Errorf("source (%s) is a VIP: it is gone when this host is Backup; write an address that this host always has", c.Source)
	case family(d.Group) != family(c.VIPs[0]) || !d.Group.IsMulticast():
		return fmt.Errorf("group (%s) is no %s multicast group: keepalived listens on %s unless vrrp_mcast_group4 or 6 says otherwise; leave it out for that", d.Group, family(c.VIPs[0]), Config{VIPs: c.VIPs}.WithDefaults().Group)
	}
	return nil
}

func (c Config) validatePeers() error {
	for i, p := range c.Peers {
		switch {
		case !p.IsValid() || p.IsUnspecified() || p.IsMulticast():
			return fmt.Errorf("peer %s is no address of a host; write the address that its adverts come from", p)
		case family(p) != family(c.VIPs[0]):
			return fmt.Errorf("peer %s is %s and the VIPs are %s: an advert travels in the family of its VIPs; write the peer's %s address", p, family(p), family(c.VIPs[0]), family(c.VIPs[0]))
		case c.Source.IsValid() && p.WithZone("") == c.Source.WithZone(""):
			return fmt.Errorf("peer %s is this host itself (source): it would hear its own adverts; name only the others", p)
		case slices.Contains(c.VIPs, p.WithZone("")):
			return fmt.Errorf("peer %s is a VIP: that is whoever holds it, perhaps this host; write the address that the peer always has", p)
		case slices.Contains(c.Peers[:i], p):
			return fmt.Errorf("peer %s is there twice; keep one", p)
		}
	}
	return nil
}

func (c Config) validateTTL() error {
	switch {
	case c.Unicast() && c.MaxTTL != 0 && c.MinTTL > c.MaxTTL:
		return fmt.Errorf("min_ttl (%d) is over max_ttl (%d): no advert would pass; write them the other way round", c.MinTTL, c.MaxTTL)
	case c.Unicast():
		return nil
	case c.TTL != 0 && c.TTL != maxTTL:
		return fmt.Errorf("ttl (%d) is for unicast: a multicast advert must have 255, or every router drops it (RFC 9568 section 5.1.1.3); take it out", c.TTL)
	case c.MinTTL != 0 || c.MaxTTL != 0:
		return fmt.Errorf("min_ttl and max_ttl are for unicast: a multicast advert must have 255 (RFC 9568 section 5.1.1.3); take them out")
	case c.AnySource:
		return fmt.Errorf("any_source is for unicast: in multicast there are no peers to keep to; take it out")
	}
	return nil
}

func (c Config) validateChecksum() error {
	switch d := c.WithDefaults(); {
	case c.Checksum == ChecksumNone && (!c.ExactChecksum || d.Version != Version2 && !c.IPv6()):
		return nil
	case d.Version == Version2 || c.IPv6():
		return fmt.Errorf("checksum is for version 3 over IPv4: everywhere else there is but one form; take it out")
	case c.Checksum > ChecksumGroup:
		return fmt.Errorf("checksum (%s) is unknown; write keepalived (the default), rfc9568 or old_unicast", c.Checksum)
	case c.Checksum == ChecksumGroup && !c.Unicast():
		return fmt.Errorf("checksum (old_unicast) is for unicast peers with keepalived's old_unicast_checksum: in multicast it is the form keepalived; take it out")
	}
	return nil
}

func (c Config) validatePreempt() error {
	switch {
	case c.NoPreempt && c.Priority == PriorityOwner:
		return fmt.Errorf("preempt: false and priority 255 contradict each other: the owner of the addresses is Active at once (RFC 9568 section 6.1), and keepalived ignores nopreempt there; write priority: 254 or less")
	case c.PreemptDelay < 0 || c.PreemptDelay > maxPreemptDelay:
		return fmt.Errorf("preempt_delay (%s) is not in 0s to %s, keepalived's bounds; write how long a lower priority may stay Active", c.PreemptDelay, maxPreemptDelay)
	case c.NoPreempt && c.PreemptDelay != 0:
		return fmt.Errorf("preempt: false and preempt_delay (%s) contradict each other: there is nothing to delay, and keepalived ignores it; take one out", c.PreemptDelay)
	case c.PreemptDelay != 0 && c.Priority == PriorityOwner:
		return fmt.Errorf("preempt_delay (%s) and priority 255 contradict each other: the owner of the addresses is Active at once (RFC 9568 section 6.1); write priority: 254 or less", c.PreemptDelay)
	}
	return nil
}
