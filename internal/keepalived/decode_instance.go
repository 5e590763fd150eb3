package keepalived

import (
	"math"
	"net/netip"
	"slices"
	"time"
)

func (d decoder) instance(s *statement, cfg *config) {
	name, ok := d.named(s, func(n string) bool { return cfg.instance(n) != nil })
	if !ok {
		return
	}
	in := &instance{Name: name, At: s, Interval: setting[time.Duration]{Value: time.Second}}
	for _, c := range s.Block {
		if !d.service(c, in, cfg) && !d.router(c, in) {
			if o, ok := ofInstance(c); ok {
				d.all(c, o)
			}
		}
	}
	cfg.Instances = append(cfg.Instances, in)
}

// instance returns the instance of that name, or nil.
func (cfg *config) instance(name string) *instance {
	if i := slices.IndexFunc(cfg.Instances, func(in *instance) bool { return in.Name == name }); i >= 0 {
		return cfg.Instances[i]
	}
	return nil
}

// service reads what is about the addresses and who has them.
func (d decoder) service(c *statement, in *instance, cfg *config) bool {
	switch c.keyword() {
	case "interface":
		d.word(&in.Interface, c)
	case "state":
		d.state(&in.Master, c)
	case "priority":
		d.priority(&in.Priority, c)
	case "preempt":
		put(d, &in.NoPreempt, c, false)
		d.extra(c, 1)
	case "nopreempt":
		put(d, &in.NoPreempt, c, true)
		d.extra(c, 1)
	case "preempt_delay":
		d.seconds(&in.PreemptDelay, c, 0, 1000*time.Second)
	case "virtual_ipaddress":
		d.extra(c, 1)
		in.blocks = append(in.blocks, c)
		in.VIPs = append(in.VIPs, c.Block...)
	case "virtual_ipaddress_excluded":
		d.extra(c, 1)
		in.blocks = append(in.blocks, c)
		in.Excluded = append(in.Excluded, c.Block...)
	case "garp_master_delay":
		d.number(&in.Garp.Delay, c, 0, maxSeconds)
	case "garp_master_repeat":
		d.number(&in.Garp.Repeat, c, 0, math.MaxInt32)
	case "garp_master_refresh":
		d.number(&in.Garp.Refresh, c, 0, math.MaxInt32)
	case "garp_master_refresh_repeat":
		d.number(&in.Garp.RefreshRepeat, c, 0, math.MaxInt32)
	default:
		return d.track(c, &in.Tracks, cfg)
	}
	return true
}

// priority is keepalived's default where it is no valid one, and not 255, as it is
// beside state MASTER where nothing is said (vrrp_prio_handler in
// vrrp/vrrp_parser.c).
func (d decoder) priority(to *setting[int], s *statement) {
	if d.number(to, s, 1, 255); to.At != s {
		to.Value = 100
	}
}

// state knows MASTER and, for everything else, BACKUP; once MASTER was said it
// stays (vrrp_state_handler in vrrp/vrrp_parser.c).
func (d decoder) state(to *setting[bool], s *statement) {
	if d.lacks(s) {
		return
	}
	put(d, to, s, s.arg() == "MASTER" || to.Value && s.arg() == "BACKUP")
	d.extra(s, 2)
}

// router reads what is about adverts, and nothing else.
func (d decoder) router(c *statement, in *instance) bool {
	switch c.keyword() {
	case "virtual_router_id":
		d.number(&in.RouterID, c, 1, 255)
	case "advert_int":
		d.seconds(&in.Interval, c, 10*time.Millisecond, 255*time.Second)
	case "version":
		d.number(&in.Version, c, 2, 3)
	case "authentication":
		d.auth(c, in)
	case "unicast_peer":
		d.peers(c, in)
	case "unicast_src_ip", "mcast_src_ip":
		d.addr(&in.Unicast.Source, c)
	case "mcast_dst_ip":
		d.addr(&in.Group, c)
	case "unicast_ttl":
		d.number(&in.Unicast.TTL, c, 0, 255)
	case "strict_mode":
		d.flag(&in.Strict, c)
	case "v3_checksum_as_v2":
		d.flag(&in.ChecksumV2, c)
	case "down_timer_adverts":
		d.number(&in.Timers.Down, c, 1, 100)
	case "lower_prio_no_advert":
		d.flag(&in.Timers.NoAdvert, c)
	case "higher_prio_send_advert":
		d.flag(&in.Timers.SendAdvert, c)
	case "use_vmac":
		d.vmac(c, in)
	case "track_src_ip", "check_unicast_src", "unicast_fault_no_peer", "old_unicast_checksum", "native_ipv6", "accept",
		"skip_check_adv_addr", "garp_lower_prio_delay", "garp_lower_prio_repeat":
	default:
		return false
	}
	in.router = append(in.router, c)
	return true
}

// auth reads the block with the password. Nothing else in it is shown, not even
// its first word: it may be the password, on a line of its own by mistake.
func (d decoder) auth(s *statement, in *instance) {
	in.Auth.At = s
	d.extra(s, 1)
	for _, c := range s.Block {
		in.router = append(in.router, c)
		switch c.keyword() {
		case "auth_type":
			if !d.lacks(c) && (c.arg() == "PASS" || c.arg() == "AH") {
				put(d, &in.Auth.Type, c, c.arg())
				d.extra(c, 2)
			} else if !d.settled(c) {
				d.left(c, "is neither PASS nor AH, and keepalived ignores it; write one, and import again")
			}
		case "auth_pass":
			if !d.lacks(c) {
				put(d, &in.Auth.Pass, c, Secret{c.arg()})
				d.extra(c, 2)
			}
		default:
			c.Words = []string{"(hidden)"}
			d.left(c, unknown)
		}
	}
}

func (d decoder) peers(s *statement, in *instance) {
	in.Unicast.block = append(in.Unicast.block, s)
	d.extra(s, 1)
	for _, c := range s.Block {
		in.router = append(in.router, c)
		a, err := netip.ParseAddr(c.keyword())
		if err != nil || a.Zone() != "" {
			d.left(c, "is no IP address, and keepalived ignores it; write one, and import again")
			continue
		}
		in.Unicast.Peers = append(in.Unicast.Peers, setting[netip.Addr]{a, c})
	}
}

// vmac reads use_vmac [NAME] [MAC], in either order.
func (d decoder) vmac(s *statement, in *instance) {
	name := ""
	for _, w := range s.Words[1:] {
		if !slices.Contains([]byte(w), ':') {
			name = w
		}
	}
	put(d, &in.VMAC, s, name)
}
