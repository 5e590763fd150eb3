package vrrpcompat

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"
)

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
