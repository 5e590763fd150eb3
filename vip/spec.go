package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxName is the longest device name or label, in bytes: IFNAMSIZ less the
// terminating zero, netdevice(7).
const maxName = unix.IFNAMSIZ - 1

// A Scope is how far an IPv4 address is valid, as in ip-address(8). The zero
// Scope is global.
type Scope uint8

// The scopes that have a name, rtnetlink(7).
const (
	ScopeGlobal Scope = unix.RT_SCOPE_UNIVERSE
	ScopeSite   Scope = unix.RT_SCOPE_SITE
	ScopeLink   Scope = unix.RT_SCOPE_LINK
	ScopeHost   Scope = unix.RT_SCOPE_HOST
)

// String returns the name that ip(8) takes, or the number.
func (s Scope) String() string {
	switch s {
	case ScopeGlobal:
		return "global"
	case ScopeSite:
		return "site"
	case ScopeLink:
		return "link"
	case ScopeHost:
		return "host"
	}
	return strconv.Itoa(int(s))
}

// A Spec is one VIP as configured.
type Spec struct {
	// Prefix is the address with its prefix length; the host bits are kept.
	Prefix netip.Prefix
	// Device is the name of the network device, "eth0". It need not exist yet.
	Device string
	// Label names an IPv4 address for ifconfig(8), "eth0:1". Empty means the
	// device's name, which is also what the kernel takes then.
	Label string
	// Scope is global unless said otherwise; IPv6 takes it from the address.
	Scope Scope
	// Broadcast is the IPv4 broadcast address, the invalid Addr for none.
	Broadcast netip.Addr
}

// String returns the words that ParseSpec takes.
func (s Spec) String() string {
	var b strings.Builder
	b.WriteString(s.Prefix.String() + " dev " + s.Device)
	if s.Label != "" {
		b.WriteString(" label " + s.Label)
	}
	if s.Scope != ScopeGlobal {
		b.WriteString(" scope " + s.Scope.String())
	}
	if s.Broadcast.IsValid() {
		b.WriteString(" brd " + s.Broadcast.String())
	}
	return b.String()
}

// label returns the label that the kernel shows for the address: none for IPv6.
func (s Spec) label() string {
	switch {
	case s.Prefix.Addr().Is6():
		return ""
	case s.Label == "":
		return s.Device
	}
	return s.Label
}

// Validate reports what is wrong with s, why it matters and what to write
// instead. It looks at the words only; OwnAddress compares with the host.
func (s Spec) Validate() error {
	if err := s.validateAddress(); err != nil {
		return err
	}
	if err := validateName("device", s.Device); err != nil {
		return fmt.Errorf("VIP %s: %w", s.Prefix, err)
	}
	if strings.ContainsRune(s.Device, ':') {
		base, _, _ := strings.Cut(s.Device, ":")
		return fmt.Errorf("VIP %s: %q is a label, not a device; write dev %s label %s", s.Prefix, s.Device, base, s.Device)
	}
	if err := s.validateLabel(); err != nil {
		return err
	}
	return s.validateScope()
}

func (s Spec) validateAddress() error {
	a, bits := s.Prefix.Addr(), s.Prefix.Bits()
	switch {
	case !s.Prefix.IsValid():
		return errors.New("VIP without a valid address and prefix length; write for example 10.20.8.188/24")
	case a.Is4In6():
		return fmt.Errorf("VIP %s is an IPv4 address in IPv6 clothes, which no interface can have; write %s with its IPv4 prefix length", s.Prefix, a.Unmap())
	case a.IsUnspecified():
		return fmt.Errorf("VIP %s is the unspecified address, which no host can have; write the address that the clients use", s.Prefix)
	case a.IsLoopback():
		return fmt.Errorf("VIP %s is a loopback address: no other host could reach it; write the address that the clients use", s.Prefix)
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("VIP %s is a multicast or broadcast address: only a unicast address can belong to one host", s.Prefix)
	case bits == 0:
		return fmt.Errorf("VIP %s: prefix length 0 would route every network to the device; write that of its subnet, for example %s/24", s.Prefix, a)
	case a.Is4() && bits < 31 && a == s.Prefix.Masked().Addr():
		return fmt.Errorf("VIP %s is the network address of %s, which is not a host's; write a host address of that subnet", s.Prefix, s.Prefix.Masked())
	case a.Is4() && bits < 31 && a == lastAddr(s.Prefix):
		return fmt.Errorf("VIP %s is the broadcast address of %s, which is not a host's; write a host address of that subnet", s.Prefix, s.Prefix.Masked())
	}
	return nil
}

func (s Spec) validateLabel() error {
	switch {
	case s.Label == "":
		return nil
	case s.Prefix.Addr().Is6():
		return fmt.Errorf("VIP %s: label %q: IPv6 addresses have no label; leave the label out", s.Prefix, s.Label)
	}
	if err := validateName("label", s.Label); err != nil {
		return fmt.Errorf("VIP %s: %w", s.Prefix, err)
	}
	if suffix, ok := strings.CutPrefix(s.Label, s.Device+":"); (!ok || suffix == "") && s.Label != s.Device {
		return fmt.Errorf("VIP %s: label %q is not one of device %s: ifconfig would show the address on another device; write label %s:1", s.Prefix, s.Label, s.Device, s.Device)
	}
	return nil
}

func (s Spec) validateScope() error {
	switch {
	case s.Prefix.Addr().Is6() && s.Scope != ScopeGlobal:
		return fmt.Errorf("VIP %s: scope %s: the kernel takes the scope of an IPv6 address from the address; leave the scope out", s.Prefix, s.Scope)
	case s.Broadcast.IsValid() && s.Prefix.Addr().Is6():
		return fmt.Errorf("VIP %s: brd %s: IPv6 has no broadcast; leave brd out", s.Prefix, s.Broadcast)
	case s.Broadcast.IsValid() && !s.Broadcast.Is4():
		return fmt.Errorf("VIP %s: brd %s is not an IPv4 address; write brd + for the subnet's", s.Prefix, s.Broadcast)
	}
	return nil
}

// validateName applies dev_valid_name of the kernel (net/core/dev.c), less the
// colon, which labels have.
func validateName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("no %s; write for example dev eth0", what)
	case len(name) > maxName:
		return fmt.Errorf("%s %q has %d characters: the kernel takes at most %d; shorten it", what, name, len(name), maxName)
	case name == ".", name == "..", strings.ContainsAny(name, "/ \t\n\v\f\r\x00"):
		return fmt.Errorf("%s %q: no kernel name may be . or .. or have a slash or a space", what, name)
	}
	return nil
}

// validateAll validates each spec, and that no address is there twice.
func validateAll(specs []Spec) error {
	if len(specs) == 0 {
		return errors.New("no VIP is configured; write for example 10.20.8.188/24 dev eth0")
	}
	seen := make(map[netip.Addr]Spec, len(specs))
	for _, s := range specs {
		if err := s.Validate(); err != nil {
			return err
		}
		if other, ok := seen[s.Prefix.Addr()]; ok {
			return fmt.Errorf("VIP %s is configured twice (%q and %q): only one of the copies could be the right one; take one out", s.Prefix.Addr(), other, s)
		}
		seen[s.Prefix.Addr()] = s
	}
	return nil
}

// lastAddr returns the highest address of an IPv4 prefix.
func lastAddr(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(a)
}
