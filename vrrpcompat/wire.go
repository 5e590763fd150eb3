package vrrpcompat

// Numbers of the wire. Offsets are from the start of their own header.
const (
	protocolVRRP = 112 // IANA, RFC 9568 section 5.1
	protocolAH   = 51  // RFC 4302 section 2

	ipv4Header = 20 // without options, RFC 791 section 3.1
	ipTOS      = 1
	ipLength   = 2
	ipID       = 4
	ipFragment = 6
	ipTTL      = 8
	ipProtocol = 9
	ipChecksum = 10
	ipSource   = 12
	ipTarget   = 16

	tosControl = 0xc0 // internetwork control, RFC 791; as keepalived sends it
	maxTTL     = 255  // RFC 9568 sections 5.1.1.3 and 5.1.2.3

	// The VRRP header, RFC 3768 section 5.1 and RFC 9568 section 5.1.
	vrrpHeader   = 8
	vrrpVersion  = 0 // and the type in the lower half
	vrrpVRID     = 1
	vrrpPriority = 2
	vrrpCount    = 3
	vrrpAuth     = 4 // version 2
	vrrpSeconds  = 5 // version 2
	vrrpInterval = 4 // version 3: 4 bits reserved, 12 of centiseconds
	vrrpChecksum = 6

	typeAdvert   = 1
	intervalMask = 0x0fff
	authData     = 8 // octets behind the addresses in version 2, also without authentication

	// keepalived 2.4's auth_hmac is that many octets behind the message
	// (vrrp_auth_hmac.c).
	hmacTrailer = 28
)

// MaxPacket is the size of the largest advert with its IPv4 header; a receive
// buffer of that many octets and one more sees every excess.
const MaxPacket = 60 + ahHeader + vrrpHeader + 255*16 + hmacTrailer
