package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"leasehold/vip"
)

// Defaults of etcd.embedded. Heartbeat and election timeout are for a LAN: losing
// etcd's leader then stalls renewals for 0.5–0.95 s instead of 1.3–1.7 s.
const (
	defaultMemberDir  = "/var/lib/leasehold/etcd"
	defaultHeartbeat  = 100 * time.Millisecond
	defaultElection   = 500 * time.Millisecond
	defaultClientPort = 2379
	defaultPeerPort   = 2380
	defaultQuotaMB    = 256
	// defaultEmbeddedTTL outlasts the loss of etcd's leader at defaultElection, see
	// ttlFor. A shorter election makes nothing shorter by itself.
	defaultEmbeddedTTL = 2 * time.Second
)

// EmbeddedConfig is the etcd member that this node runs.
type EmbeddedConfig struct {
	Dir                  string
	Members              []EmbeddedMember // of the whole cluster, by name
	Insecure             bool             // without certificates
	Heartbeat, Election  time.Duration
	ClientPort, PeerPort int
	QuotaMB              int

	line, electionLine int
}

// EmbeddedMember is one member of the cluster.
type EmbeddedMember struct {
	Name string // the node's
	Addr netip.Addr

	line int
}

// own returns this node's member; nil when it is not among them.
func (e *EmbeddedConfig) own(node string) *EmbeddedMember {
	for i := range e.Members {
		if e.Members[i].Name == node {
			return &e.Members[i]
		}
	}
	return nil
}

// embedded reads the section etcd.embedded.
func (d configDecoder) embedded(n ast.Node, out *EtcdConfig) {
	e := &EmbeddedConfig{
		Dir: defaultMemberDir, Heartbeat: defaultHeartbeat, Election: defaultElection,
		ClientPort: defaultClientPort, PeerPort: defaultPeerPort, QuotaMB: defaultQuotaMB,
		line: line(n), electionLine: line(n),
	}
	const port = "as TCP has ports; every member has the same"
	d.mapping(n, "etcd.embedded", keys{
		"dir":         d.path("etcd.embedded.dir", func(s string, _ int) { e.Dir = filepath.Clean(s) }),
		"members":     func(n ast.Node) { d.members(n, e) },
		"insecure":    d.flag("etcd.embedded.insecure", func(v bool, _ int) { e.Insecure = v }),
		"heartbeat":   d.duration("etcd.embedded.heartbeat", func(v time.Duration, _ int) { e.Heartbeat = v }),
		"election":    d.duration("etcd.embedded.election", func(v time.Duration, at int) { e.Election, e.electionLine = v, at }),
		"client_port": d.number("etcd.embedded.client_port", 1, 65535, port, func(v int) { e.ClientPort = v }),
		"peer_port":   d.number("etcd.embedded.peer_port", 1, 65535, port, func(v int) { e.PeerPort = v }),
		"quota_mb":    d.number("etcd.embedded.quota_mb", 16, 8192, "the database needs 1 or 2 MB; etcd itself recommends no more than 8 GB", func(v int) { e.QuotaMB = v }),
	})
	out.Embedded = e
}

func (d configDecoder) members(n ast.Node, e *EmbeddedConfig) {
	d.pairs(n, "etcd.embedded.members", func(name string, at int, value ast.Node) {
		d.name("etcd.embedded.members: node", name, at)
		d.text("etcd.embedded.members."+name, func(s string, at int) {
			addr, ok := hostAddr(s)
			if !ok {
				d.problem(at, "etcd.embedded.members: %q is not the address of a host; write %s: 10.20.8.50, an address that the other members reach", s, name)
				return
			}
			e.Members = append(e.Members, EmbeddedMember{Name: name, Addr: addr, line: at})
		})(value)
	})
	slices.SortFunc(e.Members, func(a, b EmbeddedMember) int { return strings.Compare(a.Name, b.Name) })
}

