package member

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// move is what a member does next on its way to a start.
type move uint8

const (
	wait   move = iota // until something changes
	refuse             // the same, but a human has to change it
	found              // start a new cluster together with the others
	join               // a cluster that is there
	resume             // with the data that is there
)

// decision is a move with its reason, for people.
type decision struct {
	move  move
	why   string
	peers map[string]string // for found and join: name to peer URL of all members
	notes []string          // what should be known, and holds nobody up
}

// here is what this host has.
type here struct {
	record *Record
	data   bool
	id     identity
	broken error // the data cannot be used
}

// decide is the pure half of a start. It takes what this host has and what the
// other members said. The less is known the less is done: a member without data
// that cannot ask anybody may be one that lost them, and one that votes with an
// empty log in the name of a member that had a full one can undo what the cluster
// has decided (etcd's design, raft thesis section 11.2).
func decide(c *Config, h here, said []heard) decision {
	if h.data {
		return decideWithData(c, h, said)
	}
	if d := far(said); d != nil {
		return *d
	}
	lists := listings(said)
	if len(lists) > 0 {
		return decideJoin(c, h, lists)
	}
	if h.record != nil {
		return refusal("the data directory %s is gone or empty, and %s had one: %s", c.Dir, c.Name, replaceCure(c))
	}
	return decideFound(c, said)
}

func refusal(format string, args ...any) decision {
	return decision{move: refuse, why: fmt.Sprintf(format, args...)}
}

// replaceCure is how a member that lost its data comes back.
func replaceCure(c *Config) string {
	if len(c.Peers) == 1 {
		return fmt.Sprintf("it was the only member, so that what the cluster knew is lost; to begin anew: leasehold member wipe, then start it (or restore a backup: etcdutl snapshot restore --data-dir %s)", c.Dir)
	}
	return fmt.Sprintf("it cannot come back under its old identity, because it would vote with an empty log; on another node: leasehold member replace %s, then start it here", c.Name)
}

// decideWithData returns to the cluster that the data belong to.
func decideWithData(c *Config, h here, said []heard) decision {
	if h.broken != nil {
		return refusal("the data in %s are damaged (%v): leasehold member wipe here, which removes them, and %s", c.Dir, h.broken, replaceCure(c))
	}
	if r := h.record; r != nil {
		switch {
		case r.Node != c.Name:
			return refusal("the data in %s are those of member %s, and this node is %s: write node: %s, or name a dir of its own", c.Dir, r.Node, c.Name, r.Node)
		case newer(r.Etcd, etcdVersion()):
			return refusal("the data in %s were written by etcd %s, and this program has %s, which cannot read them all: install the newer version again", c.Dir, r.Etcd, etcdVersion())
		}
	}
	d := decision{move: resume}
	lists := listings(said)
	if len(lists) == 0 {
		return d
	}
	var ours []heard
	for _, l := range lists {
		if l.listing.cluster == h.id.cluster {
			ours = append(ours, l)
		}
	}
	if len(ours) == 0 {
		return refusal("the data in %s are of cluster %x, and %s is in cluster %x: leasehold member wipe here, if these are the wrong ones, and on another node: leasehold member replace %s",
			c.Dir, h.id.cluster, lists[0].peer.Name, lists[0].listing.cluster, c.Name)
	}
	if !slices.ContainsFunc(ours, func(l heard) bool { return l.listing.has(h.id.member) }) {
		return refusal("the cluster has removed this member (%x): leasehold member wipe here, and on another node: leasehold member add %s %s", h.id.member, c.Name, c.own().Addr)
	}
	if diff := differs(c, ours[0].listing); diff != "" {
		d.notes = append(d.notes, "the cluster has other members than etcd.embedded.members: "+diff+"; make the configuration of every node the same")
	}
	return d
}

