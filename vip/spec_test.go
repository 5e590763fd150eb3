package vip

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	prefix := netip.MustParsePrefix
	for text, want := range map[string]Spec{
		"10.20.8.188/24 dev eth0":                  {Prefix: prefix("10.20.8.188/24"), Device: "eth0"},
		"10.20.8.188/24 dev eth0 label eth0:1":     {Prefix: prefix("10.20.8.188/24"), Device: "eth0", Label: "eth0:1"},
		"10.20.8.188/24 dev eth0 label eth0":       {Prefix: prefix("10.20.8.188/24"), Device: "eth0", Label: "eth0"},
		" 10.20.8.188/24\tlabel eth0:1  dev eth0 ": {Prefix: prefix("10.20.8.188/24"), Device: "eth0", Label: "eth0:1"},
		"10.20.8.188/24 dev bond0.100 scope link":  {Prefix: prefix("10.20.8.188/24"), Device: "bond0.100", Scope: ScopeLink},
		"10.20.8.188/24 dev eth0 scope 7":          {Prefix: prefix("10.20.8.188/24"), Device: "eth0", Scope: 7},
		"10.20.8.188/24 dev eth0 scope global":     {Prefix: prefix("10.20.8.188/24"), Device: "eth0"},
		"10.20.8.188/24 brd + dev eth0":            {Prefix: prefix("10.20.8.188/24"), Device: "eth0", Broadcast: netip.MustParseAddr("10.20.8.255")},
		"10.20.8.188/20 broadcast + dev eth0":      {Prefix: prefix("10.20.8.188/20"), Device: "eth0", Broadcast: netip.MustParseAddr("10.20.15.255")},
		"10.20.8.188/24 brd 10.20.8.255 dev eth0":  {Prefix: prefix("10.20.8.188/24"), Device: "eth0", Broadcast: netip.MustParseAddr("10.20.8.255")},
		"10.20.8.188/24 brd - dev eth0":            {Prefix: prefix("10.20.8.188/24"), Device: "eth0"},
		"10.20.8.188/32 dev eth0":                  {Prefix: prefix("10.20.8.188/32"), Device: "eth0"},
		"10.20.8.188/31 dev eth0":                  {Prefix: prefix("10.20.8.188/31"), Device: "eth0"},
		"fd00::188/64 dev eth0":                    {Prefix: prefix("fd00::188/64"), Device: "eth0"},
		"fe80::188/64 dev eth0 scope global":       {Prefix: prefix("fe80::188/64"), Device: "eth0"},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := ParseSpec(text)
			if err != nil || got != want {
				t.Fatalf("ParseSpec() = %+v, %v; want %+v", got, err, want)
			}
			if again, err := ParseSpec(got.String()); err != nil || again != got {
				t.Errorf("ParseSpec(%q) = %+v, %v; want %+v", got, again, err, got)
			}
		})
	}
}

func TestParseSpecRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"nothing":                 {"", "empty"},
		"no prefix length":        {"10.20.8.188 dev eth0 label eth0:1", "ifconfig takes the class mask (here 10.0.0.0/8, with a route that draws other networks' traffic) and ip takes /32; write 10.20.8.188/24"},
		"no prefix length, B":     {"172.16.8.188 dev eth0", "(here 172.16.0.0/16,"},
		"no prefix length, C":     {"192.168.8.188 dev eth0", "(here 192.168.8.0/24,"},
		"no prefix length, IPv6":  {"fd00::188 dev eth0", "write fd00::188/64"},
		"dotted mask":             {"10.20.8.188/255.255.255.0 dev eth0", "write 10.20.8.188/24"},
		"prefix length too long":  {"10.20.8.188/33 dev eth0", "not an address with a prefix length"},
		"host name":               {"db-vip/24 dev eth0", "not an address"},
		"zone":                    {"fe80::1%eth0/64 dev eth0", "has no place here; write fe80::1/64 dev"},
		"words first":             {"dev eth0 10.20.8.188/24", "not an address"},
		"no device":               {"10.20.8.188/24 label eth0:1", "no device; write 10.20.8.188/24 dev eth0"},
		"no value":                {"10.20.8.188/24 dev", "nothing follows \"dev\"; write for example dev eth0"},
		"device too long":         {"10.20.8.188/24 dev enp0s31f6abcdefg", "16 characters"},
		"device with slash":       {"10.20.8.188/24 dev ../all", "slash"},
		"device is a label":       {"10.20.8.188/24 dev eth0:1", "write dev eth0 label eth0:1"},
		"label too long":          {"10.20.8.188/24 dev eth0 label eth0:0123456789a", "16 characters: the kernel takes at most 15"},
		"label of another device": {"10.20.8.188/24 dev eth0 label eth1:1", "write label eth0:1"},
		"label of a longer name":  {"10.20.8.188/24 dev eth0 label eth01:1", "not one of device eth0"},
		"label without suffix":    {"10.20.8.188/24 dev eth0 label eth0:", "not one of device eth0"},
		"label on IPv6":           {"fd00::188/64 dev eth0 label eth0:1", "IPv6 addresses have no label"},
		"multicast":               {"224.0.0.18/24 dev eth0", "multicast"},
		"multicast, IPv6":         {"ff02::18/64 dev eth0", "multicast"},
		"limited broadcast":       {"255.255.255.255/32 dev eth0", "broadcast"},
		"unspecified":             {"0.0.0.0/24 dev eth0", "unspecified"},
		"unspecified, IPv6":       {"::/64 dev eth0", "unspecified"},
		"loopback":                {"127.0.0.2/8 dev lo", "loopback"},
		"loopback, IPv6":          {"::1/128 dev lo", "loopback"},
		"mapped":                  {"::ffff:10.20.8.188/120 dev eth0", "write 10.20.8.188"},
		"network address":         {"10.20.8.0/24 dev eth0", "network address of 10.20.8.0/24"},
		"broadcast address":       {"10.20.8.255/24 dev eth0", "broadcast address of 10.20.8.0/24"},
		"everything":              {"10.20.8.188/0 dev eth0", "prefix length 0"},
		"twice":                   {"10.20.8.188/24 dev eth0 dev eth1", "\"dev\" is there twice"},
		"twice, both names":       {"10.20.8.188/24 dev eth0 brd + broadcast +", "\"brd\" is there twice"},
		"typo":                    {"10.20.8.188/24 dve eth0", "did you mean \"dev\"?"},
		"typo, label":             {"10.20.8.188/24 dev eth0 lable eth0:1", "did you mean \"label\"?"},
		"another word":            {"10.20.8.188/24 interface eth0", "come dev, label, scope and brd"},
		"lifetime":                {"10.20.8.188/24 dev eth0 valid_lft 30", "that of its lease"},
		"flag":                    {"10.20.8.188/24 dev eth0 noprefixroute", "cannot be set on a VIP"},
		"scope":                   {"10.20.8.188/24 dev eth0 scope world", "write global, link, host or a number"},
		"scope nowhere":           {"10.20.8.188/24 dev eth0 scope 255", "write global"},
		"scope on IPv6":           {"fd00::188/64 dev eth0 scope link", "from the address"},
		"brd no address":          {"10.20.8.188/24 dev eth0 brd x", "not an address"},
		"brd + on /32":            {"10.20.8.188/32 dev eth0 brd +", "no broadcast address"},
		"brd on IPv6":             {"fd00::188/64 dev eth0 brd 10.0.0.255", "IPv6 has no broadcast"},
		"brd IPv6":                {"10.20.8.188/24 dev eth0 brd fd00::1", "not an IPv4 address"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseSpec(c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) || got != (Spec{}) {
				t.Errorf("ParseSpec(%q) = %+v, %v; want an error with %q", c.text, got, err, c.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"no VIP":       {Config{}, "no VIP"},
		"twice":        {Config{VIPs: specs(t, spec4, vip4+"/32 dev eth1")}, "configured twice"},
		"zero spec":    {Config{VIPs: []Spec{{}}}, "without a valid address"},
		"bad schedule": {Config{VIPs: specs(t, spec4), Announce: Schedule{Refresh: 1}}, "flood"},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: New() = %v; want an error with %q", name, err, c.want)
		}
	}
}

// What is accepted is valid, and comes back from its own words.
func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{spec4, spec6, spec4b, "10.20.8.188", "10.20.8.188/31 brd + dev x scope 253", "::ffff:1.2.3.4/128 dev a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSpec(text)
		if err != nil {
			return
		}
		if err := s.Validate(); err != nil {
			t.Errorf("accepted %q, not valid: %v", text, err)
		}
		if again, err := ParseSpec(s.String()); err != nil || again != s {
			t.Errorf("%q comes back as %+v, %v; want %+v", s, again, err, s)
		}
	})
}
