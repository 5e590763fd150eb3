package vip

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A claim is a frame by which its sender says that it has a VIP: an ARP message
// of any kind whose sender protocol address is the VIP, or a neighbour
// advertisement whose target it is. RFC 5227 section 2.4, RFC 4862 section 5.4.4.
type claim struct {
	addr netip.Addr
	mac  net.HardwareAddr
}

// Offsets in an Ethernet frame: of ARP for IPv4 (RFC 826), and of an ICMPv6
// message right behind the IPv6 header (RFC 8200, RFC 4861 section 4.4).
const (
	offSource   = 6
	offType     = 12
	offARP      = 14
	offARPMAC   = 22
	offARPAddr  = 28
	endARP      = 42
	offNext     = 20
	offHopLimit = 21
	offICMP     = 54
	offTarget   = 62
	endAdvert   = 78

	icmpAdvertisement = 136
)

// arpHead is how an ARP message for IPv4 over Ethernet begins, RFC 826.
const arpHead = "\x00\x01\x08\x00\x06\x04"

// openClaims opens a packet socket that receives the claims of others to the
// addresses on one port, all of one family, and nothing else. Frames that this
// host sends do not come to it: a socket of one protocol does not see them.
func openClaims(at port, addrs []netip.Addr) (*packet.Conn, error) {
	protocol := unix.ETH_P_ARP
	if addrs[0].Is6() {
		protocol = unix.ETH_P_IPV6
	}
	filter, err := claimFilter(at.hardware, addrs)
	if err != nil {
		return nil, err
	}
	return packet.Listen(&net.Interface{Index: at.index}, packet.Raw, protocol, &packet.Config{Filter: filter})
}

// claimFilter returns the program that passes the claims of others to addrs:
// all of one family.
func claimFilter(own net.HardwareAddr, addrs []netip.Addr) ([]bpf.RawInstruction, error) {
	var p []bpf.Instruction
	mac, target := uint32(offARPMAC), uint32(offARPAddr)
	if addrs[0].Is6() {
		mac, target = offSource, offTarget
		for _, is := range []struct{ off, value uint32 }{{offNext, unix.IPPROTO_ICMPV6}, {offICMP, icmpAdvertisement}, {offHopLimit, 255}} {
			p = append(p, bpf.LoadAbsolute{Off: is.off, Size: 1},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: is.value, SkipTrue: 1}, bpf.RetConstant{})
		}
	}
	p = append(p,
		bpf.LoadAbsolute{Off: mac, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(own), SkipTrue: 3},
		bpf.LoadAbsolute{Off: mac + 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(binary.BigEndian.Uint16(own[4:])), SkipTrue: 1},
		bpf.RetConstant{},
	)
	for _, a := range addrs {
		b := a.AsSlice()
		for i := 0; i < len(b); i += 4 {
			rest := (len(b) - i) / 4 // words, each two instructions, the last followed by the return
			p = append(p, bpf.LoadAbsolute{Off: target + uint32(i), Size: 4},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(b[i:]), SkipTrue: uint8(2*rest - 1)})
		}
		p = append(p, bpf.RetConstant{Val: frameLength})
	}
	return bpf.Assemble(append(p, bpf.RetConstant{}))
}

// frameLength is how much of a frame is read: all that parseClaim looks at.
const frameLength = 128

// parseClaim reads a frame and checks what the filter does: frames may be in the
// socket's queue from before it was set.
func parseClaim(frame []byte, own net.HardwareAddr, addrs []netip.Addr) (c claim, ok bool) {
	if len(frame) < endARP {
		return c, false
	}
	switch binary.BigEndian.Uint16(frame[offType:]) {
	case unix.ETH_P_ARP:
		if !bytes.HasPrefix(frame[offARP:], []byte(arpHead)) {
			return c, false
		}
		c.mac = frame[offARPMAC:offARPAddr]
		c.addr, _ = netip.AddrFromSlice(frame[offARPAddr : offARPAddr+4])
	case unix.ETH_P_IPV6:
		if len(frame) < endAdvert || frame[offNext] != unix.IPPROTO_ICMPV6 || frame[offICMP] != icmpAdvertisement || frame[offHopLimit] != 255 {
			return c, false
		}
		c.mac = frame[offSource:offType]
		c.addr, _ = netip.AddrFromSlice(frame[offTarget:endAdvert])
	}
	c.mac = slices.Clone(c.mac)
	return c, slices.Contains(addrs, c.addr) && !bytes.Equal(c.mac, own)
}

// byFamily returns the VIPs on a device, those of one family together.
func byFamily(specs []Spec, device string) [][]netip.Addr {
	var v4, v6 []netip.Addr
	for _, sp := range specs {
		switch ip := sp.Prefix.Addr(); {
		case sp.Device != device:
		case ip.Is4():
			v4 = append(v4, ip)
		default:
			v6 = append(v6, ip)
		}
	}
	return slices.DeleteFunc([][]netip.Addr{v4, v6}, func(a []netip.Addr) bool { return len(a) == 0 })
}
