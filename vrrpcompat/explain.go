package vrrpcompat

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Explain says in one line what is wrong with an advert that ParseAdvert
// rejected, what comes of it, and what to do; for Accepted, what is odd about it
// all the same, and "" where nothing is. It never shows a password. It allocates,
// and is for a log or a status that is limited in rate.
func (c *Codec) Explain(a Advert, why Reason) string {
	if why == Accepted {
		if a.VIPsDiffer {
			return fmt.Sprintf("%s advertises %s and we %s: clients of the difference lose their VIP at a take-over, and keepalived before 2.3.3 drops our adverts; give both the same virtual_ipaddress", a.Source, list(a.Addrs), list(c.cfg.VIPs))
		}
		return ""
	}
	said, fix := c.explainAuth(a, why)
	if said == "" {
		said, fix = c.explainMismatch(a, why)
	}
	if said != "" {
		return fmt.Sprintf("advert of %s dropped: %s, so that both can be Active at once; %s", a.Source, said, fix)
	}
	return fmt.Sprintf("packet of %s dropped: %s", a.Source, c.explainPacket(a, why))
}

// explainAuth explains what differs in the authentication.
func (c *Codec) explainAuth(a Advert, why Reason) (said, fix string) {
	ours := c.cfg.Auth.Type
	switch why {
	case ReasonNoAH:
		return "it has no authentication header, ours have one", "write the same auth_type AH and auth_pass there, or take auth out here"
	case ReasonAH:
		return "it has an authentication header, ours have none", "write auth: {type: AH} with its auth_pass here, or take the authentication block out there"
	case ReasonAuthUnknown:
		return fmt.Sprintf("it has authentication of %s, which is neither none, PASS nor AH", a.Auth), "that is no keepalived; find out what sends it"
	case ReasonAuthType:
		return fmt.Sprintf("its authentication is %s, ours %s", a.Auth, ours), "make auth here and the authentication block there the same"
	case ReasonPassword:
		return "its password is not ours", "write the same on both sides: 8 bytes count, and case and spaces with them"
	case ReasonICV:
		return "its authentication header does not go with our password", "write the same auth_pass on both sides, and see that both are multicast or both unicast"
	case ReasonReplay:
		return fmt.Sprintf("its number %d was used already, ours is %d", a.Sequence, c.seq.last), "that passes when one of the two takes over, if the router was restarted just now; else somebody replays its packets"
	default:
		return "", ""
	}
}

// explainMismatch explains what else two configurations can have different.
func (c *Codec) explainMismatch(a Advert, why Reason) (said, fix string) {
	switch why {
	case ReasonVersion:
		return fmt.Sprintf("it is of version %d, ours of %d", a.Version, c.cfg.Version), fmt.Sprintf("write version: %d here, or version %d in its vrrp_instance", a.Version, c.cfg.Version)
	case ReasonInterval:
		return fmt.Sprintf("its interval is %s, ours %s", a.Interval, c.cfg.Interval), fmt.Sprintf("write advert_interval: %s here, or advert_int %g there", a.Interval, c.cfg.Interval.Seconds())
	case ReasonVIPCount, ReasonVIPs:
		return fmt.Sprintf("it advertises %s, ours are %s", list(a.Addrs), list(c.cfg.VIPs)), "give both the same VIPs, in any order"
	case ReasonChecksumForm:
		return fmt.Sprintf("its checksum has the form %s, which is not taken here", a.Checksum), fmt.Sprintf("write checksum: %s here", a.Checksum)
	case ReasonPeer:
		return "it is none of the peers", fmt.Sprintf("add %s to peers, or find out who that is", a.Source)
	default:
		return "", ""
	}
}

// explainPacket explains a packet that no right router of ours sends.
func (c *Codec) explainPacket(a Advert, why Reason) string {
	switch why {
	case ReasonShort, ReasonTooShort:
		return "it is shorter than it says"
	case ReasonTooLong:
		return "it is longer than it says"
	case ReasonIPHeader:
		return "its IPv4 header contradicts itself"
	case ReasonTrailer:
		return fmt.Sprintf("it is %d octets longer than it says, as with auth_hmac of keepalived 2.4, which is not supported; take auth_hmac out there", hmacTrailer)
	case ReasonVRID:
		return fmt.Sprintf("it is of router %d, we are %d", a.VRID, c.cfg.VRID)
	case ReasonOwn:
		return "that is our own address: the network sends our packets back, or another host has it"
	case ReasonCast:
		return fmt.Sprintf("it went to %s, and not to %s: multicast routers do not hear unicast ones; set peers on both sides or on none", a.Destination, c.where())
	case ReasonTTL:
		return fmt.Sprintf("its TTL is %d and not %d: a router forwarded it, or it is forged", a.TTL, maxTTL)
	case ReasonPeerTTL:
		return fmt.Sprintf("its TTL is %d, out of min_ttl %d and max_ttl %d", a.TTL, c.cfg.MinTTL, c.cfg.MaxTTL)
	case ReasonAHHeader:
		return "its authentication header is not one of VRRP with HMAC-MD5-96"
	case ReasonSPI:
		return "its authentication header names another source: it was made for another host"
	case ReasonNoInterval:
		return "its interval is 0, and would be waited for no time at all; write advert_int 1 there"
	case ReasonType:
		return "it is no advertisement, and VRRP has no other type"
	case ReasonNoVIPs:
		return "it names no address (RFC 9568 section 5.2.5)"
	case ReasonChecksum:
		return "its checksum is wrong in every form: it was damaged on the way, or is no VRRP"
	default:
		return why.String()
	}
}

// where says who hears our adverts.
func (c *Codec) where() string {
	if c.cfg.Unicast() {
		return c.own.String()
	}
	return c.cfg.Group.String()
}

// list names up to four addresses.
func list(addrs []netip.Addr) string {
	const most = 4
	var words []string
	for _, a := range addrs[:min(most, len(addrs))] {
		words = append(words, a.String())
	}
	slices.Sort(words)
	if n := len(addrs) - most; n > 0 {
		words = append(words, fmt.Sprintf("%d more", n))
	}
	return strings.Join(words, ", ")
}
