package keepalived

import "time"

// maxPriority is the highest of a service; 255 is the owner of an address in VRRP,
// RFC 9568 section 5.2.4.
const maxPriority = 254

// rank makes priority and pre-emption: those of the first member, where a group
// has several.
func (c *converter) rank(u unit, s *service) {
	first := u.members[0]
	s.priority = min(first.basePriority(), maxPriority)
	s.preempt = true
	for _, in := range u.members {
		c.priority(in, s)
		s.preempt = s.preempt && in.preempts(c.strict(in))
	}
	for _, in := range u.members {
		c.preemption(in, s)
	}
	c.hints.preempt = c.hints.preempt || s.preempt
}

func (c *converter) priority(in *instance, s *service) {
	key := s.key("priority")
	if in.basePriority() == 255 {
		key += " (254, the highest there is)"
	}
	at := in.Priority.At
	if at == nil && in.Master.Value && in.Priority.Value == 0 {
		at = in.Master.At // which makes it 255
		c.became(at, key)
	} else if in.Master.At != nil {
		c.nothing(in.Master.At, "it is only how keepalived begins; here a node begins as a standby, and the best becomes the holder")
	}
	if at == nil {
		return
	}
	if min(in.basePriority(), maxPriority) != s.priority {
		c.left(at, "a group is one service, with one priority: that of its first member (%d); see which is meant", s.priority)
		return
	}
	c.became(at, key)
}

// strict reports whether an instance is held to the RFC.
func (c *converter) strict(in *instance) bool {
	if in.Strict.At != nil {
		return in.Strict.Value
	}
	return c.cfg.Global.Strict.Value
}

// startsAsMaster is what keepalived makes of state and priority
// (vrrp_complete_instance in vrrp/vrrp.c).
func (in *instance) startsAsMaster(strict bool) bool {
	if strict || in.Master.At == nil {
		return in.basePriority() == 255
	}
	return in.Master.Value
}

// preempts reports whether keepalived takes the addresses from a lower priority: it
// forgets nopreempt where it begins as master.
func (in *instance) preempts(strict bool) bool {
	return !in.NoPreempt.Value || in.startsAsMaster(strict) || in.basePriority() == 255
}

func (c *converter) preemption(in *instance, s *service) {
	strict := c.strict(in)
	switch {
	case in.NoPreempt.At == nil:
	case in.NoPreempt.Value && in.preempts(strict):
		c.left(in.NoPreempt.At, "keepalived ignores it beside state MASTER or priority 255, so preempt: true is what it does today; write preempt: false, which here needs no state")
	case in.NoPreempt.Value == s.preempt:
		c.left(in.NoPreempt.At, "another member of the group says nopreempt, and a group is one service; see which is meant")
	default:
		c.became(in.NoPreempt.At, s.key("preempt"))
	}
	delay := in.PreemptDelay
	switch {
	case delay.At == nil:
	case delay.Value == 0:
		c.nothing(delay.At, "0 is the default")
	case in.startsAsMaster(strict), strict:
		c.left(delay.At, "keepalived ignores it beside state MASTER and under vrrp_strict; write preempt_delay: %s if it is meant", delay.Value)
	case !s.preempt:
		c.nothing(delay.At, "without pre-emption it has no effect")
	default:
		s.delay = max(s.delay, delay.Value)
		c.became(delay.At, s.key("preempt_delay"))
	}
}

// defaultBurst is announce.burst where nothing is said.
func defaultBurst() []time.Duration {
	return []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}
}

// The bounds of announce, docs/reference.md; a refresh that comes less than daily
// is none.
const (
	maxBurst   = time.Minute
	maxRefresh = 24 * time.Hour
)

// announce makes the schedule of gratuitous ARP.
func (c *converter) announce(in *instance, s *service) {
	g := c.cfg.Global
	own := func(a, b setting[int]) setting[int] {
		if a.At != nil {
			return a
		}
		return b
	}
	delay, refresh := own(in.Garp.Delay, g.Garp.Delay), own(in.Garp.Refresh, g.Garp.Refresh)
	burst := defaultBurst()
	if g.MinGarp.Value {
		burst = burst[:1]
		s.burst = burst
		c.became(g.MinGarp.At, s.key("announce.burst"))
	}
	switch d := time.Duration(delay.Value) * time.Second; {
	case delay.At == nil:
	case d > maxBurst:
		c.left(delay.At, "is over %s, which is no part of a take-over; announce.refresh says it again and again", maxBurst)
	case d > burst[len(burst)-1]:
		s.burst = append(burst, d)
		c.became(delay.At, s.key("announce.burst"))
	default:
		c.nothing(delay.At, announced)
	}
	switch r := time.Duration(refresh.Value) * time.Second; {
	case refresh.At == nil:
	case r > maxRefresh:
		c.left(refresh.At, "is over a day, and announce.refresh says it more often; see announce.refresh")
	case r > 0:
		s.refresh = r
		c.became(refresh.At, s.key("announce.refresh"))
	default:
		c.nothing(refresh.At, announced)
	}
	for _, n := range []setting[int]{own(in.Garp.Repeat, g.Garp.Repeat), own(in.Garp.RefreshRepeat, g.Garp.RefreshRepeat)} {
		if n.At != nil {
			c.nothing(n.At, announced)
		}
	}
}

// announceToo settles the schedule of the other members of a group.
func (c *converter) announceToo(in, first *instance) {
	for _, pair := range [][2]setting[int]{
		{in.Garp.Delay, first.Garp.Delay},
		{in.Garp.Refresh, first.Garp.Refresh},
		{in.Garp.Repeat, first.Garp.Repeat},
		{in.Garp.RefreshRepeat, first.Garp.RefreshRepeat},
	} {
		own, other := pair[0], pair[1]
		switch {
		case own.At == nil:
		case own.Value == other.Value && other.At != nil:
			c.nothing(own.At, "the first member of the group says the same")
		default:
			c.left(own.At, "a group is one service, with one schedule: that of its first member (%s); see which is meant", first.At.Pos)
		}
	}
}
