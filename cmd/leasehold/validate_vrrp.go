package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"leasehold/vip"
	"leasehold/vrrpcompat"
)

// routerID is what tells one VRRP router on a network from another.
type routerID struct {
	iface string
	vrid  uint8
	v6    bool
}

// validateVRRP checks what a vrrp section has to agree with.
func validateVRRP(r *report, cfg *Config) {
	first := map[routerID]*Service{}
	for i := range cfg.Services {
		s := &cfg.Services[i]
		v := s.VRRP
		if v == nil || v.broken || len(s.VIPs) == 0 {
			continue
		}
		v.fill(s.VIPs)
		before := len(r.problems)
		validateRouter(r, s, cfg)
		if len(r.problems) > before {
			continue
		}
		id := routerID{v.Interface, v.Router.VRID, v.Router.IPv6()}
		if other := first[id]; other != nil {
			r.problem(v.at("router_id"), "services.%s.vrrp.router_id: %d on %s is the router of services.%s already (line %d), and each would take the other's adverts for a rival's; "+
				"write a number of its own, the virtual_router_id of these VIPs, or put all VIPs into one service", s.Name, id.vrid, id.iface, other.Name, other.VRRP.at("router_id"))
			continue
		}
		first[id] = s
		noteVRRP(r, s, cfg.Etcd.Embedded)
	}
}

// validateRouter reports all that is wrong with one section; the router itself only
// where its VIPs are known.
func validateRouter(r *report, s *Service, cfg *Config) {
	before := len(r.problems)
	problem := func(key, format string, args ...any) {
		r.problem(s.VRRP.at(key), "services.%s.vrrp.%s", s.Name, fmt.Sprintf(format, args...))
	}
	validateExcluded(s, problem)
	validateFamily(s, problem)
	if len(r.problems) > before {
		return
	}
	c := s.VRRP.Router
	if s.VRRP.PasswordFile != nil {
		c.Auth.Password = "unread" // (*Service).router looks at the one in the file
	}
	if err := c.Validate(); err != nil {
		key, what := s.VRRP.place(err.Error())
		r.problem(s.VRRP.at(key), "services.%s.vrrp%s", s.Name, what)
	}
	validateHost(s, cfg, problem)
	validateMode(s, problem)
}

// place returns the key that an error of package vrrpcompat is about, which is its
// first word, and the error behind the section's name.
func (v *VRRP) place(what string) (key, behind string) {
	word, _, _ := strings.Cut(what, " ")
	switch word = strings.TrimSuffix(word, ":"); word {
	case "source", "group":
		return v.way() + "." + word, "." + v.way() + "." + what
	case "peer":
		return "unicast.peers", ".unicast.peers: " + what
	case "VIP", "there":
		return "", ": " + what
	}
	return word, "." + what
}

// way is the key of how adverts go.
func (v *VRRP) way() string {
	if v.Router.Unicast() {
		return "unicast"
	}
	return "multicast"
}

func validateExcluded(s *Service, problem func(key, format string, args ...any)) {
	v := s.VRRP
	for i, a := range v.Excluded {
		switch {
		case slices.Contains(v.Excluded[:i], a):
			problem("excluded", "excluded: %s is there twice; keep one", a)
		case !slices.ContainsFunc(s.VIPs, func(v VIP) bool { return v.Spec.Prefix.Addr() == a }):
			problem("excluded", "excluded: %s is no VIP of the service, whose VIPs are %s: what is excluded is held and not advertised; write it under vips as well, or take it out",
				a, strings.Join(s.prefixes(), ", "))
		}
	}
	if len(v.Router.VIPs) == 0 {
		problem("excluded", "excluded has every VIP of the service, and keepalived peers would not know what the router stands for; take out those that are in their virtual_ipaddress")
	}
}

// validateFamily says which VIPs to exclude: the first that is advertised decides.
func validateFamily(s *Service, problem func(key, format string, args ...any)) {
	all := s.VRRP.Router.VIPs
	var other []netip.Addr
	for _, a := range all {
		if a.Is4() != all[0].Is4() {
			other = append(other, a)
		}
	}
	if len(other) == 0 {
		return
	}
	problem("excluded", "excluded: %s %s not of the family of the first VIP, %s, and a VRRP router has one family (keepalived ignores such an address in virtual_ipaddress); "+
		"write excluded: [%s], and in keepalived virtual_ipaddress_excluded: they are held with the others, and not advertised",
		join(other), map[bool]string{true: "is", false: "are"}[len(other) == 1], all[0], join(append(slices.Clone(s.VRRP.Excluded), other...)))
}

// validateHost checks the interface, and addresses that would be this host's own.
func validateHost(s *Service, cfg *Config, problem func(key, format string, args ...any)) {
	v := s.VRRP
	var devices []string
	for _, one := range s.VIPs {
		if !slices.Contains(devices, one.Spec.Device) {
			devices = append(devices, one.Spec.Device)
		}
	}
	if !slices.Contains(devices, v.Interface) {
		problem("interface", "interface: %s is the device of none of the VIPs (%s), and only the links of those are watched: a host whose %s is down hears nobody, and would hold the VIP beside a keepalived; "+
			"write interface: %s, here and in keepalived", v.Interface, strings.Join(devices, ", "), v.Interface, devices[0])
	}
	if slices.Contains(v.Excluded, v.Router.Source) {
		problem(v.way()+".source", "%s.source: %s is a VIP: it is gone when this host does not hold it; write an address that this host always has", v.way(), v.Router.Source)
	}
	for _, p := range v.Router.Peers {
		p = p.WithZone("")
		if slices.Contains(v.Excluded, p) {
			problem("unicast.peers", "unicast.peers: %s is a VIP: that is whoever holds it, perhaps this host; write the address that the peer always has", p)
		}
		if e := cfg.Etcd.Embedded; e != nil && e.own(cfg.Node) != nil && e.own(cfg.Node).Addr == p {
			problem("unicast.peers", "unicast.peers: %s is this host itself (etcd.embedded.members.%s): it would hear its own adverts; name only the others", p, cfg.Node)
		}
	}
	if v.VMAC && v.Router.Unicast() {
		problem("use_vmac", "use_vmac goes with multicast: the virtual MAC address is for hosts and switches that hear the router (RFC 9568 section 7.3), and unicast is for networks that pass no frames from addresses they do not know; take one of both out")
	}
}

