package keepalived

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"leasehold/vip"
)

// addresses makes the VIPs of an instance, those that it does not advertise too.
func (c *converter) addresses(in *instance, s *service) {
	for _, a := range in.VIPs {
		if p, ok := address(a.keyword()); ok && p.Addr().Is6() != (in.family() == 6) {
			c.left(a, "the instance is for IPv%d, as its first address is, and keepalived ignores the others; move it to virtual_ipaddress_excluded, and import again", in.family())
			continue
		}
		if spec, ok := c.vip(in, a, s); ok {
			s.advertised = append(s.advertised, spec)
		} else if _, isOne := address(a.keyword()); isOne {
			s.incomplete = true
		}
	}
	for _, a := range in.Excluded {
		if spec, ok := c.vip(in, a, s); ok {
			s.excluded = append(s.excluded, spec.Prefix.Addr())
		}
	}
}

// words are the parts of one address as keepalived knows them; alloc_ipaddress in
// vrrp/vrrp_ipaddress.c.
type words struct {
	address, dev, label, scope, brd string
	lost                            []string // what Leasehold has no word for
}

// vip makes one address; ok is false when it was left out.
func (c *converter) vip(in *instance, at *statement, s *service) (spec vip.Spec, ok bool) {
	w, why := cutAddress(at.Words)
	p, ok := address(w.address)
	switch {
	case !ok:
		why = "is no IP address, and keepalived ignores the line; correct it, and import again"
	case at.drawn:
		why = "has ${_RANDOM} in it, which keepalived draws anew at each start; write an address, and import again"
	}
	if why != "" {
		c.left(at, "%s", why)
		return spec, false
	}
	if w.dev == "" || in.VMAC.At != nil && w.dev == in.VMAC.Value {
		w.dev = in.Interface.Value
	}
	spec, err := w.spec(p)
	switch {
	case err != nil:
		c.left(at, "%v", err)
		return spec, false
	case unprintable(spec.String()):
		c.left(at, "has a name in it that is no name of a device; correct it, and import again")
		return spec, false
	}
	if other, twice := c.taken[p.Addr()]; twice {
		c.left(at, "is an address of services.%s already, and only one of them can have it; take one out, and import again", other)
		return spec, false
	}
	c.taken[p.Addr()] = s.name
	s.vips = append(s.vips, spec.String())
	s.devices[spec.Device] = true
	became := s.key("vips")
	if !strings.Contains(w.address, "/") {
		became += fmt.Sprintf(" (as /%d: keepalived takes that where no prefix length is written)", p.Bits())
	}
	c.became(at, became)
	if len(w.lost) > 0 {
		c.left(at, "without %s: Leasehold has no word for it; see whether the service needs it", strings.Join(w.lost, ", "))
	}
	return spec, true
}

// spec makes a VIP of an address, without what Leasehold has no word for.
func (w *words) spec(p netip.Prefix) (vip.Spec, error) {
	if p.Addr().Is6() && (w.label != "" || w.scope != "") {
		w.label, w.scope = "", ""
		w.lost = append(w.lost, "label or scope, which no IPv6 address has")
	}
	if w.brd == "-" {
		w.brd = ""
		w.lost = append(w.lost, "brd -, the subnet's own address as its broadcast address")
	}
	spec, err := vip.ParseSpec(w.text(p.String()))
	if err == nil || w.label == "" {
		return spec, err
	}
	bare, without := vip.ParseSpec(words{dev: w.dev, scope: w.scope, brd: w.brd}.text(p.String()))
	if without != nil {
		return spec, err
	}
	w.lost = append(w.lost, fmt.Sprintf("the label (%v)", err))
	return bare, nil
}

// text is the address in the words of ip-address(8).
func (w words) text(prefix string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, pair := range [][2]string{{"dev", w.dev}, {"label", w.label}, {"scope", w.scope}, {"brd", w.brd}} {
		if pair[1] != "" {
			b.WriteString(" " + pair[0] + " " + pair[1])
		}
	}
	return b.String()
}

// cutAddress takes a line of virtual_ipaddress apart. why says what keepalived
// ignores the line for, or what makes it another thing than an address here.
func cutAddress(line []string) (w words, why string) {
	w.address = line[0]
	for rest := line[1:]; len(rest) > 0; rest = rest[1:] {
		key := rest[0]
		to := map[string]*string{"dev": &w.dev, "scope": &w.scope, "broadcast": &w.brd, "brd": &w.brd, "label": &w.label}[key]
		if to != nil || key == "peer" || key == "preferred_lft" {
			if len(rest) < 2 {
				return w, fmt.Sprintf("nothing follows %q, and keepalived ignores the line; correct it, and import again", key)
			}
			rest = rest[1:]
		}
		switch {
		case to != nil && (rest[0] == "" || strings.ContainsAny(rest[0], whiteSpace)):
			return w, fmt.Sprintf("what follows %q is no word; correct it, and import again", key)
		case to != nil:
			*to = rest[0]
		case key == "peer":
			return w, "it is one end of a point-to-point link, and Leasehold has no word for that; bind it in the host's network configuration"
		case key == "-nodad", key == "no_track":
			// A VIP is used without duplicate address detection, and put back when
			// somebody deletes it.
		case slices.Contains([]string{"home", "mngtmpaddr", "noprefixroute", "autojoin", "preferred_lft", "use_vmac"}, key):
			w.lost = append(w.lost, key)
		default:
			w.lost = append(w.lost, "what keepalived does not know either")
		}
	}
	return w, ""
}
