package vrrpcompat

import (
	"fmt"
	"net/netip"
	"testing"
)

// An injection is a frame that was sent to a keepalived 2.2.7, what that made of
// it, and what we do.
type injection struct {
	frame    string
	accepted bool   // by keepalived
	exact    Reason // with everything as strict as keepalived 2.2.7's
	ours     Reason // with the defaults
	differ   string // why we judge otherwise than keepalived with the defaults
}

// like is a frame that we judge as keepalived does.
func like(frame string, why Reason) injection {
	return injection{frame, why == Accepted, why, why, ""}
}

const (
	lenient    = "a difference of VIPs is told, not dropped: else both routers are Active (P15; keepalived 2.3.3 and RFC 9568 section 7.1 do the same)"
	bothForms  = "RFC 9568's form is taken too (P9)"
	noInterval = "an interval of 0 is waited for no time at all (P11)"
	peersOnly  = "in unicast only peers are heard"
)

// injections are the hand-made frames by file. Frames that never get through the
// kernel to a keepalived count as not accepted by it.
func injections() map[string][]injection {
	return map[string][]injection{
		"inject-v2.pcap": {
			like("valid lower prio", Accepted),
			like("ttl 254", ReasonTTL),
			like("version 3 body in v2 instance", ReasonVersion),
			like("version 1", ReasonTooLong),
			like("type 2", ReasonType),
			like("type 0", ReasonType),
			like("bad checksum", ReasonChecksum),
			like("auth type 0, nonzero auth data, csum all", Accepted),
			like("auth type 0, nonzero auth data, csum excl", ReasonChecksum),
			like("auth type 1", ReasonAuthType),
			like("auth type 3", ReasonAuthUnknown),
			like("auth type 2 w/o AH hdr", ReasonAuthType),
			like("adver int 2", ReasonInterval),
			like("adver int 0", ReasonInterval),
			{"two vips, expected one", false, ReasonVIPCount, Accepted, lenient},
			like("zero vips", ReasonNoVIPs),
			{"one different vip", false, ReasonVIPs, Accepted, lenient},
			like("no auth trailer (12 B)", ReasonTooShort),
			like("4 trailing bytes", ReasonTooLong),
			like("ethernet padding to 60", Accepted),
			like("ethernet padding to 64", Accepted),
			like("naddr=3 but 1 address present", ReasonTooShort),
			like("8-byte vrrp only, naddr 1", ReasonTooShort),
			like("7-byte vrrp", ReasonShort),
			like("unknown vrid 52", ReasonVRID),
			like("vrid 0", ReasonVRID),
			like("priority 0", Accepted),
			like("ip options (router alert)", Accepted),
			like("source off-subnet", Accepted),
			like("unicast dst", ReasonCast),
			like("other mcast dst 224.0.0.19", ReasonCast),
			like("source mac = vrrp vmac", Accepted),
			like("tos 0", Accepted),
			like("equal prio, lower ip", Accepted),
		},
		"inject-v2pass.pcap": {
			like("valid", Accepted),
			like("wrong password", ReasonPassword),
			like("space padded", ReasonPassword),
			like("auth type 0", ReasonAuthType),
			like("auth type 0 with right data", ReasonAuthType),
			like("csum excluding auth data", ReasonChecksum),
			like("right auth, bad csum", ReasonChecksum),
			like("wrong pw + bad csum + bad int (order)", ReasonPassword),
			like("adv mismatch + bad csum (order)", ReasonInterval),
			{"vip count + bad csum (order)", false, ReasonVIPCount, ReasonChecksum, ""},
			like("ttl 254 + wrong version + length (order)", ReasonTooLong),
			like("ttl 254 + too long (order)", ReasonTooLong),
		},
		"inject-v2ah.pcap": {
			like("valid, higher seq", Accepted),
			like("same seq replay", ReasonReplay),
			like("seq much lower (own master seq ahead)", ReasonReplay),
			like("bad icv", ReasonICV),
			like("icv computed with ttl zeroed (rfc2402)", ReasonICV),
			like("spi != source", ReasonSPI),
			like("next header 6", ReasonAHHeader),
			like("plain proto 112", ReasonNoAH),
			like("ttl 254", ReasonTTL),
			like("wrong key", ReasonICV),
			like("adv int mismatch (seq consumed?)", ReasonInterval),
			like("valid, seq just above consumed", ReasonReplay),
			like("auth data nonzero", Accepted),
		},
		"inject-v3.pcap": {
			like("valid", Accepted),
			{"no pseudo header", false, ReasonChecksumForm, Accepted, bothForms},
			like("pseudo header with other dst", ReasonChecksum),
			like("csum 0", ReasonChecksum),
			like("rsvd nibble 0xF", Accepted),
			like("max adver int 50 (mine 100)", Accepted),
			{"max adver int 0", true, ReasonNoInterval, ReasonNoInterval, noInterval},
			like("8 trailing zero bytes (v2-like)", ReasonTooLong),
			like("version 2 body", ReasonVersion),
			like("type 2", ReasonType),
			like("ttl 1", ReasonTTL),
			{"wrong vip", false, ReasonVIPs, Accepted, lenient},
			{"two vips", false, ReasonVIPCount, Accepted, lenient},
			like("zero vips", ReasonNoVIPs),
			like("frame padded to 60", Accepted),
			like("priority 0", Accepted),
		},
		"inject-v36.pcap": {
			like("valid", Accepted),
			like("hop limit 254", ReasonTTL),
			like("bad checksum", ReasonChecksum),
			like("no pseudo header", ReasonChecksum),
			like("vip order swapped", Accepted),
			{"only global vip", false, ReasonVIPCount, Accepted, lenient},
			like("source is global", Accepted),
			like("dst ff02::1", ReasonCast),
			like("trailing 4 bytes", ReasonTooLong),
			like("no VIPs (count 0)", ReasonNoVIPs),
			{"max adver int 0", true, ReasonNoInterval, ReasonNoInterval, noInterval},
			like("version 2", ReasonVersion),
		},
		"inject-uni.pcap": {
			like("valid", Accepted),
			like("ttl 64", Accepted),
			like("ttl 1", Accepted),
			{"source not a peer", true, Accepted, ReasonPeer, peersOnly},
			like("multicast dst", ReasonCast),
			{"vip mismatch", false, ReasonVIPs, Accepted, lenient},
		},
	}
}

