package main

import "net/netip"

// EmbeddedConfig is the etcd member that this node runs, with the others of its
// cluster.
type EmbeddedConfig struct {
	Members []EmbeddedMember
}

// EmbeddedMember is one member of that cluster, and where it is.
type EmbeddedMember struct {
	Name string
	Addr netip.Addr
}
