package lab

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// frame reads hexadecimal digits.
func frame(t *testing.T, digits ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(digits, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseAdvert(t *testing.T) {
	from4, from6 := netip.MustParseAddr("10.20.8.50"), netip.MustParseAddr("fe80::ff:fe00:850")
	ip4 := func(protocol, total string) string {
		return "01005e000012 020000000850 0800 45c0" + total + "00010000ff" + protocol + "c84c0a140832e0000012"
	}
	const ip6 = "333300000012 020000000850 86dd 6c058fec002870ff fe80000000000000000000fffe000850 ff020000000000000000000000000012"
	v2, v3 := "2133960100010000 0a1408bc 0000000000000000", "3133000100640000"
	for name, c := range map[string]struct {
		frame []byte
		want  Advert // without time and port; the zero Advert: it is none
	}{
		"version 2":           {frame(t, ip4("70", "0028"), v2), Advert{From: from4, Version: 2, VRID: 51, Priority: 150}},
		"behind AH":           {frame(t, ip4("33", "0040"), "70040000 0a140832 00000001 052f98bb4a598d67a8397696", v2), Advert{From: from4, AH: true, Version: 2, VRID: 51, Priority: 150}},
		"IPv6, leaving":       {frame(t, ip6, v3), Advert{From: from6, Version: 3, VRID: 51}},
		"cut short":           {frame(t, ip4("70", "0028"), "2133"), Advert{}},
		"cut short in AH":     {frame(t, ip4("33", "0040"), "70040000"), Advert{}},
		"IPv6 header too big": {frame(t, ip6)[:50], Advert{}},
		"another EtherType":   {frame(t, strings.Replace(ip4("70", "0028"), "0800", "0806", 1), v2), Advert{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parseAdvert(c.frame)
			if ok != (c.want != Advert{}) || ok && got != c.want {
				t.Errorf("parseAdvert = %+v, %t; want %+v", got, ok, c.want)
			}
		})
	}
}

// A solicitation as the prober sends it is read as a question, and the answers to
// it as replies.
func TestParseNDP(t *testing.T) {
	asker, vip := netip.MustParseAddr("fd00:20:8::200"), netip.MustParseAddr("fd00:20:8::188")
	mac := []byte{2, 0, 0, 0, 0, 0xfe}
	ask := solicit(mac, asker, vip)
	f, ok := parseNDP(ask)
	if !ok || f.Reply || f.SenderIP != asker || f.TargetIP != vip || f.SenderMAC != "02:00:00:00:00:fe" || f.TargetMAC != "33:33:ff:00:01:88" {
		t.Errorf("a solicitation is %+v, %t", f, ok)
	}
	// With the checksum in its place the sum over everything is 0xffff, RFC 1071.
	if sum := checksum6(asker, netip.MustParseAddr("ff02::1:ff00:188"), ask[14+40:]); sum != 0 {
		t.Errorf("the checksum of a solicitation is off by %#x", sum)
	}
	answer := slices.Clone(ask)
	copy(answer[14+24:], asker.AsSlice())
	answer[14+40] = advertisement
	if f, ok = parseNDP(answer); !ok || !f.Reply || !f.Claims(vip) || f.TargetIP != asker || f.Gratuitous() {
		t.Errorf("an advertisement to the asker is %+v, %t", f, ok)
	}
	copy(answer[14+24:], allNodes().AsSlice())
	if f, ok = parseNDP(answer); !ok || !f.Claims(vip) || !f.Gratuitous() {
		t.Errorf("an advertisement to all is %+v, %t", f, ok)
	}
	answer[14+40] = 134 // a router's, RFC 4861 section 4.2
	if f, ok = parseNDP(answer); ok {
		t.Errorf("a router's advertisement is %+v", f)
	}
	if f, ok = parseNDP(ask[:70]); ok {
		t.Errorf("half a solicitation is %+v", f)
	}
}
