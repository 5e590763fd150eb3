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
	// ReasonShort: the packet ends before the VRRP header does.
	ReasonShort
	// ReasonIPHeader: the IPv4 header contradicts itself or the packet.
	ReasonIPHeader
	// ReasonVRID: it is of another virtual router.
	ReasonVRID
	// ReasonOwn: it has our own source address, and was looped back, or somebody
	// else has the address.
	ReasonOwn
	// ReasonCast: it was sent to another group, or to a group in unicast, or the
	// other way round.
	ReasonCast
	// ReasonNoAH: it has no authentication header and ours have one.
	ReasonNoAH
	// ReasonAH: it has an authentication header and ours have none.
	ReasonAH
	// ReasonTooShort: it is shorter than its version and its count of addresses say.
	ReasonTooShort
	// ReasonTooLong: it is longer.
	ReasonTooLong
	// ReasonTrailer: it is longer by the auth_hmac trailer of keepalived 2.4.
	ReasonTrailer
	// ReasonTTL: multicast, and the TTL or hop limit is not 255: it was routed.
	ReasonTTL
	// ReasonVersion: it is of another version.
	ReasonVersion
	// ReasonAuthUnknown: RFC 2338 has no such authentication.
	ReasonAuthUnknown
	// ReasonAuthType: the authentication is not the configured one.
	ReasonAuthType
	// ReasonPassword: the password is another.
	ReasonPassword
	// ReasonAHHeader: the authentication header is not one in front of VRRP, or not
	// of HMAC-MD5-96.
	ReasonAHHeader
	// ReasonICV: the authentication header's check value is wrong: another key, or
	// a changed packet.
	ReasonICV
	// ReasonSPI: the authentication header is not of the address that sent it.
	ReasonSPI
	// ReasonReplay: the authentication header's number was there already.
	ReasonReplay
	// ReasonInterval: version 2, and the interval is not ours.
	ReasonInterval
	// ReasonNoInterval: version 3, and the interval is 0, which RFC 9568's erratum
	// 8301 rules out. keepalived takes it, and then over, again and again.
	ReasonNoInterval
	// ReasonType: it is no advertisement.
	ReasonType
	// ReasonNoVIPs: it counts no addresses.
	ReasonNoVIPs
	// ReasonVIPCount: it counts more addresses or fewer than we have VIPs.
	ReasonVIPCount
	// ReasonChecksum: the checksum is wrong in every form.
	ReasonChecksum
	// ReasonChecksumForm: the checksum is right in a form that is not taken.
	ReasonChecksumForm
	// ReasonVIPs: one of our VIPs is not among its addresses.
	ReasonVIPs
	// ReasonPeer: unicast, and the source is none of the peers.
	ReasonPeer
	// ReasonPeerTTL: unicast, and the TTL or hop limit is out of its bounds.
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
