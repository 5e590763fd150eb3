package fence

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// What the programs return, linux/pkt_cls.h: go on with the next program or
// filter, or drop.
const (
	verdictNext = -1
	verdictDrop = 2
)

// Offsets in struct __sk_buff, linux/bpf.h, and a value of its pkt_type,
// linux/if_packet.h.
const (
	skbPacketType     = 4
	skbIngressIfindex = 36
	packetLoopback    = 5
)

// Numbers of the wire, in the order of their section in IEEE 802.3, RFC 791, 826,
// 8200, 9293, 4861.
const (
	etherLen = 14
	ip4Len   = 20
	ip6Len   = 40
	arpLen   = 28
	ndLen    = 24 // of a solicitation or advertisement, without options

	protocolTCP    = 6
	protocolICMPv6 = 58
	flagRST        = 0x04
	solicitation   = 135
	advertisement  = 136
	hopLimit       = 255
)

// Where the programs keep a copy of the frame, below the frame pointer: the
// network header is aligned to 8, which makes the addresses in it aligned too.
const (
	network = -80
	frame   = network - etherLen
	scratch = -8
)

// A role is what a device's program is for.
type role uint8

const (
	// roleOwn: the VIP's own device. Everything, and claims.
	roleOwn role = iota
	// roleLoop: the loopback device. Everything; nobody can claim there.
	roleLoop
	// roleOther: another Ethernet device. Who asks there for the VIP's MAC, and
	// what this host itself would answer. What it merely forwards passes: a
	// standby may be the router of the VIP's clients, its containers for example.
	roleOther
	// roleBelow: the device below the VIP's own, a macvlan, which claims do not get
	// to whose sender has the same MAC address. As roleOther, and claims.
	roleBelow
)

// other: what the host merely forwards passes.
func (r role) other() bool { return r == roleOther || r == roleBelow }

// hears: claims shut the fence.
func (r role) hears() bool { return r == roleOwn || r == roleBelow }

// A design is what a program is made from.
type design struct {
	addr   netip.Addr
	role   role
	egress bool
	own    [][6]byte // MACs that are no foreign ones; of those that hear claims
}

// key tells two designs apart.
func (d design) key() string {
	macs := make([]string, len(d.own))
	for i, m := range d.own {
		macs[i] = hex.EncodeToString(m[:])
	}
	return fmt.Sprintf("%d %t %s", d.role, d.egress, strings.Join(macs, " "))
}

func (d design) name() string {
	if d.egress {
		return programOut
	}
	return programIn
}

// Names of the programs: what bpftool shows, and how Purge knows them.
const (
	programIn  = "lh_fence_in"
	programOut = "lh_fence_out"
)

// load returns the program, which has to be closed.
func (d design) load(m *ebpf.Map) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         d.name(),
		Type:         ebpf.SchedCLS,
		License:      "Apache-2.0", // no helper in it asks for the GPL
		Instructions: d.assemble(m.FD()),
	})
}

// assemble writes the program. It passes what it cannot read (short frames): the
// kernel can read no address in them either.
func (d design) assemble(mapFD int) asm.Instructions {
	a := &assembler{mapFD: mapFD}
	a.add(asm.Mov.Reg(asm.R6, asm.R1))
	if !d.egress {
		// What this host sent to a multicast group comes back to it without a
		// link header (dev_loopback_xmit in net/core/dev.c). It is our own.
		a.add(
			asm.LoadMem(asm.R1, asm.R6, skbPacketType, asm.Word),
			asm.JEq.Imm(asm.R1, packetLoopback, "pass"),
		)
	} else if d.role.other() {
		// skb_iif: 0 for what this host made itself.
		a.add(
			asm.LoadMem(asm.R1, asm.R6, skbIngressIfindex, asm.Word),
			asm.JNE.Imm(asm.R1, 0, "pass"),
		)
	}
	switch {
	case d.addr.Is4() && d.egress:
		d.answer4(a)
	case d.addr.Is4():
		d.question4(a)
	case d.egress:
		d.answer6(a)
	default:
		d.question6(a)
	}
	a.at("pass")
	a.add(asm.Mov.Imm(asm.R0, verdictNext), asm.Return())
	return a.ins
}

// question4: ingress, IPv4 and ARP.
func (d design) question4(a *assembler) {
	vip := d.addr.AsSlice()
	a.copyFrame(0, frame, etherLen+ip4Len, "pass")
	if !d.role.other() {
		a.unless(frame+12, []byte{0x08, 0x00}, "arp")
		a.unless(network+16, vip, "pass") // daddr
		a.add(asm.Ja.Label("question"))
		a.at("arp")
	}
	a.arp("pass")
	a.unless(network+14, vip, "target") // spa
	if d.role.hears() {
		d.claim(a, network+8)
	} else {
		a.add(asm.Ja.Label("pass"))
	}
	a.at("target")
	a.unless(network+24, vip, "pass") // tpa
	a.dropUnlessOpen("question")
}

