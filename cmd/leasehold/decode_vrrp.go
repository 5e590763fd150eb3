package main

import (
	"net/netip"
	"time"

	"github.com/goccy/go-yaml/ast"

	"leasehold/vrrpcompat"
)

// vrrpDecoder decodes one vrrp section.
type vrrpDecoder struct {
	configDecoder
	where string // services.NAME.vrrp
	out   *VRRP
}

// vrrp decodes the section. What is explicit is never a zero, which package
// vrrpcompat would take for its default.
func (d configDecoder) vrrp(n ast.Node, s *Service) {
	v := &VRRP{TTL: defaultVRRPTTL, line: line(n), lines: map[string]int{}}
	s.VRRP = v
	before := len(d.problems)
	vrrpDecoder{d, "services." + s.Name + ".vrrp", v}.decode(n)
	v.broken = len(d.problems) > before
}

// key returns the whole name of a key.
func (d vrrpDecoder) key(name string) string { return d.where + "." + name }

func (d vrrpDecoder) decode(n ast.Node) {
	v, c := d.out, &d.out.Router
	const whyID = "VRRP numbers its routers so; write the peers' virtual_router_id"
	const whyPriority = "255 is the owner of the addresses, and 0 says that a router leaves, RFC 9568 section 5.2.4"
	known := keys{
		"router_id": d.number(d.key("router_id"), 1, 255, whyID, func(i int) { c.VRID = uint8(i) }),
		"mode": d.word(d.key("mode"), []string{vrrpcompat.ModeFull.String(), vrrpcompat.ModeGate.String()}, func(w string) {
			if w == vrrpcompat.ModeGate.String() {
				c.Mode = vrrpcompat.ModeGate
			}
		}),
		"version":         d.number(d.key("version"), int(vrrpcompat.Version2), int(vrrpcompat.Version3), "keepalived speaks these two; 2 is its default", func(i int) { c.Version = uint8(i) }),
		"interface":       d.text(d.key("interface"), func(w string, _ int) { v.Interface = w }),
		"advert_interval": d.time("advert_interval", func(t time.Duration) { c.Interval = t }),
		"priority":        d.number(d.key("priority"), 1, 255, whyPriority, func(i int) { c.Priority = uint8(i) }),
		"preempt":         d.flag(d.key("preempt"), func(on bool, _ int) { c.NoPreempt = !on }),
		"preempt_delay":   d.duration(d.key("preempt_delay"), func(t time.Duration, _ int) { c.PreemptDelay = t }),
		"auth":            d.auth,
		"unicast":         d.unicast,
		"multicast":       d.multicast,
		"use_vmac":        d.flag(d.key("use_vmac"), func(on bool, _ int) { v.VMAC = on }),
		"checksum": d.word(d.key("checksum"), []string{vrrpcompat.ChecksumPseudo.String(), vrrpcompat.ChecksumMessage.String()}, func(w string) {
			c.Checksum = vrrpcompat.ChecksumPseudo
			if w == vrrpcompat.ChecksumMessage.String() {
				c.Checksum = vrrpcompat.ChecksumMessage
			}
		}),
		"down_timer_adverts":      d.number(d.key("down_timer_adverts"), 1, 100, "as keepalived has it; 3 is the default", func(i int) { c.DownAdverts = i }),
		"lower_prio_no_advert":    d.flag(d.key("lower_prio_no_advert"), func(on bool, _ int) { c.LowerPrioNoAdvert = on }),
		"higher_prio_send_advert": d.flag(d.key("higher_prio_send_advert"), func(on bool, _ int) { c.HigherPrioSendAdvert = on }),
		"max_interval":            d.time("max_interval", func(t time.Duration) { c.MaxInterval = t }),
		"exact_vips":              d.flag(d.key("exact_vips"), func(on bool, _ int) { c.ExactVIPs = on }),
		"startup_delay":           d.duration(d.key("startup_delay"), d.startupDelay),
		"excluded":                d.list(d.key("excluded"), "[10.20.9.188]", d.addr("excluded", func(a netip.Addr) { v.Excluded = append(v.Excluded, a) })),
	}
	d.mapping(n, d.where, d.noting(known, ""))
	_, one := v.lines["unicast"]
	if at, other := v.lines["multicast"]; one && other {
		d.problem(max(at, v.lines["unicast"]), "%s has both unicast and multicast, and adverts go one way; take out the one that your keepalived peers do not have", d.where)
	}
	_, mapping := entries(n)
	if _, written := v.lines["router_id"]; mapping && !written {
		d.problem(v.line, "%s.router_id is missing, and it is what makes us and keepalived one router; write router_id: 51 with the peers' virtual_router_id", d.where)
	}
}