// hostAddr reads the address of a host, as opposed to one of many hosts, or of none.
func hostAddr(s string) (addr netip.Addr, ok bool) {
	addr, err := netip.ParseAddr(s)
	return addr.Unmap(), err == nil && addr.Zone() == "" && !addr.IsUnspecified() && !addr.IsMulticast()
}

// serviceOfVIP is the name of the service that has an address as its VIP; empty: none.
func (c *Config) serviceOfVIP(addr netip.Addr) string {
	for i := range c.Services {
		for _, v := range c.Services[i].VIPs {
			if v.Spec.Prefix.Addr() == addr {
				return c.Services[i].Name
			}
		}
	}
	return ""
}

// validateEmbedded checks the embedded member, and names the endpoints: its own
// first, so that a request needs the network only where the leader is elsewhere.
func validateEmbedded(r *report, cfg *Config) {
	e := cfg.Etcd.Embedded
	if len(cfg.Etcd.endpoints) > 0 {
		r.problem(e.line, "etcd has both endpoints and embedded, and only one can be meant; take endpoints out where this node runs a member, embedded where etcd runs by itself")
		return
	}
	validateMembers(r, cfg, e)
	validateMemberTiming(r, e)
	if e.ClientPort == e.PeerPort {
		r.problem(e.line, "etcd.embedded: client_port and peer_port are both %d; write two different ones", e.ClientPort)
	}
	validateMemberTLS(r, &cfg.Etcd)
	own := e.own(cfg.Node)
	if own == nil {
		return // reported
	}
	scheme := "https://"
	if !cfg.Etcd.TLS() {
		scheme = "http://"
	}
	members := append([]EmbeddedMember{*own}, slices.DeleteFunc(slices.Clone(e.Members), func(m EmbeddedMember) bool { return m.Name == cfg.Node })...)
	for _, m := range members {
		cfg.Etcd.Endpoints = append(cfg.Etcd.Endpoints, scheme+net.JoinHostPort(m.Addr.String(), strconv.Itoa(e.ClientPort)))
	}
}

func validateMembers(r *report, cfg *Config, e *EmbeddedConfig) {
	at := map[netip.Addr]string{}
	for _, m := range e.Members {
		if other, twice := at[m.Addr]; twice {
			r.problem(m.line, "etcd.embedded.members: %s and %s have the same address %s; each host runs one member", other, m.Name, m.Addr)
		}
		at[m.Addr] = m.Name
		if service := cfg.serviceOfVIP(m.Addr); service != "" {
			r.problem(m.line, "etcd.embedded.members: %s is a VIP of service %s, which moves; write the host's own address", m.Addr, service)
		}
	}
	switch {
	case len(e.Members) == 0 && len(r.problems) == 0:
		r.problem(e.line, "etcd.embedded.members is missing; write members: {db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}, the same on every node")
	case len(e.Members) > 0 && cfg.Node != "" && e.own(cfg.Node) == nil:
		names := make([]string, len(e.Members))
		for i, m := range e.Members {
			names[i] = m.Name
		}
		r.problem(e.line, "etcd.embedded.members has %s, and this node is called %s%s; add it, or write node: with the name that it has there",
			strings.Join(names, ", "), cfg.Node, didYouMean(cfg.Node, names))
	case len(e.Members) == 1:
		r.note(e.line, "etcd.embedded.members: one member is no cluster, and the VIP goes with its host; three members outlast the loss of one")
	case len(e.Members)%2 == 0 && len(e.Members) > 0:
		r.note(e.line, "etcd.embedded.members: %d members outlast the loss of %d, no more than %d members do; a witness, which runs a member only, makes it %d",
			len(e.Members), (len(e.Members)-1)/2, len(e.Members)-1, len(e.Members)/2)
	}
}

