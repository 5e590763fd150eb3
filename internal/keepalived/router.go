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
	add("advert_interval", c.interval(in, version).String())
	took(in.Interval.At, "advert_interval")
	add("priority", strconv.Itoa(in.basePriority()))
	took(in.Priority.At, "priority")
	strict := c.strict(in)
	if !in.preempts(strict) {
		add("preempt", "false")
		took(in.NoPreempt.At, "preempt")
	} else if d := s.delay; d > 0 {
		add("preempt_delay", d.String())
		took(in.PreemptDelay.At, "preempt_delay")
	}
	c.password(in, s, version, strict, add)
	c.targets(in, s, add)
	if in.VMAC.At != nil {
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

// version is 3 for IPv6, whatever else is said.
func (c *converter) version(in *instance, s *service) int {
	g := c.cfg.Global.Version
	own, version := in.Version, 2
	switch {
	case in.family() == 6:
		version = 3
	case own.At != nil:
		version = own.Value
	case g.At != nil:
		version = g.Value
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

// interval rounds as keepalived does: version 2 has whole seconds, version 3
// hundredths, at most 40.95 s (RFC 9568 section 5.2.7).
func (c *converter) interval(in *instance, version int) time.Duration {
	d := in.Interval.Value
	if version == 2 {
		return max(time.Duration(math.Round(d.Seconds()))*time.Second, time.Second)
	}
	const longest = 4095 * 10 * time.Millisecond
	if d > longest {
		c.left(in.Interval.At, "became %s, the longest that version 3 has", longest)
	}
	return min(d.Round(10*time.Millisecond), longest)
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
	why := ""
	switch {
	case a.Type.At == nil || pass == "":
		why = "keepalived ignores a block without both auth_type and auth_pass"
	case version == 3:
		why = "keepalived ignores it for version 3, which has no authentication"
	case strict:
		why = "keepalived ignores it under vrrp_strict"
	}
	if why != "" {
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
