package keepalived

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// decoder makes a Config of statements. What stands in one place only is settled
// here: values that keepalived does not take, and those that a later line replaces.
type decoder struct{ ledger }

// decode returns what was found, with keepalived's defaults where nothing is said.
func (d decoder) decode(src *Source) *config {
	cfg := &config{}
	for _, s := range src.statements {
		switch s.keyword() {
		case "global_defs":
			d.became(s, heading)
			d.extra(s, 1)
			d.global(s, &cfg.Global)
		case "vrrp_script":
			d.script(s, cfg)
		case "vrrp_track_process":
			d.process(s, cfg)
		case "vrrp_instance":
			d.instance(s, cfg)
		case "vrrp_sync_group":
			d.group(s, cfg)
		default:
			if o, ok := ofRoot(s.keyword()); ok {
				d.all(s, o)
			}
		}
	}
	return cfg
}

// put sets a value; the one that it replaces is settled.
func put[T any](d decoder, to *setting[T], s *statement, v T) {
	if to.At != nil && to.At != s {
		d.nothing(to.At, fmt.Sprintf("%s says it again, and the last one counts", s.Pos))
	}
	*to = setting[T]{v, s}
}

// lacks settles a statement without a value, and one whose value is drawn.
func (d decoder) lacks(s *statement) bool {
	switch {
	case len(s.Words) < 2:
		d.left(s, "has no value, and keepalived does not start with it; write one, and import again")
	case s.drawn:
		d.left(s, "has ${_RANDOM} in it, which keepalived draws anew at each start; write a value, and import again")
	default:
		return false
	}
	return true
}

// extra settles the words behind a value, which keepalived does not look at.
func (d decoder) extra(s *statement, takes int) {
	if len(s.Words) > takes {
		d.left(s, "keepalived takes the first value and ignores the rest of the line, as is done here; put the rest on a line of its own, and import again")
	}
}

// number sets a whole number from low to high.
func (d decoder) number(to *setting[int], s *statement, low, high int) {
	if d.lacks(s) {
		return
	}
	n, err := strconv.Atoi(strings.TrimLeft(s.arg(), whiteSpace))
	if err != nil || n < low || n > high {
		d.left(s, "is no whole number from %d to %d, and keepalived does not take it as it stands; write one, and import again", low, high)
		return
	}
	put(d, to, s, n)
	if s.keyword() != "weight" {
		d.extra(s, 2)
	}
}

// weight sets a weight, and whether a check is to fail.
func (d decoder) weight(to *setting[int], reverse *bool, s *statement, most int) {
	d.number(to, s, -most, most)
	*reverse = len(s.Words) > 2 && s.Words[2] == "reverse"
	if *reverse {
		d.extra(s, 3)
	} else {
		d.extra(s, 2)
	}
}

// seconds sets a time written in seconds with decimals, of which keepalived keeps
// six (read_decimal_unsigned_long_func in lib/parser.c).
func (d decoder) seconds(to *setting[time.Duration], s *statement, low, high time.Duration) {
	if d.lacks(s) {
		return
	}
	whole, frac, dot := strings.Cut(s.arg(), ".")
	digits := func(t string) bool { return strings.Trim(t, "0123456789") == "" }
	v, err := strconv.ParseFloat(s.arg(), 64)
	t := time.Duration(math.Round(v*1e6)) * time.Microsecond
	if err != nil || !digits(whole) || !digits(frac) || dot && frac == "" && whole == "" || v > 1e6 || t < low || t > high {
		d.left(s, "is no time from %g to %g seconds, and keepalived ignores it; write one, and import again", low.Seconds(), high.Seconds())
		return
	}
	put(d, to, s, t)
	d.extra(s, 2)
}

// flag sets a boolean; the keyword alone is true (check_true_false in lib/parser.c).
func (d decoder) flag(to *setting[bool], s *statement) {
	d.extra(s, 2)
	switch {
	case len(s.Words) < 2:
		put(d, to, s, true)
	case s.arg() == "true", s.arg() == "on", s.arg() == "yes":
		put(d, to, s, true)
	case s.arg() == "false", s.arg() == "off", s.arg() == "no":
		put(d, to, s, false)
	default:
		d.left(s, "is none of on, off, true, false, yes and no, and keepalived ignores it; write one, and import again")
	}
}

// word sets the first word behind the keyword.
func (d decoder) word(to *setting[string], s *statement) {
	if !d.lacks(s) {
		put(d, to, s, s.arg())
		d.extra(s, 2)
	}
}

// addr sets an address without a prefix length.
func (d decoder) addr(to *setting[netip.Addr], s *statement) {
	if d.lacks(s) {
		return
	}
	a, err := netip.ParseAddr(s.arg())
	if err != nil || a.Zone() != "" {
		d.left(s, "is no IP address, and keepalived ignores it; write one, and import again")
		return
	}
	put(d, to, s, a)
	d.extra(s, 2)
}

// named returns the name of a block, and settles one that has none, or that was
// there before: keepalived skips it.
func (d decoder) named(s *statement, taken func(string) bool) (string, bool) {
	switch {
	case len(s.Words) != 2:
		d.all(s, Outcome{Left: "the block has not exactly one name, and keepalived skips it; write one, and import again"})
	case s.drawn:
		d.all(s, Outcome{Left: "the name has ${_RANDOM} in it, which keepalived draws anew at each start; write a name, and import again"})
	case taken(s.arg()):
		d.all(s, Outcome{Left: "a block of this name was there before, and keepalived skips the second; give it another name, and import again"})
	default:
		return s.arg(), true
	}
	return "", false
}

func (d decoder) global(s *statement, g *global) {
	for _, c := range s.Block {
		router := true
		switch c.keyword() {
		case "vrrp_version":
			d.number(&g.Version, c, 2, 3)
		case "vrrp_strict":
			d.flag(&g.Strict, c)
		case "v3_checksum_as_v2":
			d.flag(&g.ChecksumV2, c)
		case "vrrp_mcast_group4":
			d.addr(&g.Group4, c)
		case "vrrp_mcast_group6":
			d.addr(&g.Group6, c)
		case "vrrp_startup_delay":
			d.seconds(&g.StartupDelay, c, 0, time.Hour)
		case "vrrp_down_timer_adverts":
			d.number(&g.Timers.Down, c, 1, 100)
		case "vrrp_lower_prio_no_advert":
			d.flag(&g.Timers.NoAdvert, c)
		case "vrrp_higher_prio_send_advert":
			d.flag(&g.Timers.SendAdvert, c)
		default:
			router = false
			d.globalOther(c, g)
		}
		if router {
			g.router = append(g.router, c)
		}
	}
}

func (d decoder) globalOther(c *statement, g *global) {
	switch c.keyword() {
	case "vrrp_garp_master_delay":
		d.number(&g.Garp.Delay, c, 0, maxSeconds)
	case "vrrp_garp_master_repeat":
		d.number(&g.Garp.Repeat, c, 0, math.MaxInt32)
	case "vrrp_garp_master_refresh":
		d.number(&g.Garp.Refresh, c, 0, math.MaxInt32)
	case "vrrp_garp_master_refresh_repeat":
		d.number(&g.Garp.RefreshRepeat, c, 0, math.MaxInt32)
	case "vrrp_min_garp":
		d.flag(&g.MinGarp, c)
	case "script_user":
		g.ScriptUser = c
	case "enable_script_security":
		g.Secure = c
	default:
		if o, ok := ofGlobal(c); ok {
			d.all(c, o)
		}
	}
}
