package vrrpcompat

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// A Packet is what a raw socket received.
type Packet struct {
	// Data is for IPv4 the datagram with its header (raw(7)), for IPv6 the message
	// alone (RFC 3542 section 3).
	Data []byte
	// Src, Dst and HopLimit are for IPv6, which has them beside the data.
	Src, Dst netip.Addr
	HopLimit uint8
}

// An Advert is what was read of a packet. Of a rejected one the fields are as far
// as the check that it failed needed them, and nothing that they say is proven.
type Advert struct {
	Source, Destination netip.Addr
	TTL                 uint8 // or hop limit

	Version  uint8
	VRID     uint8
	Priority uint8
	Interval time.Duration // as it is said, not as it may be learned
	Auth     AuthType
	Sequence uint32       // of the authentication header
	Checksum ChecksumForm // in which the checksum is right
	// VIPsDiffer: the addresses are not our VIPs, which Config.ExactVIPs forgives.
	VIPsDiffer bool
	// Addrs are the addresses in the order of the packet. They are good until the
	// next ParseAdvert; whoever keeps them clones them.
	Addrs []netip.Addr
}

// VRID returns the router that a packet is for, so that the codec of that router
// gets it; false where it is too short to say. v6 is the family of the socket.
func (p Packet) VRID(v6 bool) (uint8, bool) {
	d, why := dissect(p, v6)
	if why != Accepted {
		return 0, false
	}
	return d.msg[vrrpVRID], true
}

// dissection is where the parts of a packet are.
type dissection struct {
	ip       []byte // IPv4: the datagram, without what follows its total length
	ihl      int
	protocol uint8
	msg      []byte // at least the VRRP header
	src, dst netip.Addr
	ttl      uint8
}

// dissect finds them. Octets behind the total length of an IPv4 datagram are
// padding of the frame, which the kernel takes off (ip_rcv_core) and a capture has.
func dissect(p Packet, v6 bool) (dissection, Reason) {
	if v6 {
		d := dissection{protocol: protocolVRRP, msg: p.Data, src: p.Src.WithZone(""), dst: p.Dst.WithZone(""), ttl: p.HopLimit}
		if len(d.msg) < vrrpHeader {
			return d, ReasonShort
		}
		return d, Accepted
	}
	ip := p.Data
	if len(ip) < ipv4Header {
		return dissection{}, ReasonShort
	}
	d := dissection{
		ihl: int(ip[0]&0x0f) * 4, protocol: ip[ipProtocol], ttl: ip[ipTTL],
		src: netip.AddrFrom4([4]byte(ip[ipSource:])), dst: netip.AddrFrom4([4]byte(ip[ipTarget:])),
	}
	total := int(binary.BigEndian.Uint16(ip[ipLength:]))
	if ip[0]>>4 != 4 || d.ihl < ipv4Header || d.ihl > total || total > len(ip) || d.protocol != protocolVRRP && d.protocol != protocolAH {
		return d, ReasonIPHeader
	}
	d.ip = ip[:total]
	d.msg = d.ip[d.ihl:]
	if d.protocol == protocolAH {
		d.msg = d.msg[min(ahHeader, len(d.msg)):]
	}
	if len(d.msg) < vrrpHeader {
		return d, ReasonShort
	}
	return d, Accepted
}

// ParseAdvert reads a packet, and says why it is to be ignored; Accepted: it is
// not. It never panics and allocates nothing.
//
// Of keepalived's checks the third (an instance that is not up hears nothing) is
// the Machine's, and the thirteenth (IPv4's total length is what was received) is
// made first, because everything rests on it. What keepalived does not check and
// this does: an interval of 0, a version 3 IPv6 checksum that the kernel would
// have thrown away, the exact group, and, in unicast, that the source is a peer.
func (c *Codec) ParseAdvert(p Packet) (Advert, Reason) {
	d, why := dissect(p, c.v6)
	a := Advert{Source: d.src, Destination: d.dst, TTL: d.ttl}
	if why != Accepted {
		return a, why
	}
	a.Version, a.VRID, a.Priority = d.msg[vrrpVersion]>>4, d.msg[vrrpVRID], d.msg[vrrpPriority]
	switch {
	case a.VRID != c.cfg.VRID:
		return a, ReasonVRID
	case a.Source == c.own:
		return a, ReasonOwn
	case c.v6 && !c.addressed(a.Destination):
		return a, ReasonCast
	case (d.protocol == protocolAH) != (c.mac != nil):
		if c.mac != nil {
			return a, ReasonNoAH
		}
		return a, ReasonAH
	}
	if why := c.checkLength(d.msg); why != Accepted {
		return a, why
	}
	c.readBody(&a, d.msg)
	switch {
	case !c.cfg.Unicast() && a.TTL != maxTTL:
		return a, ReasonTTL
	case a.Version != c.cfg.Version:
		return a, ReasonVersion
	}
	if c.cfg.Version == Version2 {
		if why := c.checkAuth(&a, d); why != Accepted {
			return a, why
		}
	}
	why = c.checkMessage(&a, d.msg)
	return a, why
}

