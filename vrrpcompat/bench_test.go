package vrrpcompat

import (
	"net/netip"
	"testing"
)

// a pair is an advert to parse and to write, for the tests of what that costs.
type pair struct {
	reader, writer *Codec
	packet         Packet
}

func pairs(tb testing.TB) map[string]*pair {
	tb.Helper()
	v3 := base()
	v3.Version = Version3
	v6 := base()
	v6.VIPs = addrs("fe80::8:188", "fd00:8::188")
	twenty := base()
	twenty.VIPs = nil
	for i := range 20 {
		twenty.VIPs = append(twenty.VIPs, netip.AddrFrom4([4]byte{10, 20, 9, byte(i)}))
	}
	all := map[string]*pair{}
	for name, c := range map[string]Config{
		"v2": base(), "v2 PASS": withAuth(AuthPass, "s3cret"), "v2 AH": withAuth(AuthAH, "s3cret"),
		"v2 20 VIPs": twenty, "v3 IPv4": v3, "v3 IPv6": v6,
	} {
		own, from := hostA, hostB
		if c.IPv6() {
			own, from = hostA6, hostB6
		}
		p := &pair{reader: newCodec(tb, c, own), writer: newCodec(tb, c, from)}
		p.writer.NextRound()
		p.packet = overheard(p.writer, p.writer.AppendAdvert(nil, 100, p.writer.Destinations()[0]), p.writer.Destinations()[0])
		all[name] = p
	}
	return all
}

// parse reads the packet as if it had not been read before.
func (p *pair) parse(tb testing.TB) {
	tb.Helper()
	p.reader.seq.last = 0
	if _, why := p.reader.ParseAdvert(p.packet); why != Accepted {
		tb.Fatal(why)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	for name, p := range pairs(t) {
		buf := make([]byte, 0, MaxPacket)
		if n := testing.AllocsPerRun(1000, func() { p.parse(t) }); n != 0 {
			t.Errorf("%s: %v allocations per advert parsed", name, n)
		}
		if n := testing.AllocsPerRun(1000, func() {
			p.writer.NextRound()
			buf = p.writer.AppendAdvert(buf[:0], 100, p.writer.Destinations()[0])
		}); n != 0 {
			t.Errorf("%s: %v allocations per advert encoded", name, n)
		}
	}
	refused := pairs(t)["v2"]
	refused.packet.Data[ipv4Header+vrrpPriority]++
	if n := testing.AllocsPerRun(1000, func() {
		if _, why := refused.reader.ParseAdvert(refused.packet); why != ReasonChecksum {
			t.Fatal(why)
		}
	}); n != 0 {
		t.Errorf("%v allocations per advert rejected", n)
	}
}

func BenchmarkParseAdvert(b *testing.B) {
	for name, p := range pairs(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.parse(b)
			}
		})
	}
}

func BenchmarkAppendAdvert(b *testing.B) {
	for name, p := range pairs(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, MaxPacket)
			for b.Loop() {
				p.writer.NextRound()
				buf = p.writer.AppendAdvert(buf[:0], 100, p.writer.Destinations()[0])
			}
		})
	}
}

func BenchmarkStep(b *testing.B) {
	m := router(base(), hostA)
	m, _ = Step(m, 1, Startup{})
	now := at(0)
	h := Heard{Source: hostB, Priority: 200, Interval: 1e9}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(1e9)
		m, _ = Step(m, now, h)
	}
}