// target is the configuration that the frames of a file were sent to, and its
// address.
func target(file string) (Config, netip.Addr) {
	c, own := base(), hostA
	switch file {
	case "inject-v2pass.pcap":
		c.Auth = Auth{Type: AuthPass, Password: "s3cret"}
	case "inject-v2ah.pcap":
		c.Auth = Auth{Type: AuthAH, Password: "s3cret"}
	case "inject-v3.pcap":
		c.Version = Version3
	case "inject-v36.pcap":
		c.VIPs, own = addrs("fe80::8:188", "fd00:8::188"), hostA6
	case "inject-uni.pcap":
		c.Peers = []netip.Addr{hostB}
	}
	return c, own
}

// asKeepalived makes a configuration as strict, and as lax, as keepalived 2.2.7.
func asKeepalived(c Config) Config {
	c.ExactVIPs, c.AnySource = true, c.Unicast()
	c.ExactChecksum = c.Version == Version3
	return c
}

// TestJudgesMalformedFramesAsKeepalived is P3 and P6: the 93 frames and verdicts.
func TestJudgesMalformedFramesAsKeepalived(t *testing.T) {
	n := 0
	for file, rows := range injections() {
		cfg, own := target(file)
		exact, ours := newCodec(t, asKeepalived(cfg), own), newCodec(t, cfg, own)
		all := frames(t, file)
		if len(all) != len(rows) {
			t.Fatalf("%s has %d frames, the table %d", file, len(all), len(rows))
		}
		for i, row := range rows {
			n++
			t.Run(fmt.Sprintf("%s/%d %s", file, i+1, row.frame), func(t *testing.T) {
				p, _, ok := packet(all[i])
				if !ok {
					t.Fatal("the frame is not for protocol 112 or 51")
				}
				// keepalived was Active, and said something of its own between the frames.
				exact.NextRound()
				ours.NextRound()
				if a, why := exact.ParseAdvert(p); why != row.exact {
					t.Errorf("as strict as keepalived: %s, want %s\n%s", why, row.exact, exact.Explain(a, why))
				}
				if a, why := ours.ParseAdvert(p); why != row.ours {
					t.Errorf("with the defaults: %s, want %s\n%s", why, row.ours, ours.Explain(a, why))
				}
				if same := (row.ours == Accepted) == row.accepted; same != (row.differ == "") {
					t.Errorf("the table says %q of a verdict that is the same: %v", row.differ, same)
				}
			})
		}
	}
	if n != 93 {
		t.Errorf("%d frames, want 93", n)
	}
}