// decideJoin enters a cluster that others are in already, at the first start.
func decideJoin(c *Config, h here, lists []heard) decision {
	l := lists[0].listing
	for _, other := range lists[1:] {
		if other.listing.cluster != l.cluster {
			return refusal("%s is in cluster %x and %s in cluster %x: etcd.embedded.members names members of two clusters; name those of one",
				lists[0].peer.Name, l.cluster, other.peer.Name, other.listing.cluster)
		}
	}
	own := c.peerURL(c.own())
	me, at := l.byURL(own), l.byName(c.Name)
	switch {
	case me == nil && at != nil:
		return refusal("the cluster has %s at %s, and etcd.embedded.members at %s: write the address that it has there, or on another node: leasehold member replace %s %s",
			c.Name, strings.Join(at.PeerURLs, " "), own, c.Name, c.own().Addr)
	case me == nil:
		return refusal("the cluster of %s does not have this node (%s %s): on that node: leasehold member add %s %s", lists[0].peer.Name, c.Name, own, c.Name, c.own().Addr)
	case me.Name != "" && me.Name != c.Name:
		return refusal("the cluster calls the member at %s %s, and this node is %s: write node: %s", own, me.Name, c.Name, me.Name)
	case len(me.ClientURLs) > 0, h.record != nil && h.record.Member == me.ID.String():
		return refusal("the data directory %s is gone or empty, and the cluster knows %s as a member that had one: %s", c.Dir, c.Name, replaceCure(c))
	}
	if diff := differs(c, l); diff != "" {
		return refusal("the cluster has other members than etcd.embedded.members here: %s; make the configuration of every node the same", diff)
	}
	d := decision{move: join, peers: c.peerURLs()}
	if me.Name != "" { // of the first start, which this node is late for
		d.move = found
	}
	return d
}

// decideFound starts a cluster once a majority waits for that on the same terms.
func decideFound(c *Config, said []heard) decision {
	ready := []string{c.Name}
	var missing []string
	for _, h := range said {
		switch {
		case h.waiting == nil:
			missing = append(missing, fmt.Sprintf("%s (%v)", h.peer.Name, h.err))
		case h.waiting.Name != h.peer.Name:
			return refusal("%s answers as %s, and etcd.embedded.members calls it %s: write the same names on every node", h.peer.Addr, h.waiting.Name, h.peer.Name)
		case h.waiting.Terms != c.terms():
			return refusal("%s has another configuration: it says %q, here it is %q; make etcd.embedded the same on every node", h.peer.Name, h.waiting.Terms, c.terms())
		default:
			ready = append(ready, h.peer.Name)
		}
	}
	if len(ready) >= c.majority() {
		return decision{move: found, peers: c.peerURLs()}
	}
	return decision{why: fmt.Sprintf("for the first start %d of %d members have to be there; missing: %s", c.majority(), len(c.Peers), strings.Join(missing, ", "))}
}

// far refuses a first start with a clock that is far off: certificates, the history
// and pauses with an end go by it. A member that has data goes on with it: raft
// does not, and a vote that is missing is worse.
func far(said []heard) *decision {
	for _, h := range said {
		if h.err == nil && (h.clock.Abs() > clockLimit) {
			d := refusal("this host's clock is %s %s of %s's: set both by NTP (chronyc makestep), certificates and pauses go by it",
				h.clock.Abs().Round(time.Second), aheadOrBehind(h.clock), h.peer.Name)
			return &d
		}
	}
	return nil
}

func aheadOrBehind(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead"
}

func listings(said []heard) []heard {
	return slices.DeleteFunc(slices.Clone(said), func(h heard) bool { return h.listing == nil || len(h.listing.members) == 0 })
}

// peerURLs are all members, by name.
func (c *Config) peerURLs() map[string]string {
	out := make(map[string]string, len(c.Peers))
	for _, p := range c.Peers {
		out[p.Name] = c.peerURL(p)
	}
	return out
}

// differs says what members the configuration and the cluster do not have in
// common; empty: they are the same. A name that is not known yet is no difference.
func differs(c *Config, l *listing) string {
	var diff []string
	at := c.peerURLs()
	for _, name := range slices.Sorted(maps.Keys(at)) {
		if m := l.byURL(at[name]); m == nil || m.Name != "" && m.Name != name {
			diff = append(diff, fmt.Sprintf("%s at %s is only in the configuration", name, at[name]))
		}
	}
	for _, m := range l.members {
		if !slices.ContainsFunc(c.Peers, func(p Peer) bool { return slices.Contains(m.PeerURLs, c.peerURL(p)) }) {
			diff = append(diff, fmt.Sprintf("%s at %s is only in the cluster", m.label(), strings.Join(m.PeerURLs, " ")))
		}
	}
	return strings.Join(diff, ", ")
}

func (l *listing) byURL(u string) *listed {
	return l.find(func(m listed) bool { return slices.Contains(m.PeerURLs, u) })
}

func (l *listing) byName(name string) *listed {
	return l.find(func(m listed) bool { return m.Name == name })
}

func (l *listing) has(id uint64) bool {
	return l.find(func(m listed) bool { return uint64(m.ID) == id }) != nil
}

func (l *listing) find(is func(listed) bool) *listed {
	if i := slices.IndexFunc(l.members, is); i >= 0 {
		return &l.members[i]
	}
	return nil
}

func (m listed) label() string {
	if m.Name == "" {
		return "a member that has not started yet"
	}
	return m.Name
}
