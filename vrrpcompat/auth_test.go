package vrrpcompat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func withAuth(t AuthType, password string, peers ...netip.Addr) Config {
	c := base()
	c.Auth, c.Peers = Auth{Type: t, Password: password}, peers
	return c
}

// TestPasswords is P18: exactly the eight octets pass.
func TestPasswords(t *testing.T) {
	for name, c := range map[string]struct {
		ours   string
		theirs [8]byte
		want   Reason
	}{
		"seven and padding":          {"sevenca", [8]byte([]byte("sevenca\x00")), Accepted},
		"eight":                      {"eightcha", [8]byte([]byte("eightcha")), Accepted},
		"keepalived cut it at eight": {"longpass", [8]byte([]byte("longpass")), Accepted},
		"eight where ours is seven":  {"sevenca", [8]byte([]byte("sevencah")), ReasonPassword},
		"wrong case":                 {"s3cret", [8]byte([]byte("S3cret\x00\x00")), ReasonPassword},
		"padded with spaces":         {"s3cret", [8]byte([]byte("s3cret  ")), ReasonPassword},
		"right but for the last":     {"s3cret", [8]byte([]byte("s3cret\x00\x01")), ReasonPassword},
		"nothing":                    {"s3cret", [8]byte{}, ReasonPassword},
	} {
		t.Run(name, func(t *testing.T) {
			p := say(t, withAuth(AuthPass, "12345678"), hostB, 100)
			copy(p.Data[len(p.Data)-authData:], c.theirs[:])
			resum(p, ChecksumMessage)
			wantReason(t, newCodec(t, withAuth(AuthPass, c.ours), hostA), p, c.want)
		})
	}
}

// resign makes the ICV right for a key after an edit.
func resign(tb testing.TB, p Packet, c Config, from netip.Addr) {
	tb.Helper()
	copy(p.Data[ipv4Header+ahICV:], newCodec(tb, c, from).computeICV(p.Data, ipv4Header))
}

// TestAuthenticationHeaders is P6 and P7.
func TestAuthenticationHeaders(t *testing.T) {
	multi, uni := withAuth(AuthAH, "s3cret"), withAuth(AuthAH, "s3cret", hostA)
	listensUni := withAuth(AuthAH, "s3cret", hostB)
	ah := func(p Packet) []byte { return p.Data[ipv4Header:] }
	for name, c := range map[string]struct {
		listens, speaks Config
		edit            func(t *testing.T, p *Packet)
		want            Reason
	}{
		"multicast": {multi, multi, func(*testing.T, *Packet) {}, Accepted},
		"unicast":   {listensUni, uni, func(*testing.T, *Packet) {}, Accepted},
		"cut in the header": {multi, multi, func(_ *testing.T, p *Packet) {
			p.Data = p.Data[:ipv4Header+ahHeader-1]
			p.Data[ipLength+1] = byte(len(p.Data))
		}, ReasonShort},
		"nothing behind it": {multi, multi, func(_ *testing.T, p *Packet) {
			p.Data = p.Data[:ipv4Header+ahHeader]
			p.Data[ipLength+1] = byte(len(p.Data))
		}, ReasonShort},
		"another length of its own":                           {multi, multi, func(t *testing.T, p *Packet) { ah(*p)[ahLength] = 5; resign(t, *p, multi, hostB) }, ReasonAHHeader},
		"in front of something else":                          {multi, multi, func(t *testing.T, p *Packet) { ah(*p)[ahNext] = 6; resign(t, *p, multi, hostB) }, ReasonAHHeader},
		"a changed check value":                               {multi, multi, func(_ *testing.T, p *Packet) { ah(*p)[ahICV+11]++ }, ReasonICV},
		"a changed priority":                                  {multi, multi, func(_ *testing.T, p *Packet) { ah(*p)[ahHeader+vrrpPriority]++ }, ReasonICV},
		"a changed identification":                            {multi, multi, func(_ *testing.T, p *Packet) { p.Data[ipID]++ }, ReasonICV},
		"a changed class of service":                          {multi, multi, func(_ *testing.T, p *Packet) { p.Data[ipTOS] = 0 }, Accepted},
		"another key":                                         {withAuth(AuthAH, "S3cret"), multi, func(*testing.T, *Packet) {}, ReasonICV},
		"another host's":                                      {multi, multi, func(t *testing.T, p *Packet) { ah(*p)[ahSPI+3]++; resign(t, *p, multi, hostB) }, ReasonSPI},
		"multicast without the TTL in it, as RFC 2402 has it": {multi, multi, func(t *testing.T, p *Packet) { resign(t, *p, uni, hostB) }, ReasonICV},
		"unicast with the TTL in it":                          {listensUni, uni, func(t *testing.T, p *Packet) { resign(t, *p, multi, hostB) }, ReasonICV},
		"none where there must be one":                        {multi, base(), func(*testing.T, *Packet) {}, ReasonNoAH},
		"one where there must be none":                        {base(), multi, func(*testing.T, *Packet) {}, ReasonAH},
	} {
		t.Run(name, func(t *testing.T) {
			p := say(t, c.speaks, hostB, 100)
			c.edit(t, &p)
			wantReason(t, newCodec(t, c.listens, hostA), p, c.want)
		})
	}
}

