package fence

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"leasehold/internal/boottime"
)

var (
	ours      = [6]byte{2, 0, 0, 0, 0, 1}
	second    = [6]byte{2, 0, 0, 0, 0, 2} // another device of ours
	theirs    = [6]byte{2, 0, 0, 0, 0, 9}
	broadcast = [6]byte{255, 255, 255, 255, 255, 255}
	client4   = netip.MustParseAddr("10.20.8.99")
	client6   = netip.MustParseAddr("fd00:20:8::99")
	none4     = netip.IPv4Unspecified()
)

func ether(dst, src [6]byte, proto uint16, payload ...byte) []byte {
	f := append(slices.Clone(dst[:]), src[:]...)
	return append(binary.BigEndian.AppendUint16(f, proto), payload...)
}

// arpFrame is padded to the 60 bytes of the wire.
func arpFrame(op uint16, src, sha [6]byte, spa netip.Addr, tha [6]byte, tpa netip.Addr) []byte {
	p := []byte{0, 1, 8, 0, 6, 4, 0, byte(op)}
	p = append(append(p, sha[:]...), spa.AsSlice()...)
	p = append(append(p, tha[:]...), tpa.AsSlice()...)
	return ether(broadcast, src, 0x0806, append(p, make([]byte, 18)...)...)
}

// ip4Frame has options of that many words, and a fragment field.
func ip4Frame(src, dst netip.Addr, proto byte, fragment uint16, options int, payload ...byte) []byte {
	h := make([]byte, 20+4*options)
	h[0], h[8], h[9] = byte(0x45+options), 64, proto
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(payload)))
	binary.BigEndian.PutUint16(h[6:], fragment)
	copy(h[12:], src.AsSlice())
	copy(h[16:], dst.AsSlice())
	return ether(ours, theirs, 0x0800, append(h, payload...)...)
}

func ip6Frame(src [6]byte, from, to netip.Addr, next, hops byte, payload ...byte) []byte {
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, next, hops
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], from.AsSlice())
	copy(h[24:], to.AsSlice())
	return ether(ours, src, 0x86dd, append(h, payload...)...)
}

