package vrrpcompat

import "fmt"

// A Reason says why an advert was rejected; Accepted: it was not. They stand in
// the order in which the checks are made, which is keepalived 2.2.7's
// (vrrp_dispatcher_read and vrrp_check_packet): of several faults the first is
// told.
type Reason uint8

const (
	// Accepted is no rejection.
	Accepted Reason = iota
	// ReasonShort means: the packet ends before the VRRP header does.
	ReasonShort
	// ReasonIPHeader means: the IPv4 header contradicts itself or the packet.
	ReasonIPHeader
	// ReasonVRID means: it is of another virtual router.
	ReasonVRID
	// ReasonOwn means: it has our own source address, and was looped back, or somebody
	// else has the address.
	ReasonOwn
	// ReasonCast means: it was sent to another group, or to a group in unicast, or the
	// other way round.
	ReasonCast
	// ReasonNoAH means: it has no authentication header and ours have one.
	ReasonNoAH
	// ReasonAH means: it has an authentication header and ours have none.
	ReasonAH
	// ReasonTooShort means: it is shorter than its version and its count of addresses say.
	ReasonTooShort
	// ReasonTooLong means: it is longer.
	ReasonTooLong
	// ReasonTrailer means: it is longer by the auth_hmac trailer of keepalived 2.4.
	ReasonTrailer
	// ReasonTTL means: multicast, and the TTL or hop limit is not 255: it was routed.
	ReasonTTL
	// ReasonVersion means: it is of another version.
	ReasonVersion
	// ReasonAuthUnknown means: RFC 2338 has no such authentication.
	ReasonAuthUnknown
	// ReasonAuthType means: the authentication is not the configured one.
	ReasonAuthType
	// ReasonPassword means: the password is another.
	ReasonPassword
	// ReasonAHHeader means: the authentication header is not one in front of VRRP, or not
	// of HMAC-MD5-96.
	ReasonAHHeader
	// ReasonICV means: the authentication header's check value is wrong: another key, or
	// a changed packet.
	ReasonICV
	// ReasonSPI means: the authentication header is not of the address that sent it.
	ReasonSPI
	// ReasonReplay means: the authentication header's number was there already.
	ReasonReplay
	// ReasonInterval means: version 2, and the interval is not ours.
	ReasonInterval
	// ReasonNoInterval means: version 3, and the interval is 0, which RFC 9568's erratum
	// 8301 rules out. keepalived takes it, and then over, again and again.
	ReasonNoInterval
	// ReasonType means: it is no advertisement.
	ReasonType
	// ReasonNoVIPs means: it counts no addresses.
	ReasonNoVIPs
	// ReasonVIPCount means: it counts more addresses or fewer than we have VIPs.
	ReasonVIPCount
	// ReasonChecksum means: the checksum is wrong in every form.
	ReasonChecksum
	// ReasonChecksumForm means: the checksum is right in a form that is not taken.
	ReasonChecksumForm
	// ReasonVIPs means: one of our VIPs is not among its addresses.
	ReasonVIPs
	// ReasonPeer means: unicast, and the source is none of the peers.
	ReasonPeer
	// ReasonPeerTTL means: unicast, and the TTL or hop limit is out of its bounds.
	ReasonPeerTTL

	// Reasons is how many there are, Accepted among them, for a counter each.
	Reasons
)

// String returns a word for a metric's label.
func (r Reason) String() string {
	if r < Reasons {
		return reasonWords()[r]
	}
	return fmt.Sprintf("reason_%d", uint8(r))
}

func reasonWords() [Reasons]string {
	return [Reasons]string{
		Accepted: "accepted", ReasonShort: "short", ReasonIPHeader: "ip_header", ReasonVRID: "other_vrid", ReasonOwn: "own",
		ReasonCast: "destination", ReasonNoAH: "no_ah", ReasonAH: "unexpected_ah", ReasonTooShort: "too_short", ReasonTooLong: "too_long",
		ReasonTrailer: "hmac_trailer", ReasonTTL: "ttl", ReasonVersion: "version", ReasonAuthUnknown: "auth_unknown",
		ReasonAuthType: "auth_type", ReasonPassword: "password", ReasonAHHeader: "ah_header", ReasonICV: "icv", ReasonSPI: "spi",
		ReasonReplay: "replay", ReasonInterval: "interval", ReasonNoInterval: "no_interval", ReasonType: "type",
		ReasonNoVIPs: "no_vips", ReasonVIPCount: "vip_count", ReasonChecksum: "checksum", ReasonChecksumForm: "checksum_form",
		ReasonVIPs: "vips", ReasonPeer: "not_a_peer", ReasonPeerTTL: "peer_ttl",
	}
}

// Mismatch reports whether the advert is one of a router that is configured
// otherwise than we are: each takes the other for dead, and both are Active. It is
// something to show until it is put right.
func (r Reason) Mismatch() bool {
	switch r {
	case ReasonCast, ReasonNoAH, ReasonAH, ReasonTrailer, ReasonVersion, ReasonAuthUnknown, ReasonAuthType, ReasonPassword, ReasonICV,
		ReasonInterval, ReasonNoInterval, ReasonNoVIPs, ReasonVIPCount, ReasonChecksumForm, ReasonVIPs, ReasonPeer:
		return true
	default:
		return false
	}
}

// Silent reports whether the advert is none of this router's business, so that
// it is neither logged nor counted as a fault.
func (r Reason) Silent() bool { return r == Accepted || r == ReasonVRID || r == ReasonOwn }
