package vrrpcompat

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// say is one advert of c as it is on the wire from a host to whom it writes first.
func say(tb testing.TB, c Config, from netip.Addr, priority uint8) Packet {
	tb.Helper()
	codec := newCodec(tb, c, from)
	codec.NextRound()
	return overheard(codec, codec.AppendAdvert(nil, priority, codec.Destinations()[0]), codec.Destinations()[0])
}

// overheard is a packet as the receiver's socket has it.
func overheard(from *Codec, data []byte, to netip.Addr) Packet {
	p := Packet{Data: data}
	if from.v6 {
		p.Src, p.Dst, p.HopLimit = from.own, to, from.cfg.TTL
	}
	return p
}

// resum makes the checksums right again after an edit of a multicast IPv4 packet
// without an authentication header.
func resum(p Packet, form ChecksumForm) {
	ihl := int(p.Data[0]&0x0f) * 4
	msg := p.Data[ihl:]
	src, dst := ends(p)
	binary.BigEndian.PutUint16(p.Data[ipLength:], uint16(len(p.Data)))
	binary.BigEndian.PutUint16(msg[vrrpChecksum:], 0)
	acc := sum(0, msg)
	switch form {
	case ChecksumPseudo:
		acc += pseudo(src, dst, len(msg))
	case ChecksumGroup:
		acc += pseudo(src, group4(), len(msg))
	case ChecksumMessage, ChecksumNone:
	}
	binary.BigEndian.PutUint16(msg[vrrpChecksum:], ^uint16(fold(acc)))
}

func wantReason(t *testing.T, c *Codec, p Packet, want Reason) Advert {
	t.Helper()
	a, why := c.ParseAdvert(p)
	if why != want {
		t.Errorf("ParseAdvert(%x) = %s, want %s\n%s", p.Data, why, want, c.Explain(a, why))
	}
	return a
}

// TestChecksumForms is P9.
func TestChecksumForms(t *testing.T) {
	group := base()
	group.Version = Version3
	exact, rfc := group, group
	exact.ExactChecksum = true
	rfc.Checksum = ChecksumMessage
	exactRFC := rfc
	exactRFC.ExactChecksum = true
	peer := group
	peer.Peers = []netip.Addr{hostB}
	old := peer
	old.Checksum = ChecksumGroup
	toA := group
	toA.Peers = []netip.Addr{hostA}
	for name, c := range map[string]struct {
		listens, speaks Config
		form            ChecksumForm
		want            Reason
	}{
		"keepalived's":                        {group, group, ChecksumPseudo, Accepted},
		"RFC 9568's":                          {group, group, ChecksumMessage, Accepted},
		"RFC 9568's, where not taken":         {exact, group, ChecksumMessage, ReasonChecksumForm},
		"keepalived's, by an RFC 9568 router": {rfc, group, ChecksumPseudo, Accepted},
		"keepalived's, where not taken":       {exactRFC, group, ChecksumPseudo, ReasonChecksumForm},
		"unicast keepalived's":                {peer, toA, ChecksumPseudo, Accepted},
		"unicast RFC 9568's":                  {peer, toA, ChecksumMessage, Accepted},
		"old unicast":                         {peer, toA, ChecksumGroup, ReasonChecksumForm},
		"old unicast, where it is set":        {old, toA, ChecksumGroup, Accepted},
		"keepalived's, by an old one":         {old, toA, ChecksumPseudo, Accepted},
	} {
		t.Run(name, func(t *testing.T) {
			p := say(t, c.speaks, hostB, 100)
			resum(p, c.form)
			if a := wantReason(t, newCodec(t, c.listens, hostA), p, c.want); a.Checksum != c.form {
				t.Errorf("the form is told as %s, want %s", a.Checksum, c.form)
			}
		})
	}
	for form, want := range map[ChecksumForm]Config{ChecksumPseudo: group, ChecksumMessage: rfc, ChecksumGroup: old} {
		p := say(t, want, hostA, 100)
		before := slices.Clone(p.Data)
		if resum(p, form); !slices.Equal(p.Data, before) {
			t.Errorf("what is sent with checksum: %s has another form", form)
		}
	}
}

// TestIntervals is P10 to P13.
func TestIntervals(t *testing.T) {
	v3 := base()
	v3.Version = Version3
	for name, c := range map[string]struct {
		cfg  Config
		raw  uint16 // octets 4 and 5 of the message
		want Reason
		says time.Duration
	}{
		"version 3, ours":                         {v3, 100, Accepted, time.Second},
		"version 3, reserved bits set":            {v3, 0xf000 | 100, Accepted, time.Second},
		"version 3, another":                      {v3, 50, Accepted, 500 * time.Millisecond},
		"version 3, the longest":                  {v3, 4095, Accepted, 40950 * time.Millisecond},
		"version 3, none":                         {v3, 0, ReasonNoInterval, 0},
		"version 3, none, with reserved bits set": {v3, 0xf000, ReasonNoInterval, 0},
		"version 2, another":                      {base(), 2, ReasonInterval, 2 * time.Second},
		"version 2, none":                         {base(), 0, ReasonInterval, 0},
		"version 2, ours":                         {base(), 1, Accepted, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p := say(t, c.cfg, hostB, 100)
			binary.BigEndian.PutUint16(p.Data[ipv4Header+vrrpInterval:], c.raw)
			form := ChecksumMessage
			if c.cfg.Version == Version3 {
				form = ChecksumPseudo
			}
			resum(p, form)
			if a := wantReason(t, newCodec(t, c.cfg, hostA), p, c.want); a.Interval != c.says {
				t.Errorf("the interval is %s, want %s", a.Interval, c.says)
			}
		})
	}
}

