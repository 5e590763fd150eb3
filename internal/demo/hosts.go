package demo

import (
	"net/netip"
	"slices"
	"time"

	"leasehold/internal/lab"
)

// The hosts of the demo are called as their nodes are, so that a person who looks
// into it finds one name in the configuration, in status, and under /run/netns.
const (
	hostA   = "db20-024"
	hostB   = "db20-025"
	witness = "witness"
	client  = lab.Client

	service = "mysql"
	label   = "eth0:1"
)

// What the nodes' configuration says or defaults to, see cmd/leasehold/embedded.go.
const (
	electionTimeout = 500 * time.Millisecond
	// fencedTTL is the default beside an embedded member; unfencedTTL is the
	// shortest where lifetimes of whole seconds are all that the kernel has.
	fencedTTL, unfencedTTL = 2 * time.Second, 3 * time.Second
)

// seats are all hosts of the network.
func seats() []lab.Host {
	seat := func(name, ip string) lab.Host {
		return lab.Host{Key: name, Name: name, Addr: netip.MustParsePrefix(ip + "/24")}
	}
	return []lab.Host{
		seat(hostA, "10.20.8.50"), seat(hostB, "10.20.8.27"), seat(witness, "10.20.8.28"), seat(client, "10.20.8.99"),
	}
}

// address returns the own address of a host.
func address(host string) netip.Addr {
	all := seats()
	i := slices.IndexFunc(all, func(h lab.Host) bool { return h.Key == host })
	if i < 0 {
		return netip.Addr{}
	}
	return all[i].Addr.Addr()
}

// nodes are the hosts that run leasehold, in the order of the screen.
func nodes() []string { return []string{hostA, hostB, witness} }

// letter is how the strip and the table call a host.
func letter(host string) string {
	switch host {
	case hostA:
		return "a"
	case hostB:
		return "b"
	case witness:
		return "w"
	}
	return "-"
}

// other returns the MySQL host that is not this one.
func other(host string) string {
	if host == hostA {
		return hostB
	}
	return hostA
}