// validateMemberTiming holds to etcd's own bounds (server/v3 embed/config.go).
func validateMemberTiming(r *report, e *EmbeddedConfig) {
	const least, most = 10 * time.Millisecond, 50 * time.Second
	switch {
	case e.Heartbeat < least || e.Heartbeat%time.Millisecond != 0 || e.Election%time.Millisecond != 0:
		r.problem(e.electionLine, "etcd.embedded.heartbeat: %s; write whole milliseconds, %s or more (%s is the default)", e.Heartbeat, least, defaultHeartbeat)
	case e.Election < 5*e.Heartbeat:
		r.problem(e.electionLine, "etcd.embedded.election (%s) is under 5 × heartbeat (%s): one late heartbeat would cost etcd its leader; write election: %s or more",
			e.Election, e.Heartbeat, 5*e.Heartbeat)
	case e.Election > most:
		r.problem(e.electionLine, "etcd.embedded.election: %s is over %s, which etcd refuses; write %s for a LAN", e.Election, most, defaultElection)
	}
}

// validateMemberTLS has a member without certificates only where that was asked
// for: who reaches its port can move, delete and forge every VIP.
func validateMemberTLS(r *report, e *EtcdConfig) {
	switch {
	case e.Embedded.Insecure && e.TLS():
		r.problem(e.Embedded.line, "etcd.embedded.insecure is true and etcd.tls is there; take one of them out")
	case e.Embedded.Insecure:
		r.note(e.Embedded.line, "etcd.embedded.insecure: whoever reaches port %d or %d of a member can take the VIP away, or give it to a second host; "+
			"leasehold certs makes certificates", e.Embedded.ClientPort, e.Embedded.PeerPort)
	case !e.TLS():
		r.problem(e.Embedded.line, "etcd.embedded has no certificates: whoever reaches a member's port could move, delete and forge every VIP; "+
			"make them with leasehold certs and write tls: {ca: ca.pem, cert: NODE.pem, key: NODE.key}, or write insecure: true where nobody else is on this network")
	case e.CA == "" || e.Cert == "" || e.Key == "":
		r.problem(e.line, "etcd.tls lacks ca, cert or key, and members that know each other by certificates need all three; write tls: {ca: ca.pem, cert: NODE.pem, key: NODE.key}")
	}
}

// memberSummary says what member the node would run.
func (c *Config) memberSummary(w io.Writer) {
	e := c.Etcd.Embedded
	if e == nil {
		return
	}
	role := "an etcd member"
	if len(c.Services) == 0 {
		role = "a witness, with an etcd member and no service"
	}
	fmt.Fprintf(w, "%s, one of %d, which outlast the loss of %d; data in %s; heartbeat %s, election %s\n",
		role, len(e.Members), (len(e.Members)-1)/2, e.Dir, e.Heartbeat, e.Election)
}

// fillTTL gives a service the default ttl where none is written: beside a member
// the shortest that outlasts the loss of etcd's leader, in whole seconds as etcd's
// leases are, and no shorter than what guards it allows.
func fillTTL(s *Service, embedded *EmbeddedConfig) {
	switch {
	case s.ttlGiven:
	case embedded == nil:
		s.TTL = defaultTTL
	case s.Fence == vip.FenceOff:
		s.TTL = max(shortestTTL(), ceilSecond(ttlFor(embedded.Election)))
	default:
		s.TTL = max(defaultEmbeddedTTL, ceilSecond(ttlFor(embedded.Election)))
	}
}

func ceilSecond(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// checkEmbeddedTTL returns what is wrong with a ttl beside a member whose election
// timeout is known; empty: nothing.
func checkEmbeddedTTL(ttl time.Duration, e *EmbeddedConfig) string {
	if need := ttlFor(e.Election); ttl < need {
		return fmt.Sprintf("ttl: %s is under %s, twice etcd.embedded.election (%s) with a renewal and a try: losing etcd's leader would take the VIP away; "+
			"write ttl: %s or more, or a shorter election (5 × heartbeat or more)", ttl, need, e.Election, need)
	}
	return ""
}
