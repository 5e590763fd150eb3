package vrrpcompat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// A setting is one of Documentation/networking/ip-sysctl.rst, for one interface.
type setting struct{ family, key, value string }

// baseSettings are what the base interface needs for IPv4. In each the larger of
// conf.all and conf.<if> holds.
func baseSettings() []setting {
	return []setting{
		{"ipv4", "arp_ignore", "1"},   // answer for its own addresses only
		{"ipv4", "arp_announce", "2"}, // ask in the name of its own addresses only
	}
}

// settings are what the interface itself needs.
func (v vmac) settings() []setting {
	if v.v6 {
		return []setting{
			{"ipv6", "disable_ipv6", "0"}, // conf.default may say 1
			{"ipv6", "accept_ra", "0"},    // no address and no route of its own
		}
	}
	return []setting{
		{"ipv6", "disable_ipv6", "1"}, // no link-local address, no MLD
		{"ipv4", "arp_ignore", "1"},   // leave the base interface's addresses to it
		// What comes in for the VIP goes out by the base interface: strict filtering
		// would drop it. 2 is loose, and holds against a 1 of conf.all.
		{"ipv4", "rp_filter", "2"},
	}
}

func (s setting) path(device string) string {
	return "/proc/sys/net/" + s.family + "/conf/" + device + "/" + s.key
}

// apply writes a setting, if it is not so already: without need it asks for no
// right to.
func (s setting) apply(device string) error {
	b, err := os.ReadFile(s.path(device))
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.family == "ipv6" && s.value == "1":
		return nil // without IPv6 there is nothing to disable
	case err == nil && strings.TrimSpace(string(b)) == s.value:
		return nil
	}
	if err := os.WriteFile(s.path(device), []byte(s.value+"\n"), 0o644); err != nil {
		return fmt.Errorf("set net.%s.conf.%s.%s=%s: %w: without it the VIP would be answered for with another MAC address, or not at all; give the daemon CAP_NET_ADMIN and a writable /proc/sys/net (no ProtectKernelTunables=)",
			s.family, device, s.key, s.value, err)
	}
	return nil
}

// mark writes the alias of an interface, unless it has it, with what the base
// interface's settings were, and only then changes them: whatever becomes of this
// process, they can be given back.
func (v vmac) mark(link, parent netlink.Link) error {
	if !v.ours(link) {
		alias, err := v.alias(parent)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetAlias(link, alias); err != nil {
			return fmt.Errorf("set the alias of %s: %w", v.name, err)
		}
	}
	if v.v6 {
		return nil
	}
	for _, s := range baseSettings() {
		if err := s.apply(v.base); err != nil {
			return err
		}
	}
	return nil
}

// alias returns the alias of a new interface: what another one on the same base
// interface has, since that one came first, else what the settings are.
func (v vmac) alias(parent netlink.Link) (string, error) {
	if v.v6 {
		return vmacAlias, nil
	}
	alias, err := siblingAlias(parent.Attrs().Index)
	if err != nil || alias != "" {
		return alias, err
	}
	alias = vmacAlias
	for _, s := range baseSettings() {
		b, err := os.ReadFile(s.path(v.base))
		if err != nil {
			return "", fmt.Errorf("read what to give back: %w", err)
		}
		alias += " " + s.key + "=" + strings.TrimSpace(string(b))
	}
	return alias, nil
}

// siblingAlias returns the alias of an interface of ours for IPv4 on a base
// interface; "" without one.
func siblingAlias(parent int) (string, error) {
	links, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // they changed meanwhile
		links, err = netlink.LinkList()
	}
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		if a := l.Attrs(); a.ParentIndex == parent && strings.HasPrefix(a.Alias, vmacAlias+" ") {
			return a.Alias, nil
		}
	}
	return "", nil
}

// settle makes the interface's own settings.
func (v vmac) settle(link netlink.Link) error {
	for _, s := range v.settings() {
		if err := s.apply(v.name); err != nil {
			return err
		}
	}
	if !v.v6 {
		return nil
	}
	if err := netlink.LinkSetIP6AddrGenMode(link, addrGenNone); err != nil {
		return fmt.Errorf("keep %s from making itself a link-local address: %w", v.name, err)
	}
	return nil
}

// giveBack gives the base interface the settings back that the alias of one that
// was removed has, if it was the last one, and they are still what mark made them.
func (v vmac) giveBack(removed netlink.Link) error {
	if alias, err := siblingAlias(removed.Attrs().ParentIndex); err != nil || alias != "" {
		return err
	}
	for word := range strings.FieldsSeq(removed.Attrs().Alias) {
		for _, s := range baseSettings() {
			before, ok := strings.CutPrefix(word, s.key+"=")
			if b, err := os.ReadFile(s.path(v.base)); !ok || err != nil || strings.TrimSpace(string(b)) != s.value {
				continue // gone with the base interface, or somebody else's now
			}
			if err := (setting{s.family, s.key, before}).apply(v.base); err != nil {
				return err
			}
		}
	}
	return nil
}