// answer4: egress, IPv4 and ARP.
func (d design) answer4(a *assembler) {
	vip := d.addr.AsSlice()
	a.copyFrame(0, frame, etherLen+ip4Len, "pass")
	a.unless(frame+12, []byte{0x08, 0x00}, "arp")
	a.unless(network+12, vip, "pass") // saddr
	a.passIfOpen("")
	// Not open: only the first fragment of a TCP segment can have an RST.
	a.unless(network+9, []byte{protocolTCP}, "drop")
	a.add(
		asm.LoadMem(asm.R1, asm.R10, network+6, asm.Half),
		asm.And.Imm(asm.R1, int32(nativeHalf([]byte{0x1f, 0xff}))),
		asm.JNE.Imm(asm.R1, 0, "drop"),
		asm.LoadMem(asm.R2, asm.R10, network, asm.Byte),
		asm.And.Imm(asm.R2, 0x0f), // IHL, in words of 4 bytes
		asm.LSh.Imm(asm.R2, 2),
		asm.Add.Imm(asm.R2, etherLen+13),
	)
	a.passIfRST()
	a.at("arp")
	a.arp("pass")
	a.unless(network+14, vip, "pass") // spa
	a.dropUnlessOpen("")
}

// question6: ingress, IPv6 and neighbour discovery.
func (d design) question6(a *assembler) {
	vip := d.addr.AsSlice()
	a.copyFrame(0, frame, etherLen+ip6Len, "pass")
	a.unless(frame+12, []byte{0x86, 0xdd}, "pass")
	notND := "packet"
	if d.role.other() {
		notND = "pass"
	}
	a.unless(network+6, []byte{protocolICMPv6}, notND)
	a.copyFrame(etherLen+ip6Len, network+ip6Len, ndLen, notND)
	a.unless(network+ip6Len, []byte{advertisement}, "solicitation")
	a.unless(network+ip6Len+8, vip, notND) // target
	if d.role.hears() {
		a.unless(network+7, []byte{hopLimit}, "pass") // RFC 4861 section 7.1.2
		d.claim(a, frame+6)
	} else {
		a.add(asm.Ja.Label("pass"))
	}
	a.at("solicitation")
	a.unless(network+ip6Len, []byte{solicitation}, notND)
	a.unless(network+ip6Len+8, vip, notND) // target
	if !d.role.other() {
		a.add(asm.Ja.Label("question"))
		a.at("packet")
		a.unless(network+24, vip, "pass") // daddr
	}
	a.dropUnlessOpen("question")
}

// answer6: egress, IPv6 and neighbour discovery.
func (d design) answer6(a *assembler) {
	vip := d.addr.AsSlice()
	a.copyFrame(0, frame, etherLen+ip6Len, "pass")
	a.unless(frame+12, []byte{0x86, 0xdd}, "pass")
	a.unless(network+8, vip, "advertisement") // saddr
	a.passIfOpen("")
	a.unless(network+6, []byte{protocolTCP}, "drop")
	a.add(asm.Mov.Imm(asm.R2, etherLen+ip6Len+13))
	a.passIfRST()
	a.at("advertisement")
	a.unless(network+6, []byte{protocolICMPv6}, "pass")
	a.copyFrame(etherLen+ip6Len, network+ip6Len, ndLen, "pass")
	a.unless(network+ip6Len, []byte{advertisement}, "pass")
	a.unless(network+ip6Len+8, vip, "pass") // target
	a.dropUnlessOpen("")
}

// claim shuts an open fence when neither the claimant that the message names (at
// off) nor the frame's sender is this host, and passes the frame.
func (d design) claim(a *assembler, off int16) {
	for _, at := range uniq(off, frame+6) {
		for i, m := range d.own {
			next := fmt.Sprintf("mac %d %d", at, i)
			a.unless(at, m[:], next)
			a.add(asm.Ja.Label("pass"))
			a.at(next)
		}
	}
	a.add(
		asm.LoadMem(asm.R8, asm.R10, off, asm.Word),
		asm.LoadMem(asm.R9, asm.R10, off+4, asm.Half),
		asm.LoadMapValue(asm.R7, a.mapFD, 0),
		asm.FnKtimeGetBootNs.Call(),
		asm.LoadMem(asm.R1, asm.R7, offDeadline, asm.DWord),
		asm.JGE.Reg(asm.R0, asm.R1, "pass"),
		asm.StoreMem(asm.R7, offClaimedAt, asm.R0, asm.DWord),
		asm.StoreMem(asm.R7, offClaimMAC, asm.R8, asm.Word),
		asm.StoreMem(asm.R7, offClaimMAC+4, asm.R9, asm.Half),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R7, asm.R1, asm.DWord, offClaims),
		// Last, so that who sees it sees the rest. A plain store: of a claim and a
		// renewal at the same moment, the claim wins.
		asm.Mov.Imm(asm.R1, claimed),
		asm.StoreMem(asm.R7, offDeadline, asm.R1, asm.DWord),
		asm.Ja.Label("pass"),
	)
}

func uniq(a, b int16) []int16 {
	if a == b {
		return []int16{a}
	}
	return []int16{a, b}
}
