package vrrpcompat

import (
	"net/netip"

	"github.com/hashicorp/go-hclog"
)

// otherwise returns configurations under which a peer's adverts do not come to our
// sockets at all: with an authentication header where ours have none, or the other
// way round, and to us alone instead of to the group, or the other way round.
// keepalived hears as little of ours, so that both are Active; by these it can be
// told.
func (c Config) otherwise(own netip.Addr) []Config {
	var all []Config
	if !c.IPv6() && c.Version != Version3 {
		auth := c
		auth.Auth = Auth{Type: AuthAH, Password: "-"}
		if c.Auth.Type == AuthAH {
			auth.Auth = Auth{}
		}
		all = append(all, auth)
	}
	cast := c
	cast.Group, cast.Peers = netip.Addr{}, nil
	if !c.Unicast() {
		cast.Peers = []netip.Addr{own.Next()} // whom, is not asked
	} else {
		cast.TTL, cast.MinTTL, cast.MaxTTL = 0, 0, 0
	}
	return append(all, cast)
}

// listenAside opens a socket for each of those. Where one cannot be had a wrong
// configuration is not named, which is no reason not to run.
func listenAside(c RouterConfig, own netip.Addr, log hclog.Logger) []wire {
	var all []wire
	for _, other := range c.otherwise(own) {
		conn, err := Listen(c.Interface, other, own, SocketOptions{})
		if err != nil {
			log.Debug("adverts that are not for us are not heard, and so not named", "err", err)
			continue
		}
		all = append(all, conn)
	}
	return all
}