// nd is a solicitation or advertisement.
func nd(src [6]byte, kind byte, from, to, target netip.Addr, hops byte) []byte {
	p := append([]byte{kind, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
	return ip6Frame(src, from, to, protocolICMPv6, hops, append(p, 2, 1, 2, 0, 0, 0, 0, 9)...)
}

func tcp(flags byte) []byte {
	p := make([]byte, 20)
	p[12], p[13] = 0x50, flags
	return p
}

const (
	flagSYN  = 0x02
	flagACK  = 0x10
	fragMore = 0x2000
)

var (
	udp  = make([]byte, 12)
	ping = []byte{8, 0, 0, 0, 0, 0, 0, 1}
)

// bench is a map and the programs on it, attached to nothing.
type bench struct {
	m   *ebpf.Map
	mem *deadline
}

func newBench(t testing.TB) *bench {
	t.Helper()
	needKernel(t)
	m, err := ebpf.NewMap(spec())
	ok(t, err)
	d, err := mapDeadline(m)
	ok(t, err)
	t.Cleanup(func() { ok(t, d.close()) })
	return &bench{m, d}
}

func (b *bench) program(t testing.TB, addr netip.Addr, r role, egress bool) *ebpf.Program {
	t.Helper()
	d := design{addr: addr, role: r, egress: egress}
	if r == roleOwn && !egress {
		d.own = [][6]byte{ours, second}
	}
	p, err := d.load(b.m)
	ok(t, err)
	t.Cleanup(func() { ok(t, p.Close()) })
	return p
}

func (b *bench) set(t testing.TB, until boottime.Instant) {
	t.Helper()
	ok(t, b.mem.shut())
	if until > 0 {
		ok(t, b.mem.arm(until, false))
	}
}

// drops runs the program on the frame.
func drops(t testing.TB, p *ebpf.Program, frame []byte) bool {
	t.Helper()
	verdict, _, err := p.Test(frame)
	ok(t, err)
	switch int32(verdict) {
	case verdictNext:
		return false
	case verdictDrop:
		return true
	}
	t.Fatalf("verdict %d of frame %x; want %d or %d", int32(verdict), frame, verdictNext, verdictDrop)
	return false
}

type frameCase struct {
	name   string
	frame  []byte
	own    bool // dropped when shut, on the VIP's own device
	other  bool // and on another
	claims bool // shuts an open fence, on the VIP's own device
}

var in4 = []frameCase{
	{name: "arp request", frame: arpFrame(1, theirs, theirs, client4, [6]byte{}, vip4), own: true, other: true},
	{name: "arp probe", frame: arpFrame(1, theirs, theirs, none4, [6]byte{}, vip4), own: true, other: true},
	{name: "arp request of IEEE 802 hardware", frame: with(arpFrame(1, theirs, theirs, client4, [6]byte{}, vip4), 15, 6), own: true, other: true},
	{name: "garp request", frame: arpFrame(1, theirs, theirs, vip4, [6]byte{}, vip4), claims: true},
	{name: "garp reply", frame: arpFrame(2, theirs, theirs, vip4, theirs, vip4), claims: true},
	{name: "arp reply of the new holder", frame: arpFrame(2, theirs, theirs, vip4, ours, client4), claims: true},
	{name: "arp request of the new holder", frame: arpFrame(1, theirs, theirs, vip4, [6]byte{}, client4), claims: true},
	{name: "own garp", frame: arpFrame(1, ours, ours, vip4, [6]byte{}, vip4)},
	{name: "own garp of another device", frame: arpFrame(1, second, second, vip4, [6]byte{}, vip4)},
	{name: "own garp sent on by another host", frame: arpFrame(1, theirs, ours, vip4, [6]byte{}, vip4)},
	{name: "own frame with a foreign claim", frame: arpFrame(1, ours, theirs, vip4, [6]byte{}, vip4)},
	{name: "arp for another address", frame: arpFrame(1, theirs, theirs, client4, [6]byte{}, vip4.Next())},
	{name: "garp of another address", frame: arpFrame(1, theirs, theirs, vip4.Next(), [6]byte{}, vip4.Next())},
	{name: "arp of another protocol", frame: with(arpFrame(1, theirs, theirs, vip4, [6]byte{}, vip4), 16, 0x86)},
	{name: "arp of long hardware addresses", frame: with(arpFrame(1, theirs, theirs, client4, [6]byte{}, vip4), 18, 8)},
	{name: "ping", frame: ip4Frame(client4, vip4, 1, 0, 0, ping...), own: true},
	{name: "udp", frame: ip4Frame(client4, vip4, 17, 0, 0, udp...), own: true},
	{name: "syn", frame: ip4Frame(client4, vip4, 6, 0, 0, tcp(flagSYN)...), own: true},
	{name: "rst to the vip", frame: ip4Frame(client4, vip4, 6, 0, 0, tcp(flagRST)...), own: true},
	{name: "fragment", frame: ip4Frame(client4, vip4, 17, 100, 0, udp...), own: true},
	{name: "header only", frame: ip4Frame(client4, vip4, 59, 0, 0), own: true},
	{name: "options", frame: ip4Frame(client4, vip4, 17, 0, 10, udp...), own: true},
	{name: "answer of the vip to us, its client", frame: ip4Frame(vip4, client4, 6, 0, 0, tcp(flagACK)...)},
	{name: "udp to another", frame: ip4Frame(client4, vip4.Prev(), 17, 0, 0, udp...)},
	{name: "ip6 with the address inside", frame: ip6Frame(theirs, client6, client6, 17, 64, append(udp, vip4.AsSlice()...)...)},
	{name: "another ethertype", frame: with(ip4Frame(client4, vip4, 17, 0, 0, udp...), 12, 0x88)},
}

var in6 = []frameCase{
	{name: "solicitation", frame: nd(theirs, 135, client6, solicited(vip6), vip6, 255), own: true, other: true},
	{name: "duplicate address detection", frame: nd(theirs, 135, netip.IPv6Unspecified(), solicited(vip6), vip6, 255), own: true, other: true},
	{name: "advertisement", frame: nd(theirs, 136, vip6, netip.IPv6LinkLocalAllNodes(), vip6, 255), claims: true},
	{name: "advertisement to the vip itself", frame: nd(theirs, 136, vip6, vip6, vip6, 255), claims: true},
	{name: "advertisement from afar", frame: nd(theirs, 136, vip6, netip.IPv6LinkLocalAllNodes(), vip6, 254)},
	{name: "own advertisement", frame: nd(ours, 136, vip6, netip.IPv6LinkLocalAllNodes(), vip6, 255)},
	{name: "own advertisement of another device", frame: nd(second, 136, vip6, netip.IPv6LinkLocalAllNodes(), vip6, 255)},
	{name: "advertisement of another address", frame: nd(theirs, 136, client6, netip.IPv6LinkLocalAllNodes(), client6, 255)},
	{name: "advertisement of another address to the vip", frame: nd(theirs, 136, client6, vip6, client6, 255), own: true},
	{name: "solicitation of another address", frame: nd(theirs, 135, client6, solicited(client6), client6, 255)},
	{name: "solicitation of another address to the vip", frame: nd(theirs, 135, client6, vip6, client6, 255), own: true},
	{name: "ping", frame: ip6Frame(theirs, client6, vip6, 58, 64, 128, 0, 0, 0, 0, 0, 0, 1), own: true},
	{name: "udp", frame: ip6Frame(theirs, client6, vip6, 17, 64, udp...), own: true},
	{name: "syn", frame: ip6Frame(theirs, client6, vip6, 6, 64, tcp(flagSYN)...), own: true},
	{name: "header only", frame: ip6Frame(theirs, client6, vip6, 59, 64), own: true},
	{name: "answer of the vip to us, its client", frame: ip6Frame(theirs, vip6, client6, 6, 64, tcp(flagACK)...)},
	{name: "router advertisement", frame: nd(theirs, 134, client6, netip.IPv6LinkLocalAllNodes(), vip6, 255)},
	{name: "udp to another", frame: ip6Frame(theirs, client6, vip6.Next(), 17, 64, udp...)},
	{name: "arp", frame: arpFrame(1, theirs, theirs, client4, [6]byte{}, vip4)},
	{name: "ip4", frame: ip4Frame(client4, vip4, 17, 0, 0, udp...)},
}

var out4 = []frameCase{
	{name: "arp reply", frame: arpFrame(2, ours, ours, vip4, theirs, client4), own: true, other: true},
	{name: "garp", frame: arpFrame(1, ours, ours, vip4, [6]byte{}, vip4), own: true, other: true},
	{name: "arp request from the vip", frame: arpFrame(1, ours, ours, vip4, [6]byte{}, client4), own: true, other: true},
	{name: "arp request for the vip", frame: arpFrame(1, ours, ours, client4, [6]byte{}, vip4)},
	{name: "arp probe for the vip", frame: arpFrame(1, ours, ours, none4, [6]byte{}, vip4)},
	{name: "pong", frame: ip4Frame(vip4, client4, 1, 0, 0, ping...), own: true, other: true},
	{name: "udp", frame: ip4Frame(vip4, client4, 17, 0, 0, udp...), own: true, other: true},
	{name: "udp with an rst's bit", frame: ip4Frame(vip4, client4, 17, 0, 0, tcp(flagRST)...), own: true, other: true},
	{name: "syn ack", frame: ip4Frame(vip4, client4, 6, 0, 0, tcp(flagSYN|flagACK)...), own: true, other: true},
	{name: "rst", frame: ip4Frame(vip4, client4, 6, 0, 0, tcp(flagRST)...)},
	{name: "rst ack", frame: ip4Frame(vip4, client4, 6, 0, 0, tcp(flagRST|flagACK)...)},
	{name: "rst after options", frame: ip4Frame(vip4, client4, 6, 0, 10, tcp(flagRST)...)},
	{name: "options that look like an rst", frame: with(ip4Frame(vip4, client4, 6, 0, 10, tcp(flagACK)...), 34+13, flagRST), own: true, other: true},
	{name: "first fragment of an rst", frame: ip4Frame(vip4, client4, 6, fragMore, 0, tcp(flagRST)...)},
	{name: "later fragment that looks like an rst", frame: ip4Frame(vip4, client4, 6, 1, 0, tcp(flagRST)...), own: true, other: true},
	{name: "last fragment that looks like an rst", frame: ip4Frame(vip4, client4, 6, 0x1fff, 0, tcp(flagRST)...), own: true, other: true},
	{name: "tcp without flags", frame: ip4Frame(vip4, client4, 6, 0, 0, tcp(0)[:13]...), own: true, other: true},
	{name: "to the vip, its client", frame: ip4Frame(client4, vip4, 6, 0, 0, tcp(flagSYN)...)},
	{name: "from the host's own address", frame: ip4Frame(client4, vip4.Next(), 17, 0, 0, udp...)},
}

var out6 = []frameCase{
	{name: "advertisement", frame: nd(ours, 136, vip6, client6, vip6, 255), own: true, other: true},
	{name: "advertisement from the host's own address", frame: nd(ours, 136, client6, client6, vip6, 255), own: true, other: true},
	{name: "advertisement of the host's own address", frame: nd(ours, 136, client6, client6, client6, 255)},
	{name: "solicitation of the vip", frame: nd(ours, 135, client6, solicited(vip6), vip6, 255)},
	{name: "solicitation from the vip", frame: nd(ours, 135, vip6, solicited(client6), client6, 255), own: true, other: true},
	{name: "pong", frame: ip6Frame(ours, vip6, client6, 58, 64, 129, 0, 0, 0, 0, 0, 0, 1), own: true, other: true},
	{name: "syn ack", frame: ip6Frame(ours, vip6, client6, 6, 64, tcp(flagSYN|flagACK)...), own: true, other: true},
	{name: "rst", frame: ip6Frame(ours, vip6, client6, 6, 64, tcp(flagRST|flagACK)...)},
	{name: "udp with an rst's bit", frame: ip6Frame(ours, vip6, client6, 17, 64, tcp(flagRST)...), own: true, other: true},
	{name: "tcp without flags", frame: ip6Frame(ours, vip6, client6, 6, 64, tcp(0)[:13]...), own: true, other: true},
	{name: "rst behind a fragment header", frame: ip6Frame(ours, vip6, client6, 44, 64, append([]byte{6, 0, 0, 8, 0, 0, 0, 0}, tcp(flagRST)...)...), own: true, other: true},
	{name: "to the vip, its client", frame: ip6Frame(ours, client6, vip6, 6, 64, tcp(flagSYN)...)},
}

func with(frame []byte, at int, value byte) []byte {
	frame = slices.Clone(frame)
	frame[at] = value
	return frame
}

func solicited(a netip.Addr) netip.Addr {
	b := a.As16()
	g := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(g[13:], b[13:])
	return netip.AddrFrom16(g)
}

var tables = []struct {
	name   string
	addr   netip.Addr
	egress bool
	cases  []frameCase
}{
	{"in4", vip4, false, in4},
	{"in6", vip6, false, in6},
	{"out4", vip4, true, out4},
	{"out6", vip6, true, out6},
}

func TestVerdicts(t *testing.T) {
	b := newBench(t)
	for _, table := range tables {
		own := b.program(t, table.addr, roleOwn, table.egress)
		loop := b.program(t, table.addr, roleLoop, table.egress)
		other := b.program(t, table.addr, roleOther, table.egress)
		for _, c := range table.cases {
			t.Run(table.name+"/"+c.name, func(t *testing.T) { b.judge(t, c, own, loop, other) })
		}
	}
}

func (b *bench) judge(t *testing.T, c frameCase, own, loop, other *ebpf.Program) {
	t.Helper()
	expect := func(when, where string, p *ebpf.Program, want bool) {
		t.Helper()
		if got := drops(t, p, c.frame); got != want {
			t.Errorf("%s, %s: dropped %t; want %t", when, where, got, want)
		}
	}
	b.set(t, 0)
	expect("shut", "own", own, c.own)
	expect("shut", "lo", loop, c.own)
	expect("shut", "other", other, c.other)
	b.set(t, boottime.Now()-1)
	expect("past", "own", own, c.own)
	if s := b.mem.state(); s.Claimed || s.Claims != 0 {
		t.Errorf("claimed while shut: %+v", s)
	}
	b.set(t, in(patience))
	expect("open", "other", other, false)
	expect("open", "lo", loop, false)
	before := boottime.Now()
	if s := b.mem.state(); s.Claimed {
		t.Errorf("claimed on lo or another device: %+v", s)
	}
	expect("open", "own", own, false)
	s := b.mem.state()
	if s.Claimed != c.claims {
		t.Fatalf("claimed %t; want %t", s.Claimed, c.claims)
	}
	if !c.claims {
		return
	}
	if now := boottime.Now(); s.Claims != 1 || s.ClaimMAC != theirs || s.ClaimedAt < before || s.ClaimedAt > now || s.Until != 0 {
		t.Errorf("claim: %+v; want one of %x between %d and %d", s, theirs, before, now)
	}
	expect("claimed", "own", own, c.own)
	b.reset(t)
}

// reset forgets the claims.
func (b *bench) reset(t testing.TB) {
	t.Helper()
	ok(t, b.m.Put(uint32(0), make([]byte, valueSize)))
	ok(t, b.mem.shut())
}

// shortest is what BPF_PROG_TEST_RUN takes: the whole header of an IP packet
// (bpf_prog_test_run_skb in net/bpf/test_run.c). TestShortFramesOnTheWire has
// what is shorter.
func shortest(frame []byte) int {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		return etherLen + ip4Len
	case 0x86dd:
		return etherLen + ip6Len
	}
	return etherLen + 1
}

// Frames cut short at every length pass or drop, and claim nothing that they do
// not have.
func TestTruncatedFrames(t *testing.T) {
	b := newBench(t)
	n := 0
	for _, table := range tables {
		own := b.program(t, table.addr, roleOwn, table.egress)
		other := b.program(t, table.addr, roleOther, table.egress)
		for _, c := range table.cases {
			for cut := shortest(c.frame); cut < len(c.frame); cut++ {
				b.set(t, in(patience))
				for _, p := range []*ebpf.Program{own, other} {
					if drops(t, p, c.frame[:cut]) {
						t.Fatalf("%s/%s cut to %d bytes: dropped while open", table.name, c.name, cut)
					}
				}
				if s := b.mem.state(); s.Claimed && (!c.claims || cut < etherLen+arpLen) {
					t.Fatalf("%s/%s cut to %d bytes is a claim", table.name, c.name, cut)
				}
				b.set(t, 0)
				if drops(t, own, c.frame[:cut]) && !c.own && !c.claims && !table.egress {
					// Of an answer too short to show an RST nobody knows that it is one.
					t.Fatalf("%s/%s cut to %d bytes: dropped; whole it is not", table.name, c.name, cut)
				}
				drops(t, other, c.frame[:cut])
				n++
			}
		}
	}
	t.Logf("%d frames", n)
}

// Whatever is in a frame, it passes or drops, and while open it passes.
func FuzzFrame(f *testing.F) {
	for _, table := range tables {
		for _, c := range table.cases {
			f.Add(c.frame)
		}
	}
	b := newBench(f)
	var all []*ebpf.Program
	for _, table := range tables {
		for _, r := range []role{roleOwn, roleLoop, roleOther} {
			all = append(all, b.program(f, table.addr, r, table.egress))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) <= etherLen || len(frame) > 1514 || len(frame) < shortest(frame) {
			return
		}
		for _, p := range all {
			b.set(t, in(patience))
			if drops(t, p, frame) {
				t.Fatal("dropped while open")
			}
			b.set(t, 0)
			drops(t, p, frame)
		}
	})
}