// Heard returns the event that an advert is for the machine; false: it is none.
// Behind a gate that is also one of a router that is configured otherwise, or that
// counts from 1 again after a restart: it is there, and has the VIP, although the
// two cannot agree on anything. Fellow is for the caller to set.
func (c *Codec) Heard(a Advert, why Reason) (Heard, bool) {
	heard := Heard{Source: a.Source, Priority: a.Priority, Interval: a.Interval}
	return heard, why == Accepted || c.cfg.Mode == ModeGate && (why.Mismatch() || why == ReasonReplay)
}

// addressed reports whether an advert to dst is one of ours.
func (c *Codec) addressed(dst netip.Addr) bool {
	if c.cfg.Unicast() {
		return !dst.IsMulticast()
	}
	return dst == c.cfg.Group
}

// addressSize is how many octets an address takes.
func (c *Codec) addressSize() int {
	if c.v6 {
		return 16
	}
	return 4
}

// checkLength wants exactly what the version and the count of the packet itself
// say: the octets of authentication are there in version 2 over IPv4.
func (c *Codec) checkLength(msg []byte) Reason {
	want := vrrpHeader + int(msg[vrrpCount])*c.addressSize()
	if msg[vrrpVersion]>>4 == Version2 && !c.v6 {
		want += authData
	}
	switch {
	case len(msg) < want:
		return ReasonTooShort
	case len(msg) == want+hmacTrailer:
		return ReasonTrailer
	case len(msg) > want:
		return ReasonTooLong
	}
	return Accepted
}

// readBody reads what follows from a length that is right.
func (c *Codec) readBody(a *Advert, msg []byte) {
	if a.Version == Version2 {
		a.Auth, a.Interval = AuthType(msg[vrrpAuth]), time.Duration(msg[vrrpSeconds])*time.Second
	} else {
		a.Interval = time.Duration(binary.BigEndian.Uint16(msg[vrrpInterval:])&intervalMask) * centisecond
	}
	a.Addrs = c.addrs[:0]
	body := msg[vrrpHeader:]
	for range msg[vrrpCount] {
		if c.v6 {
			a.Addrs = append(a.Addrs, netip.AddrFrom16([16]byte(body)))
		} else {
			a.Addrs = append(a.Addrs, netip.AddrFrom4([4]byte(body)))
		}
		body = body[c.addressSize():]
	}
}

// checkAuth makes the checks of version 2's authentication, and of its interval,
// which keepalived makes together.
func (c *Codec) checkAuth(a *Advert, d dissection) Reason {
	switch {
	case a.Auth > AuthAH:
		return ReasonAuthUnknown
	case a.Auth != c.cfg.Auth.Type:
		return ReasonAuthType
	}
	switch c.cfg.Auth.Type {
	case AuthPass:
		var want [authData]byte
		copy(want[:], c.cfg.Auth.Password)
		if subtle.ConstantTimeCompare(d.msg[len(d.msg)-authData:], want[:]) != 1 {
			return ReasonPassword
		}
	case AuthAH:
		var why Reason
		if a.Sequence, why = c.checkAH(d.ip, d.ihl); why != Accepted {
			return why
		}
	case AuthNone: // whatever the octets say; they are in the checksum
	}
	if a.Interval != c.cfg.Interval {
		return ReasonInterval
	}
	return Accepted
}

// checkMessage makes the rest of the checks.
func (c *Codec) checkMessage(a *Advert, msg []byte) Reason {
	a.VIPsDiffer = !c.sameVIPs(a.Addrs)
	a.Checksum = c.checksumForm(msg, a.Source, a.Destination)
	switch {
	case a.Version == Version3 && a.Interval == 0:
		return ReasonNoInterval
	case msg[vrrpVersion]&0x0f != typeAdvert:
		return ReasonType
	case len(a.Addrs) == 0:
		return ReasonNoVIPs
	case c.cfg.ExactVIPs && len(a.Addrs) != len(c.cfg.VIPs):
		return ReasonVIPCount
	case a.Checksum == ChecksumNone:
		return ReasonChecksum
	case !c.accepts(a.Checksum):
		return ReasonChecksumForm
	case !c.addressed(a.Destination):
		return ReasonCast
	case c.cfg.ExactVIPs && a.VIPsDiffer:
		return ReasonVIPs
	case c.cfg.Unicast() && !c.cfg.AnySource && !c.peer(a.Source):
		return ReasonPeer
	case c.cfg.Unicast() && (a.TTL < c.cfg.MinTTL || c.cfg.MaxTTL != 0 && a.TTL > c.cfg.MaxTTL):
		return ReasonPeerTTL
	}
	return Accepted
}

// sameVIPs reports whether the addresses are our VIPs, in any order.
func (c *Codec) sameVIPs(addrs []netip.Addr) bool {
	if len(addrs) != len(c.cfg.VIPs) {
		return false
	}
	for _, v := range c.cfg.VIPs {
		if !slices.Contains(addrs, v) {
			return false
		}
	}
	return true
}

func (c *Codec) peer(src netip.Addr) bool {
	for _, p := range c.cfg.Peers {
		if p.WithZone("") == src {
			return true
		}
	}
	return false
}
