package vrrpcompat

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// listeners are the configurations that fuzzed packets are read with.
func listeners() []Config {
	three := func(c *Config) { c.Version = Version3 }
	uni := func(c *Config) { c.Peers = []netip.Addr{hostB} }
	six := func(c *Config) { c.VIPs = addrs("fe80::8:188", "fd00:8::188") }
	exact := func(c *Config) { *c = asKeepalived(*c) }
	all := []Config{base(), withAuth(AuthPass, "s3cret"), withAuth(AuthAH, "s3cret"), withAuth(AuthAH, "s3cret", hostB)}
	for _, edits := range [][]func(*Config){
		{uni}, {three}, {six}, {three, uni}, {exact}, {three, exact}, {six, exact}, {three, uni, exact},
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

// checklist looks at an accepted packet a second time, without the parser.
func checklist(t *testing.T, c *Codec, p Packet, a Advert) {
	t.Helper()
	msg, src, dst, ttl := p.Data, p.Src, p.Dst, p.HopLimit
	size := 16
	if !c.v6 {
		size = 4
		ip := p.Data[:binary.BigEndian.Uint16(p.Data[2:])]
		msg, ttl = ip[int(ip[0]&15)*4:], ip[8]
		src, dst = ends(Packet{Data: ip})
		if c.cfg.Auth.Type == AuthAH {
			checkICV(t, c, ip)
			msg = msg[24:]
		}
	}
	n := int(msg[3])
	trailer := 0
	if c.cfg.Version == Version2 {
		trailer = 8
	}
	for what, ok := range map[string]bool{
		"version and type": msg[0] == c.cfg.Version<<4|1,
		"VRID":             msg[1] == c.cfg.VRID && a.VRID == c.cfg.VRID,
		"priority":         msg[2] == a.Priority,
		"count":            n > 0 && n == len(a.Addrs),
		"length":           len(msg) == 8+n*size+trailer,
		"not our own":      src != c.own,
		"TTL":              c.cfg.Unicast() || ttl == 255,
		"authentication":   c.cfg.Version == Version3 || msg[4] == byte(c.cfg.Auth.Type),
		"interval":         c.cfg.Version == Version3 && a.Interval > 0 && a.Interval <= 40950*time.Millisecond || a.Interval == c.cfg.Interval,
		"destination":      c.cfg.Unicast() && !dst.IsMulticast() || dst == c.cfg.Group,
		"peer":             !c.cfg.Unicast() || c.cfg.AnySource || src == c.cfg.Peers[0],
		"VIPs":             a.VIPsDiffer || n == len(c.cfg.VIPs),
		"exact VIPs":       !c.cfg.ExactVIPs || !a.VIPsDiffer,
		"checksum":         slowChecksum(msg, src, dst, a.Checksum, c.cfg.Group),
		"form":             a.Checksum != ChecksumGroup || c.cfg.Checksum == ChecksumGroup,
		"exact form":       !c.cfg.ExactChecksum || a.Checksum == c.cfg.Checksum,
	} {
		if !ok {
			t.Errorf("accepted, and the %s is wrong: %x\n%+v", what, p.Data, a)
		}
	}
	if c.cfg.Auth.Type == AuthPass && string(msg[len(msg)-8:]) != "s3cret\x00\x00" {
		t.Errorf("accepted, and the password is %q", msg[len(msg)-8:])
	}
	for i, addr := range a.Addrs {
		if !slices.Equal(addr.AsSlice(), msg[8+i*size:][:size]) {
			t.Errorf("address %d is %s, and the packet has %x", i, addr, msg[8+i*size:][:size])
		}
	}
}

// checkICV computes an authentication header's check value from the whole packet.
func checkICV(t *testing.T, c *Codec, ip []byte) {
	t.Helper()
	b := slices.Clone(ip)
	ihl := int(b[0]&15) * 4
	b[1], b[6], b[7], b[10], b[11] = 0, 0, 0, 0, 0
	if c.cfg.Unicast() {
		b[8] = 0
	}
	clear(b[ihl+12 : ihl+24])
	mac := hmac.New(md5.New, []byte("s3cret\x00\x00"))
	mac.Write(b)
	if !slices.Equal(mac.Sum(nil)[:12], ip[ihl+12:ihl+24]) {
		t.Errorf("accepted, and the check value is wrong: %x", ip)
	}
}

// slowChecksum is a second way to RFC 1071: the checksum that the message has is
// the complement of the sum over everything else.
func slowChecksum(msg []byte, src, dst netip.Addr, form ChecksumForm, group netip.Addr) bool {
	b := slices.Clone(msg)
	b[6], b[7] = 0, 0
	if form == ChecksumGroup {
		dst = group
	}
	if form != ChecksumMessage {
		b = append(b, src.AsSlice()...)
		b = append(b, dst.AsSlice()...)
		b = append(b, 0, 112, byte(len(msg)>>8), byte(len(msg)))
	}
	var acc uint64
	for i := 0; i < len(b); i += 2 {
		acc += uint64(b[i])<<8 | uint64(b[i+1])
	}
	for acc > 0xffff {
		acc = acc%0x10000 + acc/0x10000
	}
	has := uint64(msg[6])<<8 | uint64(msg[7])
	return has+acc == 0xffff || has == 0xffff && acc == 0xffff
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

// FuzzStep: whatever happens in whatever order, the machine keeps what it
// promises. Each octet of events is one, and the next how long after.
func FuzzStep(f *testing.F) {
	f.Add(uint8(0), []byte{0, 1, 4, 1, 2, 200, 2, 2, 1, 1, 7, 3})
	f.Add(uint8(0x8d), []byte{4, 1, 0, 255, 2, 255, 2, 2, 18, 18, 34, 34, 50, 9, 1, 255})
	f.Fuzz(func(t *testing.T, kind uint8, events []byte) {
		c := with(func(c *Config) {
			c.Version = Version2 + kind&1
			c.Mode = Mode(kind >> 1 & 1)
			c.Priority = []uint8{1, 100, 150, 255}[kind>>2&3]
			if c.Priority != 255 {
				preempting()[kind>>4&3](c)
			}
			c.HigherPrioSendAdvert = kind&0x40 != 0
			if c.Version == Version3 && kind&0x80 != 0 {
				c.Interval, c.MaxInterval = 100*ms, 2*time.Second
			}
		})
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		m, now, bound := NewMachine(c, hostA), at(0), false
		for ; len(events) >= 2; events = events[2:] {
			now = now.Add(time.Duration(events[1]) * time.Duration(events[1]) * ms)
			before := m
			e := anyEvent(events[0])
			var do []Action
			m, do = Step(m, now, e)
			bound = promises(t, before, m, now, e, do, bound)
			if again, do := Step(m, now, Tick{}); m.Wake() == 0 || now.Before(m.Wake()) {
				if again != m || len(do) != 0 {
					t.Fatalf("a Tick before its time changed\n%+v to\n%+v and did %v", m, again, do)
				}
			}
		}
	})
}

// anyEvent makes an event of an octet.
func anyEvent(b byte) Event {
	src := hostB
	if b&0x80 != 0 {
		src = other4
	}
	switch b & 7 {
	case 0:
		return Startup{}
	case 1:
		return Tick{}
	case 2, 3:
		return Heard{Source: src, Priority: []uint8{0, 1, 149, 150, 151, 254, 255, 100}[b>>4&7], Interval: time.Duration(b>>3&1+1) * 500 * ms, Fellow: b&7 == 3}
	case 4:
		return TenureGained{Succeeds: b&8 != 0}
	case 5:
		return TenureLost{Successor: b&8 != 0}
	case 6:
		return Shutdown{Successor: b&8 != 0}
	default:
		return PriorityChanged{Priority: b >> 3 * 8}
	}
}

// promises checks one step, and returns whether the VIP is bound after it.
func promises(t *testing.T, before, m Machine, now boottime.Instant, e Event, do []Action, bound bool) bool {
	t.Helper()
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s: Step(%+v) made of\n%+v\n%+v, and did %v", what, e, before, m, do)
	}
	removed := false
	for i, a := range do {
		switch a.Verb {
		case SendAdvert:
			switch {
			case m.rules.gate:
				fail("a gate speaks")
			case a.Priority == 0 && (bound || !removed):
				fail("somebody is invited before the VIP is gone")
			case a.Priority != 0 && a.Priority != m.priority:
				fail("an advert has another priority than the router")
			}
		case BindVIP:
			if bound = true; !m.rules.gate && (i == 0 || do[i-1].Verb != SendAdvert) {
				fail("the VIP is bound before the advert")
			}
		case AnnounceVIP:
			if !bound {
				fail("a VIP that is not there is announced")
			}
		case RemoveVIP:
			bound, removed = false, true
		case Warn:
			if a.Warning == 0 {
				fail("it warns of nothing")
			}
		}
	}
	switch wake := m.Wake(); {
	case m.state == Active && !m.tenure:
		fail("Active without the tenure")
	case bound != (m.state == Active):
		fail("the VIP does not go with the state")
	case m.state == Initialize && wake != 0:
		fail("a timer runs in Initialize")
	case m.state == Active && !m.rules.gate && !now.Before(wake):
		if _, late := e.(Tick); late {
			fail("a Tick leaves the advert due")
		}
	case m.better.Adverts > 0 && m.state != Backup:
		fail("it yields, and is not Backup")
	}
	if h, ok := e.(Heard); ok && h.Fellow && m != before && before.state != Active {
		fail("a fellow was heeded")
	}
	return bound
}
