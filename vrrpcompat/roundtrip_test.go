package vrrpcompat

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// anyConfig draws a valid configuration, the addresses of its two hosts, and the
// configuration of the second.
func anyConfig(r *rand.Rand) (ours, theirs Config, us, them netip.Addr) {
	c := Config{VRID: uint8(1 + r.IntN(255)), Priority: uint8(1 + r.IntN(255))}
	us, them = hostA, hostB
	six := r.IntN(3) == 0
	if six {
		us, them = hostA6, hostB6
	}
	for i := range 1 + r.IntN(20) {
		if six {
			c.VIPs = append(c.VIPs, netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(r.IntN(256)), 15: byte(i)}))
		} else {
			c.VIPs = append(c.VIPs, netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(256)), byte(i)}))
		}
	}
	if c.Version = Version3; !six && r.IntN(2) == 0 {
		c.Version = Version2
		c.Interval = time.Duration(1+r.IntN(255)) * time.Second
		c.Auth.Type = AuthType(r.IntN(3))
		if c.Auth.Type != AuthNone {
			c.Auth.Password = "12345678"[:1+r.IntN(8)]
		}
	} else {
		c.Interval = time.Duration(1+r.IntN(4095)) * centisecond
	}
	ours, theirs = c, c
	if r.IntN(2) == 0 {
		ours.Peers, theirs.Peers = []netip.Addr{them}, []netip.Addr{us}
		ours.TTL = uint8(r.IntN(256))
	}
	if c.Version == Version3 && !six {
		ours.Checksum = ChecksumForm(r.IntN(int(ChecksumGroup) + 1))
		if ours.Checksum == ChecksumGroup && !ours.Unicast() {
			ours.Checksum = ChecksumPseudo
		}
		theirs.Checksum = ours.Checksum
	}
	return ours, theirs, us, them
}

// TestRoundTrip: what a codec writes, that of the peer reads as it was meant.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		ours, theirs, us, them := anyConfig(r)
		writer, reader := newCodec(t, ours, us), newCodec(t, theirs, them)
		for range 3 {
			writer.NextRound()
			priority := uint8(r.IntN(256))
			to := writer.Destinations()[0]
			data := writer.AppendAdvert(nil, priority, to)
			a, why := reader.ParseAdvert(overheard(writer, data, to))
			if why != Accepted {
				t.Fatalf("seed %d: %+v: %s", seed, ours, reader.Explain(a, why))
			}
			want := Advert{
				Source: us, Destination: to, TTL: writer.cfg.TTL, Version: ours.Version, VRID: ours.VRID, Priority: priority,
				Interval: ours.Interval, Auth: ours.Auth.Type, Checksum: writer.cfg.Checksum,
			}
			if ours.Auth.Type == AuthAH {
				want.Sequence = writer.Sequence()
			}
			got := a
			got.Addrs = nil
			if !slices.Equal(a.Addrs, ours.VIPs) || !sameAdvert(got, want) {
				t.Fatalf("seed %d: wrote %+v\nread %+v", seed, want, a)
			}
			if len(data) > MaxPacket {
				t.Fatalf("seed %d: %d octets are over MaxPacket", seed, len(data))
			}
		}
	}
}

// sameAdvert compares all but the addresses.
func sameAdvert(a, b Advert) bool {
	return a.Source == b.Source && a.Destination == b.Destination && a.TTL == b.TTL && a.Version == b.Version && a.VRID == b.VRID &&
		a.Priority == b.Priority && a.Interval == b.Interval && a.Auth == b.Auth && a.Sequence == b.Sequence &&
		a.Checksum == b.Checksum && a.VIPsDiffer == b.VIPsDiffer
}

// TestEveryDamagedOctetIsFound: no octet of an advert can change without notice,
// but those that are not covered: without AH the class of service, identification
// and header checksum of IP.
func TestEveryDamagedOctetIsFound(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		ours, theirs, us, them := anyConfig(r)
		theirs.ExactVIPs = true
		writer, reader := newCodec(t, ours, us), newCodec(t, theirs, them)
		writer.NextRound()
		to := writer.Destinations()[0]
		data := writer.AppendAdvert(nil, 100, to)
		for i := range data {
			harmless := !writer.v6 && (i == ipTOS || i == ipID || i == ipID+1 || i == ipFragment || i == ipFragment+1 ||
				i == ipChecksum || i == ipChecksum+1 || i == ipTTL && ours.Unicast())
			damaged := slices.Clone(data)
			damaged[i] ^= 1 << r.IntN(8)
			if a, why := reader.ParseAdvert(overheard(writer, damaged, to)); why == Accepted && !harmless {
				bare, group := writer.cfg.Checksum == ChecksumMessage && ours.Auth.Type != AuthAH, writer.cfg.Checksum == ChecksumGroup
				if !writer.v6 && i < ipv4Header && (bare && i >= ipSource || group && i >= ipTarget) {
					continue // another sender or receiver, which these forms do not cover; the socket is bound to the right one
				}
				t.Fatalf("seed %d: octet %d of %x changed, and nobody noticed: %+v", seed, i, data, a)
			}
		}
	}
}
