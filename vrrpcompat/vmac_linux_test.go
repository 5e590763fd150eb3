package vrrpcompat

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

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
