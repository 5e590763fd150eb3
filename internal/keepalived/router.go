package keepalived

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// entry is one key of a vrrp section, with its value as YAML.
type entry struct{ key, value string }

// router makes the vrrp section, or says that the election takes its place.
func (c *converter) router(u unit, s *service) {
	why := byElection
	switch {
	case !c.opt.KeepVRRP:
	case len(u.members) > 1:
		c.leaveRouters(u, "a service is one VRRP router, and this group has several instances; put their addresses into one vrrp_instance on every host, and import again")
		return
	case u.members[0].RouterID.At == nil:
		c.leaveRouters(u, "without a virtual_router_id it is no VRRP router, and keepalived does not run it; write one, and import again")
		return
	default:
		if reason := c.noRouter(u.members[0], s); reason != "" {
			c.leaveRouters(u, "no vrrp section came of it: "+reason+"; correct it, and import again")
			return
		}
		c.section(u.members[0], s)
		return
	}
	for _, in := range u.members {
		for _, st := range in.router {
			if c.isStrict(st, in) {
				continue
			}
			c.settle(st, why)
		}
		for _, st := range c.cfg.Global.router {
			if !c.isStrict(st, in) {
				c.settle(st, why)
			}
		}
		if in.VMAC.At != nil {
			c.left(in.VMAC.At, noVMAC)
		}
	}
}

// noVMAC is said of use_vmac where the router is left out.
const noVMAC = "the addresses come with the host's own MAC address, and clients follow by gratuitous ARP, at once; see that no switch or firewall is bound to the virtual MAC address"

// settle says that nothing is lost by a statement about adverts.
func (c *converter) settle(s *statement, why string) {
	if !c.settled(s) && s.keyword() != "use_vmac" {
		c.nothing(s, why)
	}
}

// isStrict settles vrrp_strict and strict_mode, which say something about the
// addresses too.
func (c *converter) isStrict(s *statement, in *instance) bool {
	g := c.cfg.Global.Strict
	if s != in.Strict.At && s != g.At {
		return false
	}
	if s == in.Strict.At && in.Strict.Value || s == g.At && g.Value {
		c.left(s, "keepalived then drops packets to the addresses themselves (no_accept) and uses no password; Leasehold lets them in: clients could not use the service otherwise; filter in the host's firewall if that is what it is for")
	} else {
		c.nothing(s, "it is the default")
	}
	return true
}

func (c *converter) leaveRouters(u unit, why string) {
	for _, in := range u.members {
		for _, st := range in.router {
			c.all(st, Outcome{Left: why})
		}
	}
}

// section makes the vrrp section of a service.
func (c *converter) section(in *instance, s *service) {
	add := func(key, value string) { s.router = append(s.router, entry{key, value}) }
	took := func(at *statement, key string) {
		if at != nil {
			c.became(at, s.key("vrrp."+key))
		}
	}
	add("router_id", strconv.Itoa(in.RouterID.Value))
	took(in.RouterID.At, "router_id")
	version := c.version(in, s)
	add("version", strconv.Itoa(version))
	if in.Interface.At != nil {
		add("interface", quote(in.Interface.Value))
		took(in.Interface.At, "interface")
	}
	interval, cut := in.interval(version)
	add("advert_interval", interval.String())
	took(in.Interval.At, "advert_interval")
	if cut {
		c.left(in.Interval.At, "became %s, the longest that version 3 has", interval)
	}
	add("priority", strconv.Itoa(in.basePriority()))
	took(in.Priority.At, "priority")
	strict := c.strict(in)
	if !in.preempts(strict) {
		add("preempt", "false")
		took(in.NoPreempt.At, "preempt")
	} else if d := in.delay(s); d > 0 {
		add("preempt_delay", d.String())
		took(in.PreemptDelay.At, "preempt_delay")
	}
	c.password(in, s, version, strict, add)
	c.targets(in, s, add)
	switch {
	case in.VMAC.At == nil:
	case len(in.peers()) > 0:
		c.left(in.VMAC.At, "Leasehold has a virtual MAC address for multicast only: "+noVMAC)
	default:
		add("use_vmac", "true")
		took(in.VMAC.At, "use_vmac")
		if len(in.VMAC.At.Words) > 1 {
			c.left(in.VMAC.At, "without its name or MAC address: Leasehold takes the MAC address of RFC 9568 section 7.3, and a name of its own; see that nothing is bound to them")
		}
	}
	c.deviations(in, s, version, strict, add)
	for _, st := range slices.Concat(in.router, c.cfg.Global.router) {
		if !c.isStrict(st, in) {
			c.other(st)
		}
	}
}

