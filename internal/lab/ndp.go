package lab

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The types of ICMPv6, RFC 4861 sections 4.3 and 4.4.
const (
	solicitation  = 135
	advertisement = 136
)

// allNodes is the group of all hosts of a link, RFC 4291 section 2.7.1.
func allNodes() netip.Addr { return netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 1}) }

// parseNDP reads an Ethernet frame with a neighbour solicitation or advertisement,
// RFC 4861, as the ARP frame that it stands for: an advertisement is a reply whose
// sender has the target, to whom it goes to; one to all hosts is an announcement.
// A solicitation comes from its source and asks for the target.
func parseNDP(b []byte) (f ARPFrame, ok bool) {
	const ip, icmp, size = 14, 14 + 40, 14 + 40 + 24
	if len(b) < size || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_IPV6 || b[ip+6] != unix.IPPROTO_ICMPV6 {
		return f, false
	}
	from, to := netip.AddrFrom16([16]byte(b[ip+8:ip+24])), netip.AddrFrom16([16]byte(b[ip+24:ip+40]))
	target := netip.AddrFrom16([16]byte(b[icmp+8 : icmp+24]))
	f.SenderMAC, f.TargetMAC = net.HardwareAddr(b[6:12]).String(), net.HardwareAddr(b[:6]).String()
	switch b[icmp] {
	case solicitation:
		f.SenderIP, f.TargetIP = from, target
	case advertisement:
		f.Reply, f.SenderIP, f.TargetIP = true, target, to
		if to == allNodes() {
			f.TargetIP = target
		}
	default:
		return f, false
	}
	return f, true
}

// solicit is a neighbour solicitation of a source for a target, to the group in
// which the target listens, RFC 4861 section 4.3 and RFC 4291 section 2.7.1.
func solicit(mac net.HardwareAddr, from, target netip.Addr) []byte {
	t := target.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]})
	message := []byte{solicitation, 0, 0, 0, 0, 0, 0, 0}
	message = append(append(message, target.AsSlice()...), 1, 1) // option: the source's MAC
	message = append(message, mac...)
	binary.BigEndian.PutUint16(message[2:], checksum6(from, group, message))

	f := append([]byte{0x33, 0x33, 0xff, t[13], t[14], t[15]}, mac...)
	f = binary.BigEndian.AppendUint16(f, unix.ETH_P_IPV6)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(message)))
	f = append(f, unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, from.AsSlice()...), group.AsSlice()...)
	return append(f, message...)
}

// checksum6 is the checksum of an ICMPv6 message of even length, RFC 4443 section
// 2.3, RFC 1071.
func checksum6(from, to netip.Addr, message []byte) uint16 {
	covered := append(append(from.AsSlice(), to.AsSlice()...), 0, 0, byte(len(message)>>8), byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	covered = append(covered, message...)
	var sum uint32
	for ; len(covered) >= 2; covered = covered[2:] {
		sum += uint32(binary.BigEndian.Uint16(covered))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
