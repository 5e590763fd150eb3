package vrrpcompat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

// inside runs f on a host, and ends the test where it fails.
func inside(t *testing.T, l *lab.Lab, host string, f func() error) {
	t.Helper()
	if err := l.Do(host, f); err != nil {
		t.Fatal(err)
	}
}

// openVMAC makes the interface on lab.A's eth0, and returns its name.
func openVMAC(t *testing.T, l *lab.Lab, vrid uint8, v6 bool) (name string) {
	t.Helper()
	inside(t, l, lab.A, func() (err error) {
		name, err = OpenVMAC("eth0", vrid, v6)
		return err
	})
	return name
}

// linkOf returns an interface of lab.A; nil: there is none.
func linkOf(t *testing.T, l *lab.Lab, name string) (link netlink.Link) {
	t.Helper()
	inside(t, l, lab.A, func() (err error) {
		link, err = netlink.LinkByName(name)
		if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
			link, err = nil, nil
		}
		return err
	})
	return link
}

// settingsOf returns what baseSettings are on lab.A's eth0.
func settingsOf(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var words []string
	inside(t, l, lab.A, func() error {
		for _, s := range baseSettings() {
			b, err := os.ReadFile(s.path("eth0"))
			if err != nil {
				return err
			}
			words = append(words, s.key+"="+strings.TrimSpace(string(b)))
		}
		return nil
	})
	return strings.Join(words, " ")
}

// TestOpenVMAC: it is what it should be, also when it was there, in whatever state
// a killed daemon left it, and the last one that goes leaves nothing behind.
func TestOpenVMAC(t *testing.T) {
	l := twoHosts(t)
	ip(t, l, lab.A, "addr", "flush", "dev", "lo") // nothing of it is needed
	if err := l.Do(lab.A, func() error { return setting{"ipv4", "arp_announce", "1"}.apply("eth0") }); err != nil {
		t.Fatal(err)
	}
	const before, changed = "arp_ignore=0 arp_announce=1", "arp_ignore=1 arp_announce=2"
	whole := func(name string, vrid uint8, v6 bool) int {
		t.Helper()
		link := linkOf(t, l, name)
		m, ok := link.(*netlink.Macvlan)
		if !ok || m.Mode != netlink.MACVLAN_MODE_VEPA || m.HardwareAddr.String() != VirtualMAC(vrid, v6).String() ||
			!strings.HasPrefix(m.Alias, "leasehold") || m.Flags&net.FlagUp == 0 || m.ParentIndex != linkOf(t, l, "eth0").Attrs().Index {
			t.Fatalf("%s is %+v", name, link)
		}
		inside(t, l, lab.A, func() error {
			list, err := addresses(link, netlink.FAMILY_ALL)
			if len(list) > 0 {
				t.Errorf("%s has addresses: %v", name, list)
			}
			return err
		})
		return m.Index
	}
	if name := openVMAC(t, l, 51, false); name != "vrrp.51" {
		t.Errorf("OpenVMAC() = %s; want vrrp.51", name)
	}
	first := whole("vrrp.51", 51, false)
	if got := settingsOf(t, l); got != changed {
		t.Errorf("eth0 has %s; want %s", got, changed)
	}
	openVMAC(t, l, 51, false)
	if again := whole("vrrp.51", 51, false); again != first {
		t.Errorf("opened again it is interface %d, and was %d", again, first)
	}
	if name := openVMAC(t, l, 51, true); name != "vrrp6.51" {
		t.Errorf("OpenVMAC() = %s; want vrrp6.51", name)
	}
	whole("vrrp6.51", 51, true)

	remains := func(name, why string) {
		t.Helper()
		ip(t, l, lab.A, "link", "add", "link", "eth0", "name", name, "address", VirtualMAC(52, false).String(), "type", "macvlan", "mode", why)
	}
	remains("vrrp.52", "vepa") // killed before it could mark it
	openVMAC(t, l, 52, false)
	whole("vrrp.52", 52, false)
	ip(t, l, lab.A, "link", "set", "vrrp.52", "address", "02:00:00:00:00:77")
	openVMAC(t, l, 52, false)
	whole("vrrp.52", 52, false)

	for _, vrid := range []uint8{51, 52} {
		if got := settingsOf(t, l); got != changed {
			t.Errorf("eth0 has %s while there is another one; want %s", got, changed)
		}
		for range 2 {
			inside(t, l, lab.A, func() error { return RemoveVMAC("eth0", vrid, false) })
		}
	}
	inside(t, l, lab.A, func() error { return RemoveVMAC("eth0", 51, true) })
	for _, name := range []string{"vrrp.51", "vrrp6.51", "vrrp.52"} {
		if link := linkOf(t, l, name); link != nil {
			t.Errorf("%s is still there: %+v", name, link)
		}
	}
	if got := settingsOf(t, l); got != before {
		t.Errorf("in the end eth0 has %s; want %s", got, before)
	}
}