// noting notes the line of every key before it is decoded, under the key's name.
func (d vrrpDecoder) noting(known keys, prefix string) keys {
	for name, set := range known {
		known[name] = func(n ast.Node) {
			d.out.lines[prefix+name] = line(n)
			set(n)
		}
	}
	return known
}

// time sets a duration that is not zero.
func (d vrrpDecoder) time(name string, set func(time.Duration)) func(ast.Node) {
	return d.duration(d.key(name), func(t time.Duration, at int) {
		if t == 0 {
			d.problem(at, "%s: 0 is no length of time here; write 1s, or take the line out for the default", d.key(name))
			return
		}
		set(t)
	})
}

func (d vrrpDecoder) startupDelay(t time.Duration, at int) {
	if t > longestStartupDelay {
		d.problem(at, "%s: %s is over %s, and the router would be down for that long after each start; write a few seconds, as long as the switch's port takes to pass frames",
			d.key("startup_delay"), t, longestStartupDelay)
		return
	}
	d.out.StartupDelay = t
}

// addr sets an address, as it is written without a prefix length.
func (d vrrpDecoder) addr(name string, set func(netip.Addr)) func(ast.Node) {
	return d.text(d.key(name), func(text string, at int) {
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			d.problem(at, "%s: %q is not an IP address; write one without a prefix length, as in 10.20.8.27", d.key(name), text)
		case a.Is4In6():
			d.problem(at, "%s: %s is an IPv4 address in IPv6's clothes, which no advert has; write %s", d.key(name), a, a.Unmap())
		default:
			set(a)
		}
	})
}

func (d vrrpDecoder) auth(n ast.Node) {
	a, before := &d.out.Router.Auth, len(d.problems)
	d.mapping(n, d.key("auth"), keys{
		"type": d.word(d.key("auth.type"), []string{vrrpcompat.AuthPass.String(), vrrpcompat.AuthAH.String()}, func(w string) {
			a.Type = vrrpcompat.AuthPass
			if w == vrrpcompat.AuthAH.String() {
				a.Type = vrrpcompat.AuthAH
			}
		}),
		"password_file": d.secretFile(d.key("auth.password_file"), func(f *SecretFile) { d.out.PasswordFile = f }),
		"!password":     d.secretItself,
	})
	if len(d.problems) > before {
		return
	}
	switch {
	case a.Type == vrrpcompat.AuthNone:
		d.problem(line(n), "%s is missing; write PASS or AH, the auth_type of the peers, or take auth out", d.key("auth.type"))
	case d.out.PasswordFile == nil:
		d.problem(line(n), "%s is missing; write the peers' auth_pass into a file of its own, and name that, or take auth out", d.key("auth.password_file"))
	}
}

func (d vrrpDecoder) unicast(n ast.Node) {
	c := &d.out.Router
	const whyTTL = "as an IP header has it; keepalived sends 255"
	before := len(d.problems)
	d.mapping(n, d.key("unicast"), d.noting(keys{
		"source": d.addr("unicast.source", func(a netip.Addr) { c.Source = a }),
		"peers": d.list(d.key("unicast.peers"), "[10.20.8.27]",
			d.addr("unicast.peers", func(a netip.Addr) { c.Peers = append(c.Peers, a) })),
		"ttl": d.number(d.key("unicast.ttl"), 1, 255, whyTTL, func(i int) { d.out.TTL = uint8(i) }),
	}, "unicast."))
	if len(c.Peers) == 0 && len(d.problems) == before {
		d.problem(line(n), "%s has no peers, and nobody would hear an advert; write peers: [10.20.8.27] with the other routers' addresses, or multicast in its place", d.key("unicast"))
	}
}

func (d vrrpDecoder) multicast(n ast.Node) {
	c := &d.out.Router
	d.mapping(n, d.key("multicast"), d.noting(keys{
		"source": d.addr("multicast.source", func(a netip.Addr) { c.Source = a }),
		"group":  d.addr("multicast.group", func(a netip.Addr) { c.Group = a }),
	}, "multicast."))
}