// TestSequence: what was accepted is not accepted again, one counter serves both
// directions, and a number is used up by an advert that is rejected later.
func TestSequence(t *testing.T) {
	cfg := withAuth(AuthAH, "s3cret")
	a, b := newCodec(t, cfg, hostA), newCodec(t, cfg, hostB)
	spoken := func(c *Codec) Packet {
		return Packet{Data: c.AppendAdvert(nil, 100, c.Destinations()[0])}
	}
	for n := uint32(1); n <= 6; n++ {
		b.NextRound()
		p := spoken(b)
		if got := wantReason(t, a, p, Accepted); got.Sequence != n {
			t.Errorf("advert %d has number %d", n, got.Sequence)
		}
		wantReason(t, a, p, ReasonReplay)
	}
	a.NextRound() // takes over: v2-auth-ah.pcap shows keepalived go on with 7
	if p := spoken(a); wantReason(t, b, p, Accepted).Sequence != 7 {
		t.Errorf("the new Active router begins with %d, want 7", a.Sequence())
	}
	wrong := newCodec(t, func() Config { c := cfg; c.Interval *= 5; return c }(), hostB)
	wrong.RaiseSequence(7499)
	wrong.NextRound()
	wantReason(t, a, spoken(wrong), ReasonInterval)
	if a.Sequence() != 7500 {
		t.Errorf("after a rejected advert with number 7500 ours is %d", a.Sequence())
	}
	a.Overtake()
	a.NextRound()
	if a.Sequence() != 7502 {
		t.Errorf("the answer to number 7500 has %d, want 7502 as keepalived's", a.Sequence())
	}
	a.RaiseSequence(7000)
	if a.NextRound(); a.Sequence() != 7503 {
		t.Errorf("after RaiseSequence(7000) number %d follows 7502", a.Sequence())
	}
	a.RaiseSequence(0xffffffff)
	for range 5 {
		a.NextRound()
	}
	if a.Sequence() != lastSequence+1 {
		t.Errorf("it counted to %#x; keepalived stops at 0xfffffffe", a.Sequence())
	}
}

// TestRaisedSequence: who raises its own number goes on to hear a keepalived that
// counts from 1, or it would take a living one for dead; and that one hears it.
func TestRaisedSequence(t *testing.T) {
	cfg := withAuth(AuthAH, "s3cret")
	a, b := newCodec(t, cfg, hostA), newCodec(t, cfg, hostB)
	a.RaiseSequence(1_790_000_000)
	for range 3 {
		b.NextRound()
		wantReason(t, a, Packet{Data: b.AppendAdvert(nil, 200, group4())}, Accepted)
	}
	a.NextRound()
	if got := wantReason(t, b, Packet{Data: a.AppendAdvert(nil, 100, group4())}, Accepted); got.Sequence != 1_790_000_001 {
		t.Errorf("the first number is %d", got.Sequence)
	}
	restarted := newCodec(t, cfg, hostA) // a second later
	restarted.RaiseSequence(1_790_000_001)
	restarted.NextRound()
	wantReason(t, b, Packet{Data: restarted.AppendAdvert(nil, 100, group4())}, Accepted)
}

// TestPeersGetOneRound: identification and number are those of the round, and
// each peer's check value is of its own address.
func TestPeersGetOneRound(t *testing.T) {
	cfg := withAuth(AuthAH, "s3cret", hostA, other4)
	b := newCodec(t, cfg, hostB)
	for round := range uint32(3) {
		b.NextRound()
		for _, to := range b.Destinations() {
			p := Packet{Data: b.AppendAdvert(nil, 100, to)}
			hears := newCodec(t, withAuth(AuthAH, "s3cret", hostB), to)
			if a := wantReason(t, hears, p, Accepted); a.Sequence != round+1 || p.Data[ipID+1] != byte(round+1) {
				t.Errorf("round %d to %s: number %d, identification %x", round+1, to, a.Sequence, p.Data[ipID:ipID+2])
			}
		}
	}
	b.id = 0xffff
	b.NextRound()
	if b.id != 1 {
		t.Errorf("identification %d follows 65535, want 1", b.id)
	}
}

func TestPasswordIsNotShown(t *testing.T) {
	c := withAuth(AuthPass, "s3cret")
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%v", c.Auth), fmt.Sprint(&c)} {
		if strings.Contains(s, "s3cret") {
			t.Errorf("%s shows the password", s)
		}
	}
	if !slices.Equal(c.VIPs, base().VIPs) {
		t.Error("the configuration was changed")
	}
}
