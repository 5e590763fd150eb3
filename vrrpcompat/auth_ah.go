package vrrpcompat

import (
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"hash"
)

// The authentication header of RFC 2402 section 2 with HMAC-MD5-96 (RFC 2403).
const (
	ahHeader   = 24
	ahNext     = 0
	ahLength   = 1
	ahSPI      = 4
	ahSequence = 8
	ahICV      = 12
	icvSize    = 12

	ahWords = 4 // its length in 32-bit words, less 2
)

// newMAC returns the keyed hash. keepalived pads the key with zeros to 8 octets,
// which makes no difference to HMAC: it pads with zeros itself.
func newMAC(password string) hash.Hash { return hmac.New(md5.New, []byte(password)) }

// appendAH appends a header without its ICV. The SPI is the source address,
// keepalived's choice (vrrp_build_ipsecah).
func (c *Codec) appendAH(b []byte) []byte {
	src := c.own.As4()
	b = append(b, protocolVRRP, ahWords, 0, 0)
	b = append(b, src[:]...)
	b = binary.BigEndian.AppendUint32(b, c.seq.last)
	var icv [icvSize]byte
	return append(b, icv[:]...)
}

// computeICV returns the check value of an IPv4 datagram with an authentication
// header behind an IP header of ihl octets. It is good until the next call.
//
// What routers may change counts as zero (RFC 2402 section 3.3.3.1.1.1), but for
// the TTL in multicast: keepalived leaves that in and takes nothing else. The
// identification and the total length are covered.
func (c *Codec) computeICV(ip []byte, ihl int) []byte {
	head := c.scratch[:ihl+ahHeader]
	copy(head, ip)
	head[ipTOS] = 0
	clear(head[ipFragment : ipFragment+2])
	clear(head[ipChecksum : ipChecksum+2])
	if c.cfg.Unicast() {
		head[ipTTL] = 0
	}
	clear(head[ihl+ahICV:])
	c.mac.Reset()
	// A hash's Write never returns an error (hash.Hash).
	_, _ = c.mac.Write(head)
	_, _ = c.mac.Write(ip[len(head):])
	return c.mac.Sum(c.icv[:0])[:icvSize]
}

// checkAH makes the checks of an authentication header in keepalived's order: the
// ICV first, because nothing else can be believed without. One that is accepted
// uses up its number, whatever is found wrong with the message after it.
func (c *Codec) checkAH(ip []byte, ihl int) (uint32, Reason) {
	ah := ip[ihl : ihl+ahHeader]
	n := binary.BigEndian.Uint32(ah[ahSequence:])
	switch {
	case ah[ahNext] != protocolVRRP || ah[ahLength] != ahWords:
		return n, ReasonAHHeader
	case !hmac.Equal(ah[ahICV:], c.computeICV(ip, ihl)):
		return n, ReasonICV
	case [4]byte(ah[ahSPI:]) != [4]byte(ip[ipSource:]):
		return n, ReasonSPI
	case !c.seq.accept(n):
		return n, ReasonReplay
	}
	return n, Accepted
}

// sequence is the counter of the authentication headers, one for both directions:
// a Backup that takes over goes on where the router before it ended, and so is
// not taken for a replay of it.
type sequence struct {
	last  uint32 // sent or accepted
	floor uint32 // what is sent is larger; what is accepted need not be
}

// lastSequence is where keepalived stops counting: the numbers are used up, and
// whatever follows is rejected (vrrp_update_pkt).
const lastSequence = 0xfffffffd

func (s *sequence) next() {
	if s.last = max(s.last, s.floor); s.last <= lastSequence {
		s.last++
	}
}

func (s *sequence) accept(n uint32) bool {
	if n <= s.last {
		return false
	}
	s.last = n
	return true
}

// Overtake leaves one number out, before a lower priority is answered: its next
// advert may be on its way already, and ours with the same number would be a
// replay. As in keepalived (vrrp_state_master_rx).
func (c *Codec) Overtake() { c.seq.next() }

// RaiseSequence makes the next number that is sent larger than n, if it would not
// be already; what others send is accepted as before. keepalived begins at 0, and
// after a quick restart its first adverts are replays to its peers, until one of
// them has taken over. Whoever calls this at start, and when a node of ours takes
// over from another, with the seconds since 1970, is ahead of what it said before
// without having written anything down: an Active router of version 2 counts once
// a second, and hardly more when it answers others.
func (c *Codec) RaiseSequence(n uint32) { c.seq.floor = max(c.seq.floor, min(n, lastSequence)) }

// Sequence returns the number that was sent or accepted last.
func (c *Codec) Sequence() uint32 { return c.seq.last }
