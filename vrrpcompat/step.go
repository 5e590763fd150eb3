package vrrpcompat

import "leasehold/internal/boottime"

// Step decides what an event changes, and what is to be done, in that order. now
// never goes back. Where a packet and the end of a timer come at once the packet
// is to be told first: it may be the one that the timer waited for.
//
// The transitions are those of RFC 9568 section 6.4 as keepalived 2.2.7 runs them
// (vrrp_state_backup, vrrp_state_master_rx), with three differences. A rejected
// packet is no event: keepalived's master puts its own advert off for each, and
// so can be silenced. The VIP is removed before priority 0 is sent. And an Active
// router that was silent too long itself listens before it speaks again.
func Step(m Machine, now boottime.Instant, e Event) (Machine, []Action) {
	if m.overslept(now) {
		m = m.backOff(now, CauseOverslept)
		m, do := m.react(now, e)
		return m, append([]Action{{Verb: RemoveVIP}}, do...)
	}
	return m.react(now, e)
}

func (m Machine) react(now boottime.Instant, e Event) (Machine, []Action) {
	switch e := e.(type) {
	case Startup:
		return m.startup(now)
	case Shutdown:
		return m.shutdown(e)
	case Heard:
		return m.hear(now, e)
	case Tick:
		return m.tick(now)
	case TenureGained:
		return m.gain(now, e)
	case TenureLost:
		return m.lose(now, e)
	case Recognised:
		return m.recognise(e), nil
	case PriorityChanged:
		return m.reprioritise(e.Priority), nil
	}
	return m, nil
}

// startup: only the owner of the addresses, and who follows one of our own nodes,
// is Active without having listened.
func (m Machine) startup(now boottime.Instant) (Machine, []Action) {
	if m.state != Initialize {
		return m, nil
	}
	m.learned = m.rules.interval
	switch {
	case m.tenure && m.succeeds:
		return m.activate(now, CauseSucceeds)
	case m.tenure && m.owner():
		return m.activate(now, CauseOwner)
	}
	return m.backOff(now, CauseStartup), []Action{{Verb: RemoveVIP}}
}

// shutdown: a Backup leaves without a word.
func (m Machine) shutdown(e Shutdown) (Machine, []Action) {
	var do []Action
	if m.state == Active {
		do = m.farewell(e.Successor)
	}
	if m.state != Initialize {
		m.cause = CauseShutdown
	}
	m.state, m.succeeds, m.better = Initialize, false, Rival{}
	m.downAt, m.advertAt, m.delayAt = 0, 0, 0
	return m, do
}

func (m Machine) tick(now boottime.Instant) (Machine, []Action) {
	switch {
	case m.state == Backup && m.expired(now):
		m.downAt, m.delayAt, m.better = 0, 0, Rival{}
		if m.tenure {
			return m.activate(now, CauseSilence)
		}
	case m.state == Active && m.advertAt != 0 && !now.Before(m.advertAt):
		m.sentAt = now
		m.advertAt = m.advertAt.Add(m.rules.interval)
		if !now.Before(m.advertAt) { // late by more than one: they are not sent in a burst
			m.advertAt = now.Add(m.rules.interval)
		}
		return m, []Action{m.advert()}
	}
	return m, nil
}

// gain: a Backup that waits for nobody takes over at once. Its timer ran while
// the tenure was another's, and tells of foreign routers only.
func (m Machine) gain(now boottime.Instant, e TenureGained) (Machine, []Action) {
	m.tenure = true
	switch {
	case m.state == Initialize:
		m.succeeds = e.Succeeds
	case m.state == Active:
	case m.expired(now):
		return m.activate(now, CauseSilence)
	case m.better.Adverts > 0:
	case e.Succeeds:
		return m.activate(now, CauseSucceeds)
	case m.owner():
		return m.activate(now, CauseOwner)
	}
	return m, nil
}

func (m Machine) lose(now boottime.Instant, e TenureLost) (Machine, []Action) {
	m.tenure = false
	if m.state != Active {
		return m, nil
	}
	return m.backOff(now, CauseTenure), m.farewell(e.Successor)
}

// recognise: whom a Backup waited for is one of ours, and was never in its way.
// The timer goes on, for a foreign one may have been heard in between.
func (m Machine) recognise(e Recognised) Machine {
	if m.rival.Source == e.Source {
		m.rival = Rival{}
	}
	if m.better.Source == e.Source {
		m.better, m.delayAt = Rival{}, 0
	}
	return m
}

// reprioritise: an Active router says its new priority with its next advert, a
// Backup's timer moves by the difference (vrrp_set_effective_priority; that one
// also ends a skew that runs after priority 0, which is a fault).
func (m Machine) reprioritise(priority uint8) Machine {
	if m.rules.base == PriorityOwner {
		return m
	}
	before := m.skew()
	m.priority = EffectivePriority(priority, 0)
	if priority == PriorityOwner {
		m.priority = PriorityOwner - 1
	}
	if m.state == Backup && m.downAt != 0 {
		m.downAt = m.downAt.Add(m.skew() - before)
	}
	return m
}

// activate makes the router Active: the advert goes first, so that whoever has
// the VIP lets go of it before it is bound here.
func (m Machine) activate(now boottime.Instant, why Cause) (Machine, []Action) {
	m.state, m.cause, m.succeeds = Active, why, false
	m.downAt, m.delayAt, m.better = 0, 0, Rival{}
	m.learned = m.rules.interval
	if m.rules.gate {
		return m, []Action{{Verb: BindVIP}, {Verb: AnnounceVIP}}
	}
	m.sentAt, m.advertAt = now, now.Add(m.rules.interval)
	return m, []Action{m.advert(), {Verb: BindVIP}, {Verb: AnnounceVIP}}
}

// backOff makes the router Backup with a whole Active_Down_Interval before it.
func (m Machine) backOff(now boottime.Instant, why Cause) Machine {
	m.state, m.cause = Backup, why
	m.advertAt, m.delayAt, m.better = 0, 0, Rival{}
	m.downAt = now.Add(m.down())
	return m
}

// farewell is how an Active router goes: first the VIP, then the invitation.
func (m Machine) farewell(successor bool) []Action {
	if successor || m.rules.gate {
		return []Action{{Verb: RemoveVIP}}
	}
	return []Action{{Verb: RemoveVIP}, {Verb: SendAdvert, Priority: 0}}
}

func (m Machine) advert() Action { return Action{Verb: SendAdvert, Priority: m.priority} }

// expired reports whether the Active_Down_Timer of a Backup has run out.
func (m Machine) expired(now boottime.Instant) bool { return !now.Before(m.downAt) }

// owner reports whether the router owns the addresses, which counts for nothing
// where it does not speak.
func (m Machine) owner() bool { return m.priority == PriorityOwner && !m.rules.gate }
