package member

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// three is the configuration of member a of three.
func three(edits ...func(*Config)) *Config {
	c := &Config{
		Name: "a", Dir: "/data", ClientPort: 2379, PeerPort: 2380, Heartbeat: 100 * time.Millisecond, Election: 500 * time.Millisecond,
		Peers: []Peer{{"a", netip.MustParseAddr("10.0.0.1")}, {"b", netip.MustParseAddr("10.0.0.2")}, {"c", netip.MustParseAddr("10.0.0.3")}},
	}
	for _, e := range edits {
		e(c)
	}
	return c
}

func silent(c *Config) []heard {
	var out []heard
	for _, p := range c.others() {
		out = append(out, heard{peer: p, err: errors.New("connection refused")})
	}
	return out
}

// waits has one of the other members wait on these terms.
func waits(_ *Config, said []heard, name, terms string) []heard {
	for i := range said {
		if said[i].peer.Name == name {
			said[i] = heard{peer: said[i].peer, waiting: &greeting{Name: name, Terms: terms}}
		}
	}
	return said
}

// runs has one of the other members be in a cluster.
func runs(said []heard, name string, cluster uint64, members ...listed) []heard {
	for i := range said {
		if said[i].peer.Name == name {
			said[i] = heard{peer: said[i].peer, listing: &listing{cluster: cluster, members: members}}
		}
	}
	return said
}

func has(id hexID, name, addr string, started bool) listed {
	l := listed{ID: id, Name: name, PeerURLs: []string{"http://" + addr + ":2380"}}
	if started {
		l.ClientURLs = []string{"http://" + addr + ":2379"}
	}
	return l
}

// What a start comes to, and what is said where it does not.
func TestDecide(t *testing.T) {
	a, b, third := has(1, "a", "10.0.0.1", true), has(2, "b", "10.0.0.2", true), has(3, "c", "10.0.0.3", true)
	fresh := func(l listed) listed { l.ClientURLs = nil; return l }
	added := func(l listed) listed { l.ClientURLs, l.Name = nil, ""; return l }
	data := here{data: true, id: identity{cluster: 7, member: 1}}
	rec := func(node, etcd string) *Record { return &Record{Node: node, Cluster: "7", Member: "1", Etcd: etcd} }
	for name, tc := range map[string]struct {
		c    *Config
		h    here
		said func(c *Config) []heard
		move move
		says string
	}{
		"alone at the first start": {three(), here{}, silent, wait, "2 of 3 members have to be there; missing: b (connection refused), c"},
		"a majority waits":         {three(), here{}, func(c *Config) []heard { return waits(c, silent(c), "b", c.terms()) }, found, ""},
		"another list waits":       {three(), here{}, func(c *Config) []heard { return waits(c, silent(c), "b", "members x; …") }, refuse, "make etcd.embedded the same on every node"},
		"another name waits": {three(), here{}, func(c *Config) []heard {
			said := waits(c, silent(c), "b", c.terms())
			said[0].waiting.Name = "bb"
			return said
		}, refuse, "write the same names on every node"},
		"the only member": {three(func(c *Config) { c.Peers = c.Peers[:1] }), here{}, silent, found, ""},

		"late for the first start":        {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, fresh(a), b, third) }, found, ""},
		"added to a cluster":              {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, added(a), b, third) }, join, ""},
		"added again after it was lost":   {three(), here{record: &Record{Node: "a", Member: "9"}}, func(c *Config) []heard { return runs(silent(c), "b", 7, added(a), b, third) }, join, ""},
		"lost, and the cluster knows it":  {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, a, b, third) }, refuse, "leasehold member replace a, then start it here"},
		"lost before it could say so":     {three(), here{record: rec("a", "3.7.3")}, func(c *Config) []heard { return runs(silent(c), "b", 7, fresh(a), b, third) }, refuse, "is gone or empty"},
		"lost, and nobody answers":        {three(), here{record: rec("a", "3.7.3")}, silent, refuse, "vote with an empty log"},
		"lost, and it was the only one":   {three(func(c *Config) { c.Peers = c.Peers[:1] }), here{record: rec("a", "3.7.3")}, silent, refuse, "etcdutl snapshot restore"},
		"not a member":                    {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, b, third) }, refuse, "leasehold member add a 10.0.0.1"},
		"at another address":              {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, has(1, "a", "10.0.0.9", true), b, third) }, refuse, "write the address that it has there"},
		"under another name":              {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, has(1, "z", "10.0.0.1", false), b, third) }, refuse, "write node: z"},
		"members of two clusters":         {three(), here{}, func(c *Config) []heard { return runs(runs(silent(c), "b", 7, b), "c", 8, third) }, refuse, "members of two clusters"},
		"the cluster has another member":  {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7, added(a), b, has(4, "d", "10.0.0.4", true)) }, refuse, "d at http://10.0.0.4:2380 is only in the cluster"},
		"an empty list is no cluster yet": {three(), here{}, func(c *Config) []heard { return runs(silent(c), "b", 7) }, wait, "missing"},

		"returns alone":                  {three(), data, silent, resume, ""},
		"returns to its cluster":         {three(), data, func(c *Config) []heard { return runs(silent(c), "b", 7, a, b, third) }, resume, ""},
		"returns, the lists differ":      {three(), data, func(c *Config) []heard { return runs(silent(c), "b", 7, a, b) }, resume, ""},
		"data of another cluster":        {three(), data, func(c *Config) []heard { return runs(silent(c), "b", 8, a, b, third) }, refuse, "are of cluster 7, and b is in cluster 8"},
		"removed while it was off":       {three(), data, func(c *Config) []heard { return runs(silent(c), "b", 7, b, third) }, refuse, "has removed this member (1)"},
		"removed, says one that is late": {three(), data, func(c *Config) []heard { return runs(runs(silent(c), "b", 7, b, third), "c", 7, a, b, third) }, resume, ""},
		"data of another node":           {three(), here{data: true, id: data.id, record: rec("b", "3.7.3")}, silent, refuse, "are those of member b, and this node is a"},
		"data of a later etcd":           {three(), here{data: true, id: data.id, record: rec("a", "3.99.0")}, silent, refuse, "install the newer version again"},
		"data of a later patch":          {three(), here{data: true, id: data.id, record: rec("a", "3.7.99")}, silent, resume, ""},
		"damaged data":                   {three(), here{data: true, broken: errors.New("log: crc mismatch")}, silent, refuse, "leasehold member wipe here"},
		"a clock an hour off, first start": {three(), here{}, func(c *Config) []heard {
			said := waits(c, silent(c), "b", c.terms())
			said[0].clock = -time.Hour
			return said
		}, refuse, "1h0m0s behind of b's"},
		"a clock an hour off, with data": {three(), data, func(c *Config) []heard {
			said := runs(silent(c), "b", 7, a, b, third)
			said[0].clock = time.Hour
			return said
		}, resume, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(tc.c, tc.h, tc.said(tc.c))
			if d.move != tc.move || !strings.Contains(d.why, tc.says) {
				t.Errorf("got move %d, %q; want %d, %q", d.move, d.why, tc.move, tc.says)
			}
			if (d.move == found || d.move == join) != (len(d.peers) > 0) {
				t.Errorf("move %d with the peers %v", d.move, d.peers)
			}
		})
	}
}