// nothing is what the others cost without themselves.
func (b *bench) nothing(t testing.TB) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdictNext), asm.Return()}})
	ok(t, err)
	t.Cleanup(func() { ok(t, p.Close()) })
	return p
}

// The cost of one frame, by BPF_PROG_TEST_RUN.
func BenchmarkFrame(b *testing.B) {
	w := newBench(b)
	in := func(addr netip.Addr) *ebpf.Program { return w.program(b, addr, roleOwn, false) }
	for _, c := range []struct {
		name  string
		p     *ebpf.Program
		frame []byte
	}{
		{"nothing", w.nothing(b), ip4Frame(client4, vip4, 6, 0, 0, tcp(flagACK)...)},
		{"vip4-open", in(vip4), ip4Frame(client4, vip4, 6, 0, 0, tcp(flagACK)...)},
		{"other4", in(vip4), ip4Frame(client4, vip4.Next(), 6, 0, 0, tcp(flagACK)...)},
		{"arp-other", in(vip4), arpFrame(1, theirs, theirs, client4, [6]byte{}, vip4.Next())},
		{"vip6-open", in(vip6), ip6Frame(theirs, client6, vip6, 6, 64, tcp(flagACK)...)},
		{"other6", in(vip6), ip6Frame(theirs, client6, vip6.Next(), 6, 64, tcp(flagACK)...)},
		{"out-vip4-open", w.program(b, vip4, roleOwn, true), ip4Frame(vip4, client4, 6, 0, 0, tcp(flagACK)...)},
		{"out-other4", w.program(b, vip4, roleOwn, true), ip4Frame(client4, vip4, 6, 0, 0, tcp(flagACK)...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w.set(b, boottime.Now().Add(3600e9))
			_, each, err := c.p.Benchmark(c.frame, max(b.N, 100), b.ResetTimer)
			ok(b, err)
			b.ReportMetric(float64(each.Nanoseconds()), "ns/frame")
		})
	}
}
