package vrrpcompat

import (
	"encoding/binary"
	"fmt"
	"hash"
	"net/netip"
	"slices"
	"time"
)

// A Codec writes and reads the adverts of one virtual router. It is for one
// goroutine at a time. After NewCodec it allocates nothing.
type Codec struct {
	cfg   Config // with its defaults
	own   netip.Addr
	v6    bool
	to    []netip.Addr
	id    uint16 // of the IPv4 header: 1, 2, 3 …, as in keepalived
	addrs []netip.Addr

	mac hash.Hash // for AuthAH, else nil
	seq sequence
	// scratch is what an ICV is computed over in front of the message. Not a local:
	// what is handed to mac moves to the heap.
	scratch [60 + ahHeader]byte
	icv     [16]byte // HMAC-MD5's whole result
}

// NewCodec returns the codec of a router whose adverts come from own, an address
// of the family of the VIPs. It fails where c is not valid, or does not go with
// that address.
func NewCodec(c Config, own netip.Addr) (*Codec, error) {
	c.Source = own.WithZone("")
	if !own.IsValid() {
		return nil, fmt.Errorf("router %d has no source address: an advert must say where it comes from; give the interface an address of the VIPs' family, or set source", c.VRID)
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	codec := &Codec{
		cfg: c, own: c.Source, v6: c.IPv6(),
		to:    []netip.Addr{c.Group},
		addrs: make([]netip.Addr, 0, maxVIPs),
	}
	if c.Unicast() {
		codec.to = slices.Clone(c.Peers)
	}
	if c.Auth.Type == AuthAH {
		codec.mac = newMAC(c.Auth.Password)
	}
	return codec, nil
}

// Destinations returns where an advert goes: the group, or each peer in turn. It
// is not to be changed.
func (c *Codec) Destinations() []netip.Addr { return c.to }

// NextRound begins a round of sending: what is appended until the next one
// carries the same IPv4 identification and, with AH, the same number, whoever it
// goes to. As in keepalived neither is ever 0: the kernel would put its own in
// place of an identification of 0, and the ICV covers it.
func (c *Codec) NextRound() {
	c.id++
	if c.id == 0 {
		c.id = 1
	}
	c.seq.next()
}

// AppendAdvert appends the advert to one of Destinations, and returns the longer
// slice. IPv4: with the IP header, to be sent with IP_HDRINCL (raw(7)). IPv6: the
// message alone; its checksum is also what the kernel computes (IPV6_CHECKSUM,
// offset 6). Priority 0 says that the Active router leaves.
func (c *Codec) AppendAdvert(b []byte, priority uint8, to netip.Addr) []byte {
	to = to.WithZone("")
	if c.v6 {
		return c.appendMessage(b, priority, to)
	}
	start := len(b)
	b = c.appendIPv4(b, to)
	if c.mac != nil {
		b = c.appendAH(b)
	}
	b = c.appendMessage(b, priority, to)
	ip := b[start:]
	binary.BigEndian.PutUint16(ip[ipLength:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[ipChecksum:], ^uint16(sum(0, ip[:ipv4Header])))
	if c.mac != nil {
		copy(ip[ipv4Header+ahICV:], c.computeICV(ip, ipv4Header))
	}
	return b
}

// appendIPv4 appends an IPv4 header without total length and checksum.
func (c *Codec) appendIPv4(b []byte, to netip.Addr) []byte {
	protocol := byte(protocolVRRP)
	if c.mac != nil {
		protocol = protocolAH
	}
	src, dst := c.own.As4(), to.As4()
	b = append(b, 0x45, tosControl, 0, 0)
	b = binary.BigEndian.AppendUint16(b, c.id)
	b = append(b, 0, 0, c.cfg.TTL, protocol, 0, 0)
	b = append(b, src[:]...)
	return append(b, dst[:]...)
}

// appendMessage appends the VRRP message with its checksum.
func (c *Codec) appendMessage(b []byte, priority uint8, to netip.Addr) []byte {
	start := len(b)
	b = append(b, c.cfg.Version<<4|typeAdvert, c.cfg.VRID, priority, uint8(len(c.cfg.VIPs)))
	if c.cfg.Version == Version2 {
		b = append(b, uint8(c.cfg.Auth.Type), uint8(c.cfg.Interval/time.Second))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(c.cfg.Interval/centisecond))
	}
	b = append(b, 0, 0)
	for _, a := range c.cfg.VIPs {
		if c.v6 {
			a16 := a.As16()
			b = append(b, a16[:]...)
		} else {
			a4 := a.As4()
			b = append(b, a4[:]...)
		}
	}
	if c.cfg.Version == Version2 {
		var data [authData]byte
		if c.cfg.Auth.Type == AuthPass {
			copy(data[:], c.cfg.Auth.Password)
		}
		b = append(b, data[:]...)
	}
	msg := b[start:]
	acc := sum(0, msg)
	switch c.cfg.Checksum {
	case ChecksumPseudo:
		acc += pseudo(c.own, to, len(msg))
	case ChecksumGroup:
		acc += pseudo(c.own, c.cfg.Group, len(msg))
	case ChecksumMessage, ChecksumNone:
	}
	binary.BigEndian.PutUint16(msg[vrrpChecksum:], ^uint16(fold(acc)))
	return b
}
