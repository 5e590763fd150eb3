package vrrpcompat

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// patience bounds what should take a second at most: the machine is shared.
const patience = 20 * time.Second

// The peer is the host with the real keepalived; its addresses are those of lab.B.
var (
	local6A  = netip.MustParseAddr("fe80::aff:fe14:832") // of lab.A's MAC address
	global6A = netip.MustParseAddr("fd00:20:8::50")
	global6B = netip.MustParseAddr("fd00:20:8::27")
)

// A companion is one virtual router that we and keepalived have together.
type companion struct {
	name  string
	own   netip.Addr // ours
	edit  func(c *Config)
	lines string // of keepalived's vrrp_instance
}

func toPeer(c *Config) { c.Peers = []netip.Addr{hostB} }

// six gives a router IPv6 VIPs of its own: a keepalived whose VIP another instance
// takes off is Backup.
func six(c *Config) {
	c.VIPs = addrs(fmt.Sprintf("fe80::8:%d", 100+int(c.VRID)), fmt.Sprintf("fd00:20:8::%d", 100+int(c.VRID)))
}

func companions() []companion {
	const (
		pass     = "authentication {\n auth_type PASS\n auth_pass s3cret\n}\n"
		ah       = "authentication {\n auth_type AH\n auth_pass s3cret\n}\n"
		unicast4 = "unicast_src_ip 10.20.8.27\n unicast_peer {\n 10.20.8.50\n}\n"
		unicast6 = "unicast_src_ip fd00:20:8::27\n unicast_peer {\n fd00:20:8::50\n}\n"
	)
	all := []companion{
		{"v2", hostA, func(*Config) {}, ""},
		{"v2-PASS", hostA, func(c *Config) { c.Auth = Auth{AuthPass, "s3cret"} }, pass},
		{"v2-AH", hostA, func(c *Config) { c.Auth = Auth{AuthAH, "s3cret"} }, ah},
		{"v3", hostA, func(c *Config) { c.Version = Version3 }, "version 3\n"},
		{"v3-IPv6", local6A, six, "version 3\n"},
		{"v2-unicast", hostA, toPeer, unicast4},
		{"v2-PASS-unicast-ttl", hostA, func(c *Config) { toPeer(c); c.Auth, c.TTL = Auth{AuthPass, "s3cret"}, 7 }, pass + unicast4},
		{"v2-AH-unicast-ttl", hostA, func(c *Config) { toPeer(c); c.Auth, c.TTL = Auth{AuthAH, "s3cret"}, 9 }, ah + unicast4},
		{"v3-unicast", hostA, func(c *Config) { toPeer(c); c.Version = Version3 }, "version 3\n" + unicast4},
		{"v3-IPv6-unicast", global6A, func(c *Config) { six(c); c.Peers = []netip.Addr{global6B} }, "version 3\n" + unicast6},
		{"v3-IPv6-unicast-ttl", global6A, func(c *Config) { six(c); c.Peers, c.TTL = []netip.Addr{global6B}, 64 }, "version 3\n" + unicast6},
	}
	return all
}

func (p companion) config(vrid int) Config {
	c := Config{VRID: uint8(vrid), Interval: time.Second, VIPs: addrs(fmt.Sprintf("10.20.8.%d", 100+vrid))}
	p.edit(&c)
	return c
}

// instance is keepalived's side.
func (p companion) instance(vrid int) string {
	var vips []string
	for _, a := range p.config(vrid).VIPs {
		vips = append(vips, a.String())
	}
	return fmt.Sprintf("vrrp_instance %s {\n interface eth0\n state BACKUP\n virtual_router_id %d\n priority 200\n advert_int 1\n%s virtual_ipaddress {\n %s\n}\n}\n",
		p.name, vrid, p.lines, strings.Join(vips, "\n"))
}