// A note is made where the configuration is behind, and nobody is held up by it.
func TestDecideNotes(t *testing.T) {
	c := three()
	said := runs(silent(c), "b", 7, has(1, "a", "10.0.0.1", true), has(2, "b", "10.0.0.2", true), has(4, "d", "10.0.0.4", true))
	d := decide(c, here{data: true, id: identity{cluster: 7, member: 1}}, said)
	if d.move != resume || len(d.notes) != 1 || !strings.Contains(d.notes[0], "c at http://10.0.0.3:2380 is only in the configuration, d at http://10.0.0.4:2380 is only in the cluster") {
		t.Errorf("got %+v", d)
	}
}

// Who is to lead instead of a holder's host.
func TestTransferee(t *testing.T) {
	well := func(name string, id uint64) standing { return standing{name: name, id: id, leader: 1, applied: 1000} }
	edit := func(s standing, f func(*standing)) standing { f(&s); return s }
	for name, tc := range map[string]struct {
		all  []standing
		busy []string
		want uint64
	}{
		"the holder leads":             {[]standing{well("a", 1), well("b", 2), well("c", 3)}, []string{"a"}, 2},
		"nobody holds here":            {[]standing{well("a", 1), well("b", 2), well("c", 3)}, []string{"b"}, 0},
		"another holds something else": {[]standing{well("a", 1), well("b", 2), well("c", 3)}, []string{"a", "b"}, 3},
		"all hold something":           {[]standing{well("a", 1), well("b", 2)}, []string{"a", "b"}, 0},
		"does not lead":                {[]standing{edit(well("a", 1), func(s *standing) { s.leader = 2 }), well("b", 2)}, []string{"a"}, 0},
		"one is off":                   {[]standing{well("a", 1), edit(well("b", 2), func(s *standing) { s.err = errors.New("off") }), well("c", 3)}, []string{"a"}, 3},
		"one is behind":                {[]standing{well("a", 1), edit(well("b", 2), func(s *standing) { s.applied = 899 }), well("c", 3)}, []string{"a"}, 3},
		"one is a learner":             {[]standing{well("a", 1), edit(well("b", 2), func(s *standing) { s.learner = true })}, []string{"a"}, 0},
		"one is full":                  {[]standing{well("a", 1), edit(well("b", 2), func(s *standing) { s.alarm = true }), well("c", 3)}, []string{"a"}, 3},
		"one sees another leader":      {[]standing{well("a", 1), edit(well("b", 2), func(s *standing) { s.leader = 3 })}, []string{"a"}, 0},
		"the own one does not answer":  {[]standing{edit(well("a", 1), func(s *standing) { s.err = errors.New("off") }), well("b", 2)}, []string{"a"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := transferee(1, tc.all, tc.busy); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}
