package vrrpcompat

import (
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// listeners are the configurations that fuzzed packets are read with.
func listeners() []Config {
	three := func(c *Config) { c.Version = Version3 }
	uni := func(c *Config) { c.Peers = []netip.Addr{hostB} }
	six := func(c *Config) { c.VIPs = addrs("fe80::8:188", "fd00:8::188") }
	exact := func(c *Config) { *c = asKeepalived(*c) }
	all := []Config{base(), withAuth(AuthPass, "s3cret"), withAuth(AuthAH, "s3cret"), withAuth(AuthAH, "s3cret", hostB)}
	for _, edits := range [][]func(*Config){
		{uni},
		{three},
		{six},
		{three, uni},
		{exact},
		{three, exact},
		{six, exact},
		{three, uni, exact},
		{three, uni, func(c *Config) { c.Checksum = ChecksumGroup }},
		{six, func(c *Config) { c.Peers = []netip.Addr{netip.MustParseAddr("fd00:8::27")} }},
		{func(c *Config) { c.VIPs = addrs("10.20.8.188", "10.20.8.189", "10.20.8.190") }},
	} {
		all = append(all, with(func(c *Config) {
			for _, edit := range edits {
				edit(c)
			}
		}))
	}
	return all
}

// seeds gives a fuzz target the first packets of every capture, and every one that
// was made by hand.
func seeds(f *testing.F, add func(p Packet)) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.pcap")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		all := adverts(f, filepath.Base(file))
		if _, byHand := injections()[filepath.Base(file)]; !byHand {
			all = all[:min(2, len(all))]
		}
		for _, p := range all {
			add(p)
		}
	}
}

// FuzzParseAdvert: no packet panics, none that is accepted lacks a property of
// the checklist, and what was accepted is written again octet by octet, but for
// what a router does not choose.
func FuzzParseAdvert(f *testing.F) {
	configs := listeners()
	seeds(f, func(p Packet) {
		src, dst := ends(p)
		for i, c := range configs {
			if c.IPv6() == src.Is6() {
				f.Add(uint8(i), p.Data, src.AsSlice(), dst.AsSlice(), p.HopLimit, uint8(0))
				f.Add(uint8(i), p.Data, src.AsSlice(), dst.AsSlice(), p.HopLimit, uint8(c.WithDefaults().Checksum))
			}
		}
	})
	codecs := map[uint8]*Codec{}
	for i, c := range configs {
		own := hostA
		if c.IPv6() {
			own = hostA6
		}
		codecs[uint8(i)] = newCodec(f, c, own)
	}
	f.Fuzz(func(t *testing.T, which uint8, data, src, dst []byte, hops, mended uint8) {
		c := codecs[which%uint8(len(codecs))]
		c.seq.last = 0
		p := Packet{Data: data, HopLimit: hops}
		p.Src, _ = netip.AddrFromSlice(src)
		p.Dst, _ = netip.AddrFromSlice(dst)
		if mended != 0 {
			p = mend(c, p, ChecksumForm(mended%4))
		}
		before := slices.Clone(p.Data)
		a, why := c.ParseAdvert(p)
		if !slices.Equal(p.Data, before) {
			t.Fatal("ParseAdvert changed the packet")
		}
		if why >= Reasons {
			t.Fatalf("ParseAdvert = reason %d", why)
		}
		c.Explain(a, why)
		if _, ok := p.VRID(c.v6); !ok && why != ReasonShort && why != ReasonIPHeader {
			t.Fatalf("it has no VRID, and ParseAdvert = %s", why)
		}
		if why == Accepted {
			checklist(t, c, p, a)
		}
	})
}

// mend returns the packet with sums that are right, so that the fuzzer gets past
// them.
func mend(c *Codec, p Packet, form ChecksumForm) Packet {
	p.Data = slices.Clone(p.Data)
	if !c.v6 && len(p.Data) >= ipv4Header {
		binary.BigEndian.PutUint16(p.Data[ipLength:], uint16(len(p.Data)))
	}
	d, why := dissect(p, c.v6)
	if why != Accepted {
		return p
	}
	d.msg[6], d.msg[7] = 0, 0
	acc := sum(0, d.msg)
	switch form {
	case ChecksumPseudo:
		acc += pseudo(d.src, d.dst, len(d.msg))
	case ChecksumGroup:
		acc += pseudo(d.src, c.cfg.Group, len(d.msg))
	case ChecksumMessage, ChecksumNone:
	}
	binary.BigEndian.PutUint16(d.msg[6:], ^uint16(fold(acc)))
	if c.mac != nil && d.protocol == protocolAH {
		copy(d.ip[d.ihl+ahICV:], c.computeICV(d.ip, d.ihl))
	}
	return p
}

// FuzzRoundTrip: what is written is read as it was meant, whatever the numbers.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(0), uint8(51), uint8(150), uint16(1), "s3cret", []byte{10, 20, 8, 188}, uint32(0))
	f.Add(uint8(7), uint8(255), uint8(0), uint16(4095), "12345678", []byte{0xfd, 0, 0, 8, 1, 0x88}, uint32(0xfffffffc))
	f.Fuzz(func(t *testing.T, kind, vrid, priority uint8, interval uint16, password string, vips []byte, sequence uint32) {
		c := Config{VRID: vrid, Version: Version2 + kind&1, Interval: time.Duration(interval) * time.Second}
		us, them, size := hostA, hostB, 4
		if kind&2 != 0 {
			us, them, size = hostA6, hostB6, 16
		}
		if c.Version == Version3 {
			c.Interval = time.Duration(interval) * centisecond
			c.Checksum = ChecksumForm(kind >> 5)
		} else if c.Auth.Type = AuthType(kind >> 3 & 3); c.Auth.Type != AuthNone {
			c.Auth.Password = password
		}
		for ; len(vips) >= size; vips = vips[size:] {
			a, _ := netip.AddrFromSlice(vips[:size])
			c.VIPs = append(c.VIPs, a)
		}
		ours, theirs := c, c
		if kind&4 != 0 {
			ours.Peers, theirs.Peers = []netip.Addr{them}, []netip.Addr{us}
		}
		writer, err := NewCodec(ours, us)
		if err != nil {
			return // a configuration that is not valid
		}
		reader, err := NewCodec(theirs, them)
		if err != nil {
			return
		}
		writer.RaiseSequence(sequence)
		writer.NextRound()
		to := writer.Destinations()[0]
		data := writer.AppendAdvert([]byte{1, 2, 3}, priority, to)[3:]
		a, why := reader.ParseAdvert(overheard(writer, data, to))
		if why != Accepted || a.Priority != priority || a.Interval != writer.cfg.Interval || a.Checksum != writer.cfg.Checksum ||
			!slices.Equal(a.Addrs, c.VIPs) || a.VIPsDiffer || a.Source != us || a.Destination != to {
			t.Errorf("%+v wrote %x, and %s came of it: %+v", ours, data, why, a)
		}
	})
}