// twoHosts is a lab of us and of a peer.
func twoHosts(t *testing.T, programs ...[]string) *lab.Lab {
	t.Helper()
	l := labtest.Start(t, lab.Config{IPv6: true, Hosts: lab.DefaultHosts()[:2]}, programs...)
	for _, host := range []string{lab.A, lab.B} {
		await(t, "the IPv6 addresses of "+host, func() (ok bool) {
			if err := l.Do(host, func() error {
				list, err := addresses(nil, unix.AF_INET6)
				ok = len(list) == 3 && !slices.ContainsFunc(list, func(a address) bool { return !a.usable() })
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return ok
		})
	}
	return l
}

// listenOn opens a Conn on a host, that ends with the test.
func listenOn(t *testing.T, l *lab.Lab, host, ifname string, c Config, own netip.Addr, o SocketOptions) *Conn {
	t.Helper()
	var conn *Conn
	err := l.Do(host, func() (err error) {
		conn, err = Listen(ifname, c, own, o)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A speaker is our side of a router, spoken by hand.
type speaker struct {
	t     *testing.T
	conn  *Conn
	codec *Codec
	buf   [MaxPacket + 1]byte
}

// say sends one round.
func (r *speaker) say(priority uint8) {
	r.t.Helper()
	r.codec.NextRound()
	for _, to := range r.codec.Destinations() {
		if err := r.conn.Send(r.codec.AppendAdvert(nil, priority, to), to); err != nil {
			r.t.Error(err)
		}
	}
}

// hear returns the next packet within a time, if there is one.
func (r *speaker) hear(within time.Duration) (Advert, Reason, bool) {
	r.t.Helper()
	if err := r.conn.in.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		r.t.Fatal(err)
	}
	p, err := r.conn.Receive(r.buf[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Advert{}, 0, false
	}
	if err != nil {
		r.t.Fatal(err)
	}
	a, why := r.codec.ParseAdvert(p)
	// With AH two that speak in the same moment have the same number.
	if why != Accepted && why != ReasonReplay {
		r.t.Errorf("heard %s: %s", why, r.codec.Explain(a, why))
	}
	return a, why, true
}

// sayUntil says a priority again and again, until done says of what was heard
// meanwhile, or of nothing, that it is enough.
func (r *speaker) sayUntil(what string, priority uint8, done func(a Advert, heard bool) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		r.say(priority)
		// Longer than keepalived takes to take over from one that leaves: hearing it
		// leave again makes it wait again.
		if a, why, ok := r.hear(500 * time.Millisecond); done(a, ok && why == Accepted) {
			return
		}
	}
	r.t.Fatalf("%s: not within %s", what, patience)
}

// TestConnWithKeepalived: keepalived takes over where ours leaves, is heard and
// understood, gives way to ours, and all of it with the right frames on the wire.
func TestConnWithKeepalived(t *testing.T) {
	l := twoHosts(t, lab.NeedsKeepalived)
	conf := "global_defs {\n vrrp_garp_master_repeat 1\n}\n"
	const first = 51
	for i, p := range companions() {
		conf += p.instance(first + i)
	}
	tap := tapOn(t, l, lab.B)
	peer, err := l.StartKeepalived(lab.B, conf)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup // t.Parallel would run as many at once as there are CPUs, and they only wait
	for i, p := range companions() {
		all.Go(func() {
			t.Run(p.name, func(t *testing.T) {
				c := p.config(first + i)
				r := &speaker{t: t, conn: listenOn(t, l, lab.A, "eth0", c, p.own, SocketOptions{}), codec: newCodec(t, c, p.own)}
				r.pair(p, peer)
				tap.check(t, r.codec)
			})
		})
	}
	all.Wait()
}

// pair lets keepalived take over, takes over itself, and leaves again.
func (r *speaker) pair(p companion, peer *lab.Process) {
	r.t.Helper()
	active := func(a Advert, heard bool) bool { return heard && a.Priority == 200 }
	r.sayUntil("keepalived takes over from one that leaves", 0, active)
	took := fmt.Sprintf("(%s) Master received advert from %s with higher priority 255", p.name, p.own)
	r.sayUntil("keepalived gives way", 255, func(Advert, bool) bool { return strings.Contains(peer.Tail(1000), took) })
	for { // what it said before that
		if _, _, more := r.hear(time.Millisecond); !more {
			break
		}
	}
	said := r.codec.Sequence()
	r.sayUntil("keepalived takes over again", 0, func(a Advert, heard bool) bool {
		if heard && r.codec.mac != nil && a.Sequence <= said {
			r.t.Errorf("its number is %d, ours was %d already", a.Sequence, said)
		}
		return active(a, heard)
	})
}
