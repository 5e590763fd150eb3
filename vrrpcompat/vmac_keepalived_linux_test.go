package vrrpcompat

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"leasehold/internal/lab"
)

// TestVMACWithKeepalived: adverts come from the virtual MAC address, and those of
// a peer are heard whether it has the same or its own.
func TestVMACWithKeepalived(t *testing.T) {
	l := twoHosts(t, lab.NeedsKeepalived)
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
