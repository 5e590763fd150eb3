package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ParseSpec reads one VIP in the words of ip-address(8), which are also those
// of keepalived's virtual_ipaddress:
//
//	10.20.8.188/24 dev eth0 label eth0:1 scope global brd +
//
// Prefix length and dev are compulsory; dev, label, scope and brd (or
// broadcast) may come in any order, once each. The result is valid. An error
// says what is wrong, why it matters, and what to write instead.
func ParseSpec(text string) (Spec, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Spec{}, fmt.Errorf("empty VIP; write for example 10.20.8.188/24 dev eth0")
	}
	prefix, err := parsePrefix(words[0])
	if err != nil {
		return Spec{}, err
	}
	s, seen := Spec{Prefix: prefix}, map[string]bool{}
	for rest := words[1:]; len(rest) > 0; rest = rest[2:] {
		word := rest[0]
		if word == "broadcast" {
			word = "brd"
		}
		if err := checkWord(word); err != nil {
			return Spec{}, fmt.Errorf("VIP %s: %w", prefix, err)
		}
		if seen[word] {
			return Spec{}, fmt.Errorf("VIP %s: %q is there twice; keep one", prefix, word)
		}
		if len(rest) < 2 {
			return Spec{}, fmt.Errorf("VIP %s: nothing follows %q; write for example %s", prefix, word, wordExamples(word))
		}
		seen[word] = true
		if err := s.setWord(word, rest[1]); err != nil {
			return Spec{}, fmt.Errorf("VIP %s: %w", prefix, err)
		}
	}
	if s.Device == "" {
		return Spec{}, fmt.Errorf("VIP %s: no device; write %s dev eth0 with the name of your interface", prefix, prefix)
	}
	if err := s.Validate(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// parsePrefix reads the first word, and explains a missing prefix length, case
// P1 of the acceptance table: ifconfig(8) takes the class mask, ip(8) /32.
func parsePrefix(word string) (netip.Prefix, error) {
	if address, zone, ok := strings.Cut(word, "%"); ok {
		return netip.Prefix{}, fmt.Errorf("VIP %q: the zone %q has no place here; write %s/64 dev and the device", word, zone, address)
	}
	if a, err := netip.ParseAddr(word); err == nil && a.Is4() {
		return netip.Prefix{}, fmt.Errorf("VIP %s has no prefix length: without one ifconfig takes the class mask (here %s, with a route that draws other networks' traffic) and ip takes /32; write %s/24, with the prefix length of its subnet", a, classPrefix(a), a)
	} else if err == nil {
		return netip.Prefix{}, fmt.Errorf("VIP %s has no prefix length: without one ip takes /128; write %s/64, with the prefix length of its subnet", a, a)
	}
	if a, mask, ok := strings.Cut(word, "/"); ok && strings.Contains(mask, ".") {
		return netip.Prefix{}, fmt.Errorf("VIP %q: the mask must be a prefix length; write %s/24 for 255.255.255.0", word, a)
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("VIP %q is not an address with a prefix length; write for example 10.20.8.188/24 dev eth0", word)
	}
	return p, nil
}

// classPrefix returns the network that ifconfig(8) takes a for, RFC 791.
func classPrefix(a netip.Addr) netip.Prefix {
	bits := 8
	switch first := a.As4()[0]; {
	case first >= 192:
		bits = 24
	case first >= 128:
		bits = 16
	}
	return netip.PrefixFrom(a, bits).Masked()
}

func (s *Spec) setWord(word, value string) error {
	switch word {
	case "dev":
		s.Device = value
	case "label":
		s.Label = value
	case "scope":
		return s.setScope(value)
	case "brd":
		return s.setBroadcast(value)
	}
	return nil
}

func (s *Spec) setScope(value string) error {
	for _, named := range []Scope{ScopeGlobal, ScopeSite, ScopeLink, ScopeHost} {
		if value == named.String() {
			s.Scope = named
			return nil
		}
	}
	n, err := strconv.ParseUint(value, 10, 8)
	if err != nil || n == unix.RT_SCOPE_NOWHERE {
		return fmt.Errorf("scope %q is none; write global, link, host or a number from 0 to 254", value)
	}
	s.Scope = Scope(n)
	return nil
}

func (s *Spec) setBroadcast(value string) error {
	switch {
	case value == "-":
		s.Broadcast = netip.Addr{}
		return nil
	case value == "+" && s.Prefix.Addr().Is4() && s.Prefix.Bits() < 31:
		s.Broadcast = lastAddr(s.Prefix)
		return nil
	case value == "+":
		return fmt.Errorf("brd +: this subnet has no broadcast address; leave brd out")
	}
	a, err := netip.ParseAddr(value)
	if err != nil {
		return fmt.Errorf("brd %q is not an address; write brd + for the subnet's", value)
	}
	s.Broadcast = a
	return nil
}

func wordExamples(word string) string {
	return map[string]string{"dev": "dev eth0", "label": "label eth0:1", "scope": "scope global", "brd": "brd +"}[word]
}

// checkWord refuses a word that is none of ours, with the nearest one of ours.
func checkWord(word string) error {
	known := []string{"dev", "label", "scope", "brd"}
	if slices.Contains(known, word) {
		return nil
	}
	switch word {
	case "valid_lft", "preferred_lft":
		return fmt.Errorf("%q cannot be set: the lifetime of a VIP is that of its lease; leave it out", word)
	case "nodad", "home", "mngtmpaddr", "noprefixroute", "optimistic", "secondary", "metric", "peer", "track", "no_track":
		return fmt.Errorf("%q cannot be set on a VIP; leave it out", word)
	}
	near, best := "", 3 // more than two edits away is another word
	for _, k := range append(known, "broadcast") {
		if d := editDistance(word, k); d < best {
			near, best = k, d
		}
	}
	if near != "" {
		return fmt.Errorf("unknown word %q; did you mean %q?", word, near)
	}
	return fmt.Errorf("unknown word %q; after the address come dev, label, scope and brd, each with its value", word)
}

// editDistance is Levenshtein's, one row at a time.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
