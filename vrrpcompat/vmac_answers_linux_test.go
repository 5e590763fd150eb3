package vrrpcompat

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

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
// the kernel filters by the way back, and whoever asked first; and for the host's
// own address with its own.
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
			tap := tapOn(t, l, lab.B)
			dev := openVMAC(t, l, 51, c.v6)
			args := []string{"addr", "add", netip.PrefixFrom(c.vip, c.vip.BitLen()).String(), "dev", dev}
			if c.v6 {
				args = append(args, "nodad")
			}
			ip(t, l, lab.A, args...)
			await(t, "the VIP answers", func() bool { return answers(t, l, lab.B, c.vip) })
			// Now the host asks for the client, to answer it as the VIP.
			ip(t, l, lab.A, "neigh", "flush", "all")
			await(t, "the VIP answers again", func() bool { return answers(t, l, lab.B, c.vip) })
			learned := neighbour(t, l, c.vip)
			// Both interfaces hear whom the client asks for, that of the VIP one after
			// the other: when it has said the second it would have said the first.
			said := tap.says(c.vip)
			for _, a := range []netip.Addr{c.own, c.vip} {
				ip(t, l, lab.B, "neigh", "flush", "all")
				await(t, a.String()+" answers", func() bool { return answers(t, l, lab.B, a) })
			}
			await(t, "the VIP's answer", func() bool { return c.v6 || tap.says(c.vip) > said })
			host, _ := l.Host(lab.A)
			for a, want := range map[netip.Addr]string{c.vip: VirtualMAC(51, c.v6).String(), c.own: host.MAC().String()} {
				if got := neighbour(t, l, a); a == c.vip && (got != want || learned != want) {
					t.Errorf("%s is at %s, then %s for a client; want %s", a, learned, got, want)
				}
				for _, f := range tap.all() {
					if mac, says := f.saysARP(); says == a && mac != want {
						t.Errorf("%s is said to be at %s; want %s: %x", a, mac, want, []byte(f))
					}
				}
			}
		})
	}
}

// saysARP returns what an ARP frame says of its sender (RFC 826).
func (f frame) saysARP() (mac string, ip netip.Addr) {
	if !f.is(unix.ETH_P_ARP) || len(f) < etherHeader+28 {
		return "", netip.Addr{}
	}
	b := f[etherHeader:]
	return net.HardwareAddr(b[8:14]).String(), netip.AddrFrom4([4]byte(b[14:]))
}

// says counts the ARP frames from an address.
func (c *tap) says(a netip.Addr) (n int) {
	for _, f := range c.all() {
		if _, says := f.saysARP(); says == a {
			n++
		}
	}
	return n
}

// TestVMACHeedsNoRouter: where the host makes itself an address of what a router
// advertises, the interface does not.
func TestVMACHeedsNoRouter(t *testing.T) {
	l := twoHosts(t)
	dev := openVMAC(t, l, 51, true)
	inside(t, l, lab.B, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
		if err != nil {
			return err
		}
		defer conn.Close()
		prefix := &ndp.PrefixInformation{
			PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true,
			ValidLifetime: time.Hour, PreferredLifetime: time.Hour, Prefix: netip.MustParseAddr("fd00:99::"),
		}
		return conn.WriteTo(&ndp.RouterAdvertisement{RouterLifetime: time.Hour, Options: []ndp.Option{prefix}}, nil, netip.IPv6LinkLocalAllNodes())
	})
	made := func(name string) (yes bool) {
		link := linkOf(t, l, name)
		inside(t, l, lab.A, func() error {
			list, err := addresses(link, unix.AF_INET6)
			yes = slices.ContainsFunc(list, func(a address) bool { return netip.MustParsePrefix("fd00:99::/64").Contains(a.ip) })
			return err
		})
		return yes
	}
	await(t, "eth0 makes itself an address", func() bool { return made("eth0") })
	if made(dev) {
		t.Errorf("%s makes itself an address", dev)
	}
}