// TestVIPLists is P14 and P15.
func TestVIPLists(t *testing.T) {
	three := addrs("10.20.8.188", "10.20.8.189", "10.20.8.190")
	for name, c := range map[string]struct {
		says  []netip.Addr
		exact Reason
		told  bool
	}{
		"the same":               {three, Accepted, false},
		"in another order":       {addrs("10.20.8.190", "10.20.8.188", "10.20.8.189"), Accepted, false},
		"one fewer":              {three[:2], ReasonVIPCount, true},
		"one more":               {append(addrs("10.20.8.191"), three...), ReasonVIPCount, true},
		"one different":          {addrs("10.20.8.188", "10.20.8.189", "10.20.8.191"), ReasonVIPs, true},
		"another range at all":   {addrs("192.0.2.1"), ReasonVIPCount, true},
		"as many, all of others": {addrs("192.0.2.1", "192.0.2.2", "192.0.2.3"), ReasonVIPs, true},
	} {
		t.Run(name, func(t *testing.T) {
			speaks, listens := base(), base()
			speaks.VIPs, listens.VIPs = c.says, three
			p := say(t, speaks, hostB, 100)
			a := wantReason(t, newCodec(t, listens, hostA), p, Accepted)
			if a.VIPsDiffer != c.told {
				t.Errorf("the difference is told: %v, want %v", a.VIPsDiffer, c.told)
			}
			if said := newCodec(t, listens, hostA).Explain(a, Accepted); (said != "") != c.told {
				t.Errorf("Explain says %q", said)
			}
			listens.ExactVIPs = true
			wantReason(t, newCodec(t, listens, hostA), p, c.exact)
		})
	}
	t.Run("one of ours twice in place of another", func(t *testing.T) {
		listens := base()
		listens.VIPs, listens.ExactVIPs = three[:2], true
		speaks := base()
		speaks.VIPs = three[:2]
		p := say(t, speaks, hostB, 100)
		copy(p.Data[ipv4Header+vrrpHeader+4:], p.Data[ipv4Header+vrrpHeader:][:4])
		resum(p, ChecksumMessage)
		wantReason(t, newCodec(t, listens, hostA), p, ReasonVIPs)
	})
}

// TestNotForUs is P17.
func TestNotForUs(t *testing.T) {
	c := newCodec(t, base(), hostA)
	wantReason(t, c, say(t, base(), hostA, 150), ReasonOwn)
	otherRouter := base()
	otherRouter.VRID = 52
	wantReason(t, c, say(t, otherRouter, hostB, 100), ReasonVRID)
	for first, want := range map[byte]Reason{0x22: ReasonType, 0x20: ReasonType, 0x11: ReasonTooLong, 0x41: ReasonTooLong} {
		p := say(t, base(), hostB, 100)
		p.Data[ipv4Header] = first
		resum(p, ChecksumMessage)
		wantReason(t, c, p, want)
	}
	v3 := base()
	v3.Version = Version3
	for first, want := range map[byte]Reason{0x32: ReasonType, 0x11: ReasonVersion, 0x41: ReasonVersion} {
		p := say(t, v3, hostB, 100)
		p.Data[ipv4Header] = first
		resum(p, ChecksumPseudo)
		wantReason(t, newCodec(t, v3, hostA), p, want)
	}
	if _, ok := (Packet{Data: make([]byte, 27)}).VRID(false); ok {
		t.Error("a packet of 27 octets has a VRID")
	}
	if vrid, ok := say(t, otherRouter, hostB, 100).VRID(false); vrid != 52 || !ok {
		t.Errorf("VRID = %d, %v; want 52", vrid, ok)
	}
}

// TestExplains: each reason has a sentence of its own, and none shows a secret.
func TestExplains(t *testing.T) {
	secret := base()
	secret.Auth = Auth{Type: AuthPass, Password: "s3cret"}
	c := newCodec(t, secret, hostA)
	said := map[string]Reason{}
	words := map[string]Reason{}
	for why := ReasonShort; why < Reasons; why++ {
		s := c.Explain(Advert{Source: hostB, Version: 3, Addrs: addrs("192.0.2.1")}, why)
		switch {
		case strings.Contains(s, "s3cret"):
			t.Errorf("Explain(%s) = %q has the password in it", why, s)
		case strings.Contains(s, "%!"), len(s) < 40, !strings.Contains(s, hostB.String()):
			t.Errorf("Explain(%s) = %q", why, s)
		}
		if old, ok := said[s]; ok && why != ReasonTooShort && why != ReasonVIPs {
			t.Errorf("%s and %s are explained alike: %q", old, why, s)
		}
		if old, ok := words[why.String()]; ok || why.String() == "" {
			t.Errorf("%d and %d are both %q", old, why, why)
		}
		said[s], words[why.String()] = why, why
	}
}