// version says what became of the lines on it.
func (c *converter) version(in *instance, s *service) int {
	g, own, version := c.cfg.Global.Version, in.Version, c.versionOf(in)
	if own.At == nil && g.At != nil && in.family() == 4 {
		c.became(g.At, s.key("vrrp.version"))
	}
	switch {
	case own.At == nil:
	case own.Value != version:
		c.left(own.At, "IPv6 has version 3 only, and keepalived ignores the line")
	default:
		c.became(own.At, s.key("vrrp.version"))
	}
	return version
}

// versionOf is 3 for IPv6, whatever else is said.
func (c *converter) versionOf(in *instance) int {
	switch g := c.cfg.Global.Version; {
	case in.family() == 6:
		return 3
	case in.Version.At != nil:
		return in.Version.Value
	case g.At != nil:
		return g.Value
	}
	return 2
}

// interval rounds as keepalived does: version 2 has whole seconds, version 3
// hundredths, at most 40.95 s (RFC 9568 section 5.2.7), which more is cut to.
func (in *instance) interval(version int) (d time.Duration, cut bool) {
	d = in.Interval.Value
	if version == 2 {
		return max(time.Duration(math.Round(d.Seconds()))*time.Second, time.Second), false
	}
	const longest = 4095 * 10 * time.Millisecond
	return min(d.Round(10*time.Millisecond), longest), d > longest
}

// delay is preempt_delay, which the owner of an address has not: it is Active at
// once, RFC 9568 section 6.1.
func (in *instance) delay(s *service) time.Duration {
	if in.basePriority() == 255 {
		return 0
	}
	return s.delay
}

// maxPass is how much of a password keepalived uses: RFC 2338 section 5.3.10.
const maxPass = 8

// password makes the auth part, and takes the password out of sight.
func (c *converter) password(in *instance, s *service, version int, strict bool, add func(string, string)) {
	a := in.Auth
	if a.At == nil {
		return
	}
	c.became(a.At, heading)
	pass := a.Pass.Value.Reveal()
	if why := a.ignored(version, strict); why != "" {
		c.nothing(a.Type.At, why)
		c.nothing(a.Pass.At, why)
		return
	}
	file := c.secretPath(s)
	add("auth", fmt.Sprintf("{type: %s, password_file: %s}", a.Type.Value, quote(file)))
	c.became(a.Type.At, s.key("vrrp.auth.type"))
	key := s.key("vrrp.auth.password_file")
	if len(pass) > maxPass {
		key += " (cut to its first 8 bytes, which are all that keepalived uses)"
	}
	c.became(a.Pass.At, key)
	c.secrets = append(c.secrets, SecretFile{file, Secret{pass[:min(len(pass), maxPass)]}})
}

// ignored says why keepalived uses no password; empty: it does.
func (a auth) ignored(version int, strict bool) string {
	switch {
	case a.Type.At == nil || a.Pass.Value.Reveal() == "":
		return "keepalived ignores a block without both auth_type and auth_pass"
	case version == 3:
		return "keepalived ignores it for version 3, which has no authentication"
	case strict:
		return "keepalived ignores it under vrrp_strict"
	}
	return ""
}