// validateMode checks what goes with a router that speaks, or with one that does not.
func validateMode(s *Service, problem func(key, format string, args ...any)) {
	v := s.VRRP
	c := v.Router.WithDefaults()
	switch {
	case v.gate() && c.Priority == vrrpcompat.PriorityOwner:
		problem("priority", "priority: 255 and mode: gate contradict each other: the owner of the addresses gives way to nobody, and a gate to every router; take priority out, a gate sends none")
	case !v.gate() && s.KeepLast:
		problem("mode", "mode: full and last_standing: keep contradict each other: whether a keepalived peer is well is not known here, so an ill holder would never leave the VIP to it; "+
			"write last_standing: release, or mode: gate")
	}
	if s.Fence == vip.FenceOff && v.needsFence() {
		problem("advert_interval", "advert_interval: %s is too short with fence: off, for a VIP that only the kernel's address lifetimes guard: a keepalived may take over %s after an advert; "+
			"less %s (the kernel removes an address up to that late) and %s until the next advert leaves %s, and a lifetime is at least one whole second; write %s, or fence: auto",
			c.Interval, round(v.patience()), lifetimeLateness, c.Interval, round(v.spare(lifetimeLateness)), v.remedy(v.unfenced))
	}
}

// unfenced reports whether an advert_interval does without a fence.
func (v *VRRP) unfenced(interval time.Duration) bool {
	try := *v
	try.Router.Interval = interval
	return !try.needsFence()
}

// remedy says what to write on every router: the shortest advert_interval that
// does, in steps that the version can say.
func (v *VRRP) remedy(does func(time.Duration) bool) string {
	step, longest := 100*time.Millisecond, 40*time.Second // RFC 9568 section 5.2.7
	if v.Router.WithDefaults().Version == vrrpcompat.Version2 {
		step, longest = time.Second, 255*time.Second // RFC 3768 section 5.3.7
	}
	for interval := step; interval <= longest; interval += step {
		if does(interval) {
			return fmt.Sprintf("advert_interval: %s on every router", interval)
		}
	}
	return "down_timer_adverts: 3 on every router, keepalived's default"
}

// soonest is how long after a daemon was killed the quickest keepalived takes over:
// its next advert may have been due just then.
func (v *VRRP) soonest() time.Duration { return v.patience() - v.Router.WithDefaults().Interval }

// noteVRRP tells what a good section does not do.
func noteVRRP(r *report, s *Service, embedded *EmbeddedConfig) {
	noteVMAC(r, s)
	v := s.VRRP
	if s.Fence == vip.FenceAuto && v.needsFence() {
		r.note(v.at("advert_interval"), "services.%s.vrrp.advert_interval: %s is too short without a fence: where the kernel refuses bpf this node takes no VIP, "+
			"and says so (leasehold doctor shows what is missing); without one write %s", s.Name, v.Router.WithDefaults().Interval, v.remedy(v.unfenced))
	}
	if v.gate() || s.TTL < v.soonest() {
		return
	}
	r.note(v.line, "services.%s.vrrp: when the holder's daemon is killed a keepalived takes over %s to %s after (Active_Down_Interval), and another node of ours up to the ttl, %s, after, so that keepalived may be first; "+
		"write %s to have the VIP stay among our nodes", s.Name, round(v.soonest()), round(v.patience()), s.TTL, s.beforeKeepalived(embedded))
}

// beforeKeepalived says what to write so that a node of ours takes over before a
// keepalived does: a ttl, or where that would be too short a longer interval as well.
func (s *Service) beforeKeepalived(embedded *EmbeddedConfig) string {
	const grain = 100 * time.Millisecond
	least := grain
	for least < s.TTL && (checkTTL(least, s.Fence) != "" || embedded != nil && checkEmbeddedTTL(least, embedded) != "") {
		least += grain
	}
	if ttl := (s.VRRP.soonest() - 1).Truncate(grain); ttl >= least {
		return fmt.Sprintf("ttl: %s", ttl)
	}
	return fmt.Sprintf("ttl: %s, and %s,", least, s.VRRP.remedy(func(interval time.Duration) bool {
		try := *s.VRRP
		try.Router.Interval = interval
		return least < try.soonest()
	}))
}

// noteVMAC warns of a second route to the network.
func noteVMAC(r *report, s *Service) {
	if !s.VRRP.VMAC {
		return
	}
	for _, one := range s.VIPs {
		p := one.Spec.Prefix
		if p.Bits() == p.Addr().BitLen() || !slices.Contains(s.VRRP.Router.VIPs, p.Addr()) {
			continue
		}
		r.note(one.line, "services.%s.vips: with use_vmac this host reaches the network of %s twice, by its own interface and by the VIP's; write %s/%d, so that it goes on using its own",
			s.Name, p, p.Addr(), p.Addr().BitLen())
	}
}
