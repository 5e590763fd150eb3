package vrrpcompat

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"leasehold/internal/lab"
)

// TestSourceAddr: the first address that is no VIP, and for IPv6 a link-local one
// that may be used.
func TestSourceAddr(t *testing.T) {
	l := twoHosts(t)
	source := func(ifname string, v6 bool, except ...netip.Addr) (a netip.Addr, err error) {
		inside := l.Do(lab.A, func() error {
			a, err = SourceAddr(ifname, v6, except)
			return nil
		})
		if inside != nil {
			t.Fatal(inside)
		}
		return a, err
	}
	vip := netip.MustParseAddr("10.20.8.188")
	ip(t, l, lab.A, "addr", "add", "10.20.8.188/24", "dev", "eth0")
	ip(t, l, lab.A, "addr", "add", "10.20.8.49/32", "dev", "eth0")
	ip(t, l, lab.A, "addr", "add", "fe80::8:188/64", "dev", "eth0", "nodad")
	for name, c := range map[string]struct {
		v6     bool
		except []netip.Addr
		want   netip.Addr
	}{
		"the primary one":        {false, nil, hostA},
		"not the VIP":            {false, []netip.Addr{hostA}, netip.MustParseAddr("10.20.8.49")},
		"neither":                {false, addrs("10.20.8.50", "10.20.8.49"), vip},
		"the link-local one":     {true, addrs("fe80::8:188"), local6A},
		"the link-local VIP not": {true, []netip.Addr{local6A}, netip.MustParseAddr("fe80::8:188")},
	} {
		if got, err := source("eth0", c.v6, c.except...); err != nil || got != c.want {
			t.Errorf("%s: SourceAddr() = %v, %v; want %v", name, got, err, c.want)
		}
	}

	explains := func(ifname string, v6 bool, except []netip.Addr, want string) {
		t.Helper()
		if got, err := source(ifname, v6, except...); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ifname) {
			t.Errorf("SourceAddr(%s) = %v, %v; want %q", ifname, got, err, want)
		}
	}
	explains("eth7", false, nil, "ip link")
	explains("eth0", false, addrs("10.20.8.50", "10.20.8.49", "10.20.8.188"), "no IPv4 address of its own")
	ip(t, l, lab.A, "link", "add", "eth1", "type", "veth", "peer", "far1")
	explains("eth1", true, nil, "no link-local address")
	// Two hundred probes of a second each: it stays tentative.
	if err := l.Do(lab.A, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth1/dad_transmits", []byte("200"), 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.Do(lab.A, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/eth1/accept_dad", []byte("1"), 0o600) }); err != nil {
		t.Fatal(err)
	}
	ip(t, l, lab.A, "link", "set", "far1", "up")
	ip(t, l, lab.A, "link", "set", "eth1", "up")
	ip(t, l, lab.A, "addr", "add", "fe80::77/64", "dev", "eth1")
	explains("eth1", true, nil, "tentative")
	six := base()
	six.VIPs = addrs("fd00:20:8::188")
	if c, err := listening(t, l, lab.A, "eth1", six, netip.MustParseAddr("fe80::77")); err == nil || !strings.Contains(err.Error(), "tentative") {
		t.Errorf("Listen from a tentative address: %v, %v", c, err)
	}
	if err := l.Do(lab.A, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/eth1/disable_ipv6", []byte("1"), 0o600) }); err != nil {
		t.Fatal(err)
	}
	explains("eth1", true, nil, "net.ipv6.conf.eth1.disable_ipv6=0")
}