// TestVMACRefuses what is not ours, and says why where it cannot be.
func TestVMACRefuses(t *testing.T) {
	l := twoHosts(t)
	secondWire(t, l)
	ip(t, l, lab.A, "link", "add", "br0", "type", "bridge")
	ip(t, l, lab.A, "link", "set", "eth1", "master", "br0")
	for name, lines := range map[string][]string{
		"private as keepalived's": {"address", VirtualMAC(53, false).String(), "type", "macvlan", "mode", "private"},
		"up and without an alias": {"up", "address", VirtualMAC(53, false).String(), "type", "macvlan", "mode", "vepa"},
	} {
		ip(t, l, lab.A, append([]string{"link", "add", "link", "eth0", "name", "vrrp.53"}, lines...)...)
		for _, f := range []func() error{
			func() error { _, err := OpenVMAC("eth0", 53, false); return err },
			func() error { return RemoveVMAC("eth0", 53, false) },
		} {
			inside(t, l, lab.A, func() error {
				if err := f(); err == nil || !strings.Contains(err.Error(), "ip link del vrrp.53") {
					t.Errorf("%s: %v; want that it is not ours", name, err)
				}
				return nil
			})
		}
		if linkOf(t, l, "vrrp.53") == nil {
			t.Errorf("%s: it is gone", name)
		}
		ip(t, l, lab.A, "link", "del", "vrrp.53")
	}
	for base, want := range map[string]string{"eth7": "ip link", "eth1": "bridge"} {
		inside(t, l, lab.A, func() error {
			if _, err := OpenVMAC(base, 54, false); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("OpenVMAC(%s) = %v; want %q in it", base, err, want)
			}
			return nil
		})
	}
}

// answers reports whether an address answers to a host, which a refusal is.
func answers(t *testing.T, l *lab.Lab, from string, to netip.Addr) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := l.Dial(ctx, from, "tcp", netip.AddrPortFrom(to, 9).String())
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}

// neighbour returns the MAC address that lab.B has of an address.
func neighbour(t *testing.T, l *lab.Lab, of netip.Addr) (mac string) {
	t.Helper()
	inside(t, l, lab.B, func() error {
		list, err := netlink.NeighList(0, 0)
		for _, n := range list {
			if a, ok := netip.AddrFromSlice(n.IP); ok && a.Unmap() == of {
				mac = n.HardwareAddr.String()
			}
		}
		return err
	})
	return mac
}

// TestVMACAnswersForTheVIP: with the virtual MAC address and no other, also where
// the kernel filters by the way back, and whoever asked first; and the host's own
// address keeps its own.
func TestVMACAnswersForTheVIP(t *testing.T) {
	for name, c := range map[string]struct {
		v6       bool
		vip, own netip.Addr
	}{
		"IPv4": {false, netip.MustParseAddr("10.20.8.188"), hostA},
		"IPv6": {true, netip.MustParseAddr("fd00:20:8::188"), global6A},
	} {
		t.Run(name, func(t *testing.T) {
			l := twoHosts(t)
			inside(t, l, lab.A, func() error { return setting{"ipv4", "rp_filter", "1"}.apply("all") })
			dev := openVMAC(t, l, 51, c.v6)
			args := []string{"addr", "add", netip.PrefixFrom(c.vip, c.vip.BitLen()).String(), "dev", dev}
			if c.v6 {
				args = append(args, "nodad")
			}
			ip(t, l, lab.A, args...)
			await(t, "the VIP answers", func() bool { return answers(t, l, lab.B, c.vip) })
			// Now the host asks for the client, to answer it as the VIP.
			ip(t, l, lab.A, "neigh", "flush", "all")
			if !answers(t, l, lab.B, c.vip) || !answers(t, l, lab.B, c.own) {
				t.Fatal("the VIP or the host's own address does not answer")
			}
			host, _ := l.Host(lab.A)
			if got, want := neighbour(t, l, c.vip), VirtualMAC(51, c.v6).String(); got != want {
				t.Errorf("the VIP is at %s for a client; want %s", got, want)
			}
			if got, want := neighbour(t, l, c.own), host.MAC().String(); got != want {
				t.Errorf("the host's own address is at %s for a client; want %s", got, want)
			}
		})
	}
}

