package vrrpcompat

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

var (
	hostA  = netip.MustParseAddr("10.20.8.50")
	hostB  = netip.MustParseAddr("10.20.8.27")
	hostA6 = netip.MustParseAddr("fe80::ff:fe00:850")
	hostB6 = netip.MustParseAddr("fe80::ff:fe00:827")
	other4 = netip.MustParseAddr("10.20.8.99")
	other6 = netip.MustParseAddr("fe80::99")
)

func addrs(s ...string) []netip.Addr {
	var all []netip.Addr
	for _, a := range s {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// base is the configuration that the captures have in common.
func base() Config {
	return Config{VRID: 51, Priority: 150, Interval: time.Second, VIPs: addrs("10.20.8.188")}
}

// newCodec is the codec of a configuration that is valid.
func newCodec(tb testing.TB, c Config, own netip.Addr) *Codec {
	tb.Helper()
	codec, err := NewCodec(c, own)
	if err != nil {
		tb.Fatal(err)
	}
	return codec
}

// a capture is a file, and how a sender in it differs from base.
type capture struct {
	file   string
	differ func(c *Config, vrid uint8, src netip.Addr)
	form   ChecksumForm // of the file's first advert
}

func same(*Config, uint8, netip.Addr) {}

func version3(c *Config, _ uint8, _ netip.Addr) { c.Version = Version3 }

func auth(t AuthType, password string) func(*Config, uint8, netip.Addr) {
	return func(c *Config, _ uint8, _ netip.Addr) { c.Auth = Auth{Type: t, Password: password} }
}

// unicast makes c one of two that write to each other.
func unicast(c *Config, _ uint8, src netip.Addr) {
	c.Peers = []netip.Addr{hostA}
	if src == hostA {
		c.Peers = []netip.Addr{hostB}
	}
}

func both(edits ...func(*Config, uint8, netip.Addr)) func(*Config, uint8, netip.Addr) {
	return func(c *Config, vrid uint8, src netip.Addr) {
		for _, edit := range edits {
			edit(c, vrid, src)
		}
	}
}

func captures() []capture {
	all := []capture{
		{"v2-noauth-3vip.pcap", func(c *Config, _ uint8, src netip.Addr) {
			c.VIPs = addrs("10.20.8.188", "10.20.8.189", "10.20.8.190")
			if src == hostB {
				slices.Reverse(c.VIPs)
			}
		}, ChecksumMessage},
		{"v2-auth-pass.pcap", auth(AuthPass, "s3cret"), ChecksumMessage},
		{"v2-auth-pass-trunc.pcap", auth(AuthPass, "longpass"), ChecksumMessage},
		{"v2-auth-ah.pcap", auth(AuthAH, "s3cret"), ChecksumMessage},
		{"v2-auth-ah-restart.pcap", auth(AuthAH, "s3cret"), ChecksumMessage},
		{"v2-auth-ah-unicast.pcap", both(auth(AuthAH, "s3cret"), unicast), ChecksumMessage},
		{"v2-unicast.pcap", unicast, ChecksumMessage},
		{"v2-sync-group.pcap", func(c *Config, vrid uint8, _ netip.Addr) {
			if c.VRID = vrid; vrid == 52 {
				c.VIPs = addrs("10.20.8.189")
			}
		}, ChecksumMessage},
		{"v2-vip-count-mismatch.pcap", func(c *Config, _ uint8, src netip.Addr) {
			if src == hostA {
				c.VIPs = addrs("10.20.8.188", "10.20.8.189")
			}
		}, ChecksumMessage},
		{"v2-interval-mismatch.pcap", func(c *Config, _ uint8, src netip.Addr) {
			if src == hostA {
				c.Interval = 2 * time.Second
			}
		}, ChecksumMessage},
		{"v3-ipv4.pcap", version3, ChecksumPseudo},
		{"v3-ipv4-3vip.pcap", both(version3, func(c *Config, _ uint8, _ netip.Addr) {
			c.VIPs = addrs("10.20.8.188", "10.20.8.189", "10.20.8.190")
		}), ChecksumPseudo},
		{"v3-ipv4-cs10.pcap", both(version3, func(c *Config, _ uint8, _ netip.Addr) { c.Interval = 100 * time.Millisecond }), ChecksumPseudo},
		{"v3-interval-learn.pcap", both(version3, func(c *Config, _ uint8, src netip.Addr) {
			if c.Interval = 2 * time.Second; src == hostA {
				c.Interval = 500 * time.Millisecond
			}
		}), ChecksumPseudo},
		{"v3-unicast.pcap", both(version3, unicast), ChecksumPseudo},
		{"v3-unicast-oldcsum.pcap", both(version3, unicast, oldSum), ChecksumGroup},
		{"v3-unicast-oldcsum-auto.pcap", both(version3, unicast, oldSum), ChecksumGroup},
	}
	ipv6 := func(c *Config, _ uint8, _ netip.Addr) { c.VIPs = addrs("fe80::8:188", "fd00:8::188") }
	for _, file := range []string{"v3-ipv6.pcap", "v3-ipv6-use-vmac.pcap"} {
		all = append(all, capture{file, ipv6, ChecksumPseudo})
	}
	all = append(all, capture{"v3-ipv6-unicast.pcap", func(c *Config, _ uint8, src netip.Addr) {
		c.VIPs, c.Peers = addrs("fd00:8::188"), addrs("fd00:8::50")
		if src == c.Peers[0] {
			c.Peers = addrs("fd00:8::27")
		}
	}, ChecksumPseudo})
	for _, name := range []string{
		"noauth", "evip", "stop-prio0", "takeover-crash", "preempt", "nopreempt", "preempt-delay", "equal-prio-late", "equal-prio-heal",
		"owner255", "owner-clash", "state-master-no-priority", "lower-prio-rx", "higher-prio-send", "track-weight", "fault", "linkdown",
		"vip-deleted", "reload", "kill9-parent", "use-vmac", "use-vmac-xmit-base", "garp-refresh", "min-garp", "mcast-src", "strict",
	} {
		all = append(all, capture{"v2-" + name + ".pcap", same, ChecksumMessage})
	}
	return all
}

// oldSum is A's old_unicast_checksum; B hears it, and goes on to send the new form.
func oldSum(c *Config, _ uint8, src netip.Addr) {
	if src == hostA {
		c.Checksum = ChecksumGroup
	}
}

// config is that of a packet's sender.
func (c capture) config(vrid uint8, src netip.Addr) Config {
	cfg := base()
	c.differ(&cfg, vrid, src)
	return cfg
}

// ends reads the addresses without our parser.
func ends(p Packet) (src, dst netip.Addr) {
	if p.Src.IsValid() {
		return p.Src, p.Dst
	}
	return netip.AddrFrom4([4]byte(p.Data[12:])), netip.AddrFrom4([4]byte(p.Data[16:]))
}

// listener is the codec of a third host with the configuration of a sender.
func (c capture) listener(tb testing.TB, vrid uint8, src netip.Addr) *Codec {
	tb.Helper()
	cfg, own := c.config(vrid, src), other4
	if src.Is6() {
		own = other6
	}
	if cfg.Unicast() {
		cfg.Peers = []netip.Addr{src}
	}
	return newCodec(tb, cfg, own)
}

func TestEveryCaptureIsThere(t *testing.T) {
	var want, got []string
	for _, c := range captures() {
		want = append(want, c.file)
	}
	for name := range injections() {
		want = append(want, name)
	}
	files, err := filepath.Glob("testdata/*.pcap")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		got = append(got, filepath.Base(f))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("testdata has %q\nand the tables have %q", got, want)
	}
}

// TestReadsWhatKeepalivedSends is P2: every advert of every capture is accepted,
// and its checksum has the form that the sender was configured for.
func TestReadsWhatKeepalivedSends(t *testing.T) {
	n := 0
	for _, c := range captures() {
		t.Run(c.file, func(t *testing.T) {
			listeners := map[netip.Addr]map[uint8]*Codec{}
			for i, p := range adverts(t, c.file) {
				src, _ := ends(p)
				vrid, ok := p.VRID(src.Is6())
				if !ok {
					t.Fatalf("advert %d is too short for a VRID", i+1)
				}
				if listeners[src] == nil {
					listeners[src] = map[uint8]*Codec{}
				}
				if listeners[src][vrid] == nil {
					listeners[src][vrid] = c.listener(t, vrid, src)
				}
				listener := listeners[src][vrid]
				a, why := listener.ParseAdvert(p)
				if why != Accepted {
					t.Fatalf("advert %d: %s", i+1, listener.Explain(a, why))
				}
				want := listener.cfg
				if a.Checksum != want.Checksum || a.Interval != want.Interval || a.Version != want.Version || a.VIPsDiffer || a.Auth != want.Auth.Type {
					t.Errorf("advert %d: ParseAdvert = %+v, want what its sender has: %+v", i+1, a, want)
				}
				if i == 0 && a.Checksum != c.form {
					t.Errorf("the checksum is %s, want %s", a.Checksum, c.form)
				}
				n++
			}
		})
	}
	t.Logf("%d adverts of keepalived", n)
}

// TestWritesWhatKeepalivedSends is P1, of every advert of every capture: the
// codec of the sender writes the same octets.
func TestWritesWhatKeepalivedSends(t *testing.T) {
	n := 0
	for _, c := range captures() {
		t.Run(c.file, func(t *testing.T) {
			for i, p := range adverts(t, c.file) {
				src, dst := ends(p)
				vrid, _ := p.VRID(src.Is6())
				msg, data := p.Data, p.Data
				sender := newCodec(t, c.config(vrid, src), src)
				if src.Is4() {
					total := int(binary.BigEndian.Uint16(data[ipLength:]))
					data, msg = data[:total], data[ipv4Header:]
					sender.id = binary.BigEndian.Uint16(data[ipID:])
					if sender.mac != nil {
						sender.seq.last = binary.BigEndian.Uint32(msg[ahSequence:])
						msg = msg[ahHeader:]
					}
				}
				if got := sender.AppendAdvert(nil, msg[vrrpPriority], dst); !bytes.Equal(got, data) {
					t.Errorf("advert %d: AppendAdvert =\n%x, keepalived sent\n%x", i+1, got, data)
				}
				n++
			}
		})
	}
	t.Logf("%d adverts of keepalived", n)
}

// TestFirstRoundIsKeepalivedsFirst is P1 without a look at the packet: the first
// thing that A says is the first frame of A, with identification and number 1.
func TestFirstRoundIsKeepalivedsFirst(t *testing.T) {
	for file, own := range map[string]netip.Addr{
		"v2-noauth.pcap": hostA, "v2-auth-pass.pcap": hostA, "v2-auth-ah.pcap": hostB, "v2-auth-ah-unicast.pcap": hostA,
		"v3-ipv4.pcap": hostA, "v3-ipv6.pcap": hostA6, "v3-unicast.pcap": hostA,
	} {
		t.Run(file, func(t *testing.T) {
			i := slices.IndexFunc(captures(), func(c capture) bool { return c.file == file })
			codec := newCodec(t, captures()[i].config(51, own), own)
			first := adverts(t, file)[0]
			priority := uint8(150)
			if own == hostB {
				priority = 100
			}
			codec.NextRound()
			if got := codec.AppendAdvert(nil, priority, codec.Destinations()[0]); !bytes.Equal(got, first.Data) {
				t.Errorf("the first advert is\n%x, keepalived's is\n%x", got, first.Data)
			}
		})
	}
}
