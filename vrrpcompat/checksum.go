package vrrpcompat

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// ChecksumForm is what a VRRP checksum covers: the message always, and perhaps a
// pseudo header of addresses. The routers of a network disagree for version 3
// over IPv4 alone; RFC 5798 section 5.2.8 can be read both ways.
type ChecksumForm uint8

const (
	// ChecksumNone is none that is known. In a Config it means the default.
	ChecksumNone ChecksumForm = iota
	// ChecksumPseudo is with the pseudo header of the real addresses: version 3 of
	// keepalived, and of everybody over IPv6.
	ChecksumPseudo
	// ChecksumMessage is without: version 2, and version 3 over IPv4 in RFC 9568
	// section 5.2.8, of Cisco, Juniper and Arista, and of keepalived's
	// v3_checksum_as_v2.
	ChecksumMessage
	// ChecksumGroup is with a pseudo header to the multicast group in a packet to a
	// unicast peer: keepalived up to 1.3.6, and its old_unicast_checksum. Only on
	// explicit wish is it sent: a keepalived that has seen it once takes nothing
	// else any more.
	ChecksumGroup
)

// String returns the word of the configuration.
func (f ChecksumForm) String() string {
	switch f {
	case ChecksumNone:
		return "none"
	case ChecksumPseudo:
		return "keepalived"
	case ChecksumMessage:
		return "rfc9568"
	case ChecksumGroup:
		return "old_unicast"
	}
	return fmt.Sprintf("form %d", uint8(f))
}

// sum adds b to a one's complement sum, RFC 1071. Everything in VRRP is a multiple
// of four octets long.
func sum(acc uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		acc += uint32(binary.BigEndian.Uint16(b))
	}
	return fold(acc)
}

// fold brings the carries of a sum back in.
func fold(acc uint32) uint32 {
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return acc
}

// whole is what the sum over data and a right checksum comes to.
const whole = 0xffff

// pseudo returns the sum of a pseudo header: RFC 9568 section 5.2.8 for IPv4, RFC
// 8200 section 8.1 for IPv6. Their fields sum up alike.
func pseudo(src, dst netip.Addr, length int) uint32 {
	acc := uint32(protocolVRRP) + uint32(length)
	for _, a := range [...]netip.Addr{src, dst} {
		if a.Is4() {
			b := a.As4()
			acc = sum(acc, b[:])
		} else {
			b := a.As16()
			acc = sum(acc, b[:])
		}
	}
	return acc
}

// checksumForm returns the form in which the checksum of a message is right,
// ChecksumNone where it is in none. Where it happens to be right in two, it is
// the one that we would send.
func (c *Codec) checksumForm(msg []byte, src, dst netip.Addr) ChecksumForm {
	bare := sum(0, msg)
	right := func(f ChecksumForm) bool {
		switch f {
		case ChecksumMessage:
			return bare == whole
		case ChecksumPseudo:
			return fold(bare+pseudo(src, dst, len(msg))) == whole
		case ChecksumGroup:
			return fold(bare+pseudo(src, c.cfg.Group, len(msg))) == whole
		case ChecksumNone:
		}
		return false
	}
	switch {
	case right(c.cfg.Checksum):
		return c.cfg.Checksum
	case c.cfg.Version == Version2 || c.v6:
		return ChecksumNone
	}
	for f := ChecksumPseudo; f <= ChecksumGroup; f++ {
		if right(f) {
			return f
		}
	}
	return ChecksumNone
}

// accepts reports whether an advert with this form of checksum is taken.
func (c *Codec) accepts(f ChecksumForm) bool {
	if f == c.cfg.Checksum {
		return true
	}
	return !c.cfg.ExactChecksum && (f == ChecksumPseudo || f == ChecksumMessage)
}
