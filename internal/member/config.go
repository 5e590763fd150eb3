// Package member runs one member of an etcd cluster, for those who have no etcd
// of their own.
//
// It owns the member's data directory, its start (a first one, a join, a return),
// its log and its watch over disk and quota, and the process around it. It knows
// nothing of services, VIPs or elections. A member runs in a process of its own:
// etcd ends its process when the disk is full, and panics on a database that is
// corrupt (etcd server/v3, etcdserver/raft.go and storage/backend), and the VIP
// must not go with it.
package member

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is one member and the cluster that it belongs to.
type Config struct {
	Name                 string // this node's
	Peers                []Peer // all members, this one included, by name
	Dir                  string // of its data; record and lock stand beside it
	TLS                  TLS
	ClientPort, PeerPort int
	Heartbeat, Election  time.Duration
	Quota                int64  // of the database, in bytes
	Version              string // of the program, for people
}

// Peer is one member of the cluster.
type Peer struct {
	Name string
	Addr netip.Addr
}

// TLS are the files of the certificates; the zero TLS means none.
type TLS struct{ CA, Cert, Key string }

func (t TLS) on() bool { return t != TLS{} }

func (t TLS) scheme() string {
	if t.on() {
		return "https"
	}
	return "http"
}

// own is this node's member.
func (c *Config) own() Peer {
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Name == c.Name })
	return c.Peers[i]
}

// others are the members on other nodes.
func (c *Config) others() []Peer {
	return slices.DeleteFunc(slices.Clone(c.Peers), func(p Peer) bool { return p.Name == c.Name })
}

// majority is how many members are needed to decide anything.
func (c *Config) majority() int { return len(c.Peers)/2 + 1 }

func (c *Config) url(addr netip.Addr, port int) url.URL {
	return url.URL{Scheme: c.TLS.scheme(), Host: net.JoinHostPort(addr.String(), strconv.Itoa(port))}
}

// peerURL is where a member listens for the others.
func (c *Config) peerURL(p Peer) string {
	u := c.url(p.Addr, c.PeerPort)
	return u.String()
}

// listenClients is where clients are listened for: the own address, and loopback
// for an etcdctl on this host.
func (c *Config) listenClients() []url.URL {
	own := c.own().Addr
	urls := []url.URL{c.url(own, c.ClientPort)}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if own.Is6() {
		loopback = netip.IPv6Loopback()
	}
	if !own.IsLoopback() {
		urls = append(urls, c.url(loopback, c.ClientPort))
	}
	return urls
}

// terms are what the members of one cluster have to agree on, in words. Two nodes
// whose terms differ do not start a cluster together.
func (c *Config) terms() string {
	names := make([]string, len(c.Peers))
	for i, p := range c.Peers {
		names[i] = p.Name + " " + p.Addr.String()
	}
	tls := "with certificates"
	if !c.TLS.on() {
		tls = "without certificates"
	}
	return fmt.Sprintf("members %s; ports %d and %d; heartbeat %s, election %s; %s",
		strings.Join(names, ", "), c.ClientPort, c.PeerPort, c.Heartbeat, c.Election, tls)
}