// TestVMACOfBackupIsSilent: no frame has the virtual MAC address when the VIP is
// gone, not the one that says that its group is left.
func TestVMACOfBackupIsSilent(t *testing.T) {
	l := twoHosts(t)
	dev := openVMAC(t, l, 51, true)
	// The kernel says twice that it joins a group, and twice that it leaves it,
	// within a second each (RFC 3810 sections 9.1 and 9.11).
	reports := func(n uint32) func() bool {
		return func() bool {
			var dropped uint32
			inside(t, l, lab.A, func() error {
				list, err := netlink.QdiscList(linkOf(t, l, dev))
				for _, q := range list {
					if q.Type() == "clsact" {
						dropped = q.Attrs().Statistics.Queue.Drops
					}
				}
				return err
			})
			return dropped >= n
		}
	}
	ip(t, l, lab.A, "addr", "add", "fd00:20:8::188/128", "dev", dev, "nodad")
	await(t, "the kernel reports that it joins the VIP's group", reports(2))
	tap := tapOn(t, l, lab.B)
	ip(t, l, lab.A, "addr", "del", "fd00:20:8::188/128", "dev", dev)
	await(t, "the kernel reports that it leaves the VIP's group", reports(4))
	for _, f := range tap.all() {
		if f.from().String() == VirtualMAC(51, true).String() {
			t.Errorf("frame %x", []byte(f))
		}
	}
}

// TestVMACWithKeepalived: adverts come from the virtual MAC address, and those of
// a peer are heard whether it has the same or its own.
func TestVMACWithKeepalived(t *testing.T) {
	l := twoHosts(t, lab.NeedsKeepalived)
	six := func(c *Config) { c.VIPs = addrs("fe80::8:188", "fd00:20:8::188") }
	const first = 71
	peers := []companion{
		{"vmac-v2", hostA, func(*Config) {}, "use_vmac\n"},
		{"vmac-v2-AH", hostA, func(c *Config) { c.Auth = Auth{AuthAH, "s3cret"} }, "use_vmac\nauthentication {\n auth_type AH\n auth_pass s3cret\n}\n"},
		{"bare-v2", hostA, func(*Config) {}, ""},
		{"vmac-v3-IPv6", local6A, six, "use_vmac\n"},
		{"bare-v3-IPv6", local6A, six, ""},
	}
	conf := "global_defs {\n vrrp_garp_master_repeat 1\n}\n"
	for i, p := range peers {
		conf += p.instance(first + i)
	}
	there, here := tapOn(t, l, lab.B), tapOn(t, l, lab.A)
	peer, err := l.StartKeepalived(lab.B, conf)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i, p := range peers {
		all.Go(func() {
			t.Run(p.name, func(t *testing.T) {
				c := p.config(first + i)
				dev := openVMAC(t, l, c.VRID, c.IPv6())
				r := &speaker{t: t, conn: listenOn(t, l, lab.A, "eth0", c, p.own, SocketOptions{Via: dev}), codec: newCodec(t, c, p.own)}
				r.pair(p, peer)
				there.check(t, r.codec)
				host, _ := l.Host(lab.B)
				virtual := VirtualMAC(c.VRID, c.IPv6()).String()
				peers := host.MAC().String()
				if strings.HasPrefix(p.name, "vmac") {
					peers = virtual
				}
				for who, want := range map[*tap]string{there: virtual, here: peers} {
					if bad := who.strays(c.VRID, want); bad != "" {
						t.Error(bad)
					}
				}
			})
		})
	}
	all.Wait()
}

// strays names an advert of a router that does not come from a MAC address, or
// says that there is none at all.
func (c *tap) strays(vrid uint8, mac string) string {
	n := 0
	for _, f := range c.all() {
		if _, msg := f.advert(); msg == nil || msg[vrrpVRID] != vrid {
			continue
		}
		if n++; f.from().String() != mac {
			return fmt.Sprintf("an advert is from %s; want %s: %x", f.from(), mac, []byte(f))
		}
	}
	if n == 0 {
		return "no advert from " + mac
	}
	return ""
}
