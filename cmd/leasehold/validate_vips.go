package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
)

// claim is where an address was first given out.
type claim struct {
	service string
	prefix  netip.Prefix
	line    int
}

// validateVIPs looks for addresses that are given out twice, and for things that
// would have to be reached through a VIP before anybody could hold it.
func validateVIPs(r *report, cfg *Config) {
	seen := map[netip.Addr]claim{}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		for _, v := range s.VIPs {
			p := v.Spec.Prefix
			before, twice := seen[p.Addr()]
			if !twice {
				seen[p.Addr()] = claim{s.Name, p, v.line}
				continue
			}
			as := ""
			if before.prefix != p {
				as = fmt.Sprintf(" as %s", before.prefix)
			}
			r.problem(v.line, "services.%s.vips: %s is a VIP of services.%s%s already (line %d), and only one of them can be right; take one out",
				s.Name, p, before.service, as, before.line)
		}
	}
	for _, ep := range cfg.Etcd.endpoints {
		u, _ := parseEndpoint(ep.text, cfg.Etcd.TLS())
		if at, ok := claimed(seen, endpointHost(u)); ok {
			r.problem(ep.line, "etcd.endpoints: %s is a VIP of services.%s (line %d), which nobody can hold before etcd is reached; write the members' own addresses",
				ep.text, at.service, at.line)
		}
	}
	for i := range cfg.Services {
		for _, c := range cfg.Services[i].Checks {
			if at, ok := claimed(seen, checkHost(c)); ok {
				r.problem(c.line, "services.%s.checks: check %q goes to %s, a VIP (line %d): no standby could pass it, and the holder would check itself by way of the VIP; "+
					"write this host's own address or the socket", cfg.Services[i].Name, c.Health.Name, at.prefix.Addr(), at.line)
			}
		}
	}
}

func claimed(seen map[netip.Addr]claim, host string) (claim, bool) {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return claim{}, false // a name, which may change its address any time
	}
	c, ok := seen[a.Unmap()]
	return c, ok
}

// endpointHost returns the host of an endpoint; empty when it is none.
func endpointHost(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// checkHost returns the host that a check connects to; empty: none.
func checkHost(c Check) string {
	address := ""
	switch {
	case c.Health.TCP != nil:
		address = c.Health.TCP.Address
	case c.Health.MySQL != nil:
		address = c.Health.MySQL.Address
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "" // a socket, or none; package health has judged it
	}
	return host
}
