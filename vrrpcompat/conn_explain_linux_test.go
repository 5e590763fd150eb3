package vrrpcompat

import (
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// TestListenExplains: where it cannot be, it says what to do.
func TestListenExplains(t *testing.T) {
	l := twoHosts(t)
	secondWire(t, l)
	six := base()
	six.VIPs = addrs("fd00:20:8::188")
	for name, c := range map[string]struct {
		ifname string
		c      Config
		own    netip.Addr
		want   []string
	}{
		"no interface":                   {"eth7", base(), hostA, []string{"router 51 on eth7", "not found", "ip link"}},
		"another host's address":         {"eth0", base(), hostB, []string{"source 10.20.8.27", "ip addr"}},
		"no address":                     {"eth0", base(), netip.Addr{}, []string{"family"}},
		"an address of the other family": {"eth0", base(), local6A, []string{"source (fe80::aff:fe14:832)", "family"}},
		"a link-local one of eth0":       {"eth1", six, local6A, []string{"router 51 on eth1", "source fe80::aff:fe14:832"}},
	} {
		conn, err := listening(t, l, lab.A, c.ifname, c.c, c.own)
		if err == nil {
			conn.Close()
			t.Errorf("%s: Listen succeeds", name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: Listen() = %q; want %q in it", name, err, w)
			}
		}
	}
	if err := explainSocket("open a raw socket", unix.EAFNOSUPPORT); !strings.Contains(err.Error(), "ipv6.disable=1") {
		t.Errorf("without IPv6: %v", err)
	}
}

// TestListenWithoutCapability: on a thread without CAP_NET_RAW.
func TestListenWithoutCapability(t *testing.T) {
	labtest.Require(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	if err := unix.Capget(&head, &has[0]); err != nil {
		t.Fatal(err)
	}
	lacks := has
	lacks[0].Effective &^= 1 << unix.CAP_NET_RAW
	if err := unix.Capset(&head, &lacks[0]); err != nil {
		t.Fatal(err)
	}
	_, err := Listen("lo", base(), hostA, SocketOptions{})
	if restored := unix.Capset(&head, &has[0]); restored != nil {
		t.Fatal(restored)
	}
	if err == nil || !strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Errorf("Listen() = %v; want that it needs CAP_NET_RAW", err)
	}
}
