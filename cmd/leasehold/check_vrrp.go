package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"leasehold/vrrpcompat"
)

// text says what the daemon does beside keepalived.
func (v *VRRP) text() string {
	c := v.Router.WithDefaults()
	to, other := c.Group.String(), "another router advertises to "+c.Group.String()
	if c.Unicast() {
		to, other = join(c.Peers), "one of "+join(c.Peers)+" advertises"
	}
	said := []string{fmt.Sprintf("router %d on %s, version %d", c.VRID, v.Interface, c.Version)}
	if v.gate() {
		said = append(said, "only listens (mode gate): the VIP is not held while "+other)
	} else {
		said = append(said, fmt.Sprintf("advertises %s every %s to %s while it holds the VIP", join(c.VIPs), c.Interval, to))
	}
	if len(v.Excluded) > 0 {
		said = append(said, join(v.Excluded)+" not advertised")
	}
	if v.PasswordFile != nil {
		said = append(said, fmt.Sprintf("%s with the password in %s", c.Auth.Type, v.PasswordFile.Path))
	}
	if !v.gate() {
		said = append(said, fmt.Sprintf("priority %d, %s", c.Priority, v.preempts(c)))
	}
	if v.VMAC {
		said = append(said, "with the virtual MAC address")
	}
	if v.StartupDelay > 0 {
		said = append(said, fmt.Sprintf("begins %s after the daemon", v.StartupDelay))
	}
	return strings.Join(said, "; ")
}

// preempts says what happens beside an Active router of lower priority.
func (v *VRRP) preempts(c vrrpcompat.Config) string {
	switch {
	case c.NoPreempt:
		return "leaves the VIP to a keepalived that has it"
	case c.PreemptDelay > 0:
		return fmt.Sprintf("takes the VIP from a keepalived of lower priority after %s", c.PreemptDelay)
	}
	return "takes the VIP from a keepalived of lower priority"
}

// join lists addresses.
func join(addrs []netip.Addr) string {
	words := make([]string, len(addrs))
	for i, a := range addrs {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

// ownPeers refuses unicast peers that are this host itself.
func ownPeers(cfg *Config, own func() ([]net.Addr, error)) Problems {
	addrs, err := own()
	if err != nil {
		return Problems{{File: cfg.File, What: fmt.Sprintf("this host's addresses, which no unicast peer may have: %v", err)}}
	}
	var problems Problems
	for i := range cfg.Services {
		s := &cfg.Services[i]
		if s.VRRP == nil {
			continue
		}
		for _, p := range s.VRRP.Router.Peers {
			if slices.ContainsFunc(addrs, func(a net.Addr) bool { return isAddr(a, p) }) {
				problems = append(problems, Problem{cfg.File, s.VRRP.at("unicast.peers"), fmt.Sprintf(
					"services.%s.vrrp.unicast.peers: %s is an address of this host: it would hear its own adverts; name only the others", s.Name, p)})
			}
		}
	}
	return problems
}

// isAddr reports whether an address of an interface, with its length, is a.
func isAddr(of net.Addr, a netip.Addr) bool {
	prefix, err := netip.ParsePrefix(of.String())
	return err == nil && prefix.Addr() == a.WithZone("")
}
