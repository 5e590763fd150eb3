package vrrpcompat

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
)

// TestLengths is P4, P5 and P16.
func TestLengths(t *testing.T) {
	c := newCodec(t, base(), hostA)
	whole := say(t, base(), hostB, 100).Data
	cut := func(n int) Packet {
		p := Packet{Data: slices.Clone(whole[:n])}
		binary.BigEndian.PutUint16(p.Data[ipLength:], uint16(n))
		return p
	}
	for n := range 8 {
		wantReason(t, c, cut(ipv4Header+n), ReasonShort)
	}
	for n := ipv4Header + 8; n < len(whole); n++ {
		wantReason(t, c, cut(n), ReasonTooShort)
	}
	for n := range ipv4Header {
		wantReason(t, c, Packet{Data: whole[:n]}, ReasonShort)
		wantReason(t, c, Packet{}, ReasonShort)
	}
	for name, p := range map[string]struct {
		edit func(b []byte) []byte
		want Reason
	}{
		"one octet more":                            {func(b []byte) []byte { return append(b, 0) }, ReasonTooLong},
		"one octet more and padding":                {func(b []byte) []byte { return append(b, 0, 0, 0) }, ReasonTooLong},
		"keepalived 2.4's trailer":                  {func(b []byte) []byte { return append(b, make([]byte, hmacTrailer)...) }, ReasonTrailer},
		"a count beyond the data":                   {func(b []byte) []byte { b[ipv4Header+vrrpCount] = 2; return b }, ReasonTooShort},
		"a count below the data":                    {func(b []byte) []byte { b[ipv4Header+vrrpCount] = 0; return b }, ReasonTooLong},
		"an advert of version 3, with eight octets": {func(b []byte) []byte { b[ipv4Header] = 0x31; return b }, ReasonTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			q := Packet{Data: p.edit(slices.Clone(whole))}
			resum(q, ChecksumMessage)
			wantReason(t, c, q, p.want)
		})
	}
	t.Run("no address", func(t *testing.T) {
		b := slices.Delete(slices.Clone(whole), ipv4Header+vrrpHeader, ipv4Header+vrrpHeader+4)
		b[ipv4Header+vrrpCount] = 0
		p := Packet{Data: b}
		resum(p, ChecksumMessage)
		wantReason(t, c, p, ReasonNoVIPs)
	})
	t.Run("255 addresses", func(t *testing.T) {
		many := base()
		many.VIPs = nil
		for i := range 255 {
			many.VIPs = append(many.VIPs, netip.AddrFrom4([4]byte{10, 20, 9, byte(i)}))
		}
		p := say(t, many, hostB, 100)
		if n := len(p.Data) - ipv4Header; n != 8+1020+8 {
			t.Errorf("the message has %d octets, want 1036", n)
		}
		if a := wantReason(t, newCodec(t, many, hostA), p, Accepted); !slices.Equal(a.Addrs, many.VIPs) || a.VIPsDiffer {
			t.Errorf("255 addresses come out as %v", a.Addrs)
		}
	})
}

// TestIPHeaderThatLies is the rest of P5.
func TestIPHeaderThatLies(t *testing.T) {
	c := newCodec(t, base(), hostA)
	whole := say(t, base(), hostB, 100).Data
	for name, edit := range map[string]func(b []byte){
		"version 6":                     func(b []byte) { b[0] = 0x65 },
		"a header below 20 octets":      func(b []byte) { b[0] = 0x44 },
		"no header at all":              func(b []byte) { b[0] = 0x40 },
		"a header beyond the packet":    func(b []byte) { b[0] = 0x4f },
		"a total length beyond it":      func(b []byte) { b[ipLength+1]++ },
		"a total length in the header":  func(b []byte) { b[ipLength+1] = 19 },
		"a total length of nothing":     func(b []byte) { b[ipLength+1] = 0 },
		"a protocol that is not for us": func(b []byte) { b[ipProtocol] = 17 },
	} {
		t.Run(name, func(t *testing.T) {
			b := slices.Clone(whole)
			edit(b)
			wantReason(t, c, Packet{Data: b}, ReasonIPHeader)
		})
	}
}

// TestTTL is P8.
func TestTTL(t *testing.T) {
	uni := base()
	uni.Peers = []netip.Addr{hostB}
	bounded := uni
	bounded.MinTTL, bounded.MaxTTL = 64, 128
	toA := base()
	toA.Peers = []netip.Addr{hostA}
	for name, c := range map[string]struct {
		listens, speaks Config
		ttl             byte
		want            Reason
	}{
		"multicast, 255":           {base(), base(), 255, Accepted},
		"multicast, 254":           {base(), base(), 254, ReasonTTL},
		"unicast, 254":             {uni, toA, 254, Accepted},
		"unicast, 1":               {uni, toA, 1, Accepted},
		"unicast, below its bound": {bounded, toA, 63, ReasonPeerTTL},
		"unicast, in its bounds":   {bounded, toA, 64, Accepted},
		"unicast, over its bound":  {bounded, toA, 129, ReasonPeerTTL},
	} {
		t.Run(name, func(t *testing.T) {
			p := say(t, c.speaks, hostB, 100)
			p.Data[ipTTL] = c.ttl
			wantReason(t, newCodec(t, c.listens, hostA), p, c.want)
		})
	}
	six := base()
	six.VIPs = addrs("fd00:8::188")
	p := say(t, six, hostB6, 100)
	wantReason(t, newCodec(t, six, hostA6), p, Accepted)
	p.HopLimit = 254
	wantReason(t, newCodec(t, six, hostA6), p, ReasonTTL)
}
