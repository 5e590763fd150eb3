package vrrpcompat

import "leasehold/internal/boottime"

func (m Machine) hear(now boottime.Instant, h Heard) (Machine, []Action) {
	if h.Fellow {
		return m, nil
	}
	m.rival = m.rival.after(now, h)
	switch {
	case m.state == Active && m.rules.gate:
		m = m.backOff(now, CauseForeign)
		m, do := m.backupHears(now, h)
		return m, append([]Action{{Verb: RemoveVIP}}, do...)
	case m.state == Active:
		return m.activeHears(now, h)
	case m.state == Backup:
		return m.backupHears(now, h)
	}
	return m, nil
}

// after returns what is known of a rival once it was heard. A router that leaves
// is none any more.
func (r Rival) after(now boottime.Instant, h Heard) Rival {
	if h.Priority == 0 {
		if r.Source == h.Source {
			return Rival{}
		}
		return r
	}
	if r.Source != h.Source || r.Adverts == 0 {
		r = Rival{Source: h.Source, Since: now}
	}
	r.Priority, r.Interval, r.Seen = h.Priority, h.Interval, now
	r.Adverts++
	return r
}

// backupHears: the timer starts anew, unless a lower priority is to be taken over
// from; then it goes on.
func (m Machine) backupHears(now boottime.Instant, h Heard) (Machine, []Action) {
	if h.Priority == 0 {
		m.downAt, m.better = now.Add(m.skew()), Rival{}
		return m, nil
	}
	if !m.heeds(now, h) {
		return m, nil
	}
	switch {
	case h.Priority >= m.priority:
		m.delayAt = 0
	case m.delayAt == 0 && m.rules.preemptDelay > 0:
		m.delayAt = now.Add(m.rules.preemptDelay)
	}
	m, do := m.learn(h)
	m.downAt = now.Add(m.down())
	m.better = m.better.after(now, h)
	return m, do
}

// heeds reports whether a Backup lets an Active router be. Equal priority never
// pre-empts, whatever the addresses.
func (m Machine) heeds(now boottime.Instant, h Heard) bool {
	return m.rules.gate || h.Priority >= m.priority || m.rules.noPreempt ||
		m.rules.preemptDelay > 0 && (m.delayAt == 0 || now.Before(m.delayAt))
}

// learn takes over the Active router's interval, which only version 3 does: in
// version 2 another interval was a reason to reject. One that is not ours is told
// once for each router that holds this one back. A gate may hear a router that is
// configured otherwise, and waits the longer of both.
func (m Machine) learn(h Heard) (Machine, []Action) {
	switch {
	case m.rules.gate:
		m.learned = max(m.rules.interval, min(h.Interval, m.rules.maxInterval))
		return m, nil
	case m.rules.version == Version2:
		return m, nil
	}
	warning := WarnInterval
	if m.learned = h.Interval; m.learned > m.rules.maxInterval {
		m.learned, warning = m.rules.maxInterval, WarnIntervalBound
	}
	if h.Interval == m.rules.interval || m.better.Source == h.Source && m.better.Interval == h.Interval {
		return m, nil
	}
	return m, []Action{{Verb: Warn, Warning: warning}}
}

// activeHears: two routers are Active, or one just left that was.
func (m Machine) activeHears(now boottime.Instant, h Heard) (Machine, []Action) {
	if h.Priority == 0 {
		return m.answer(now, m.advert())
	}
	var warn []Action
	if h.Priority == PriorityOwner && m.priority == PriorityOwner {
		warn = []Action{{Verb: Warn, Warning: WarnTwoOwners}}
	}
	switch claim := m.compare(h); {
	case claim > 0:
		return m.giveWay(now, h, warn)
	case claim == 0:
		return m, append(warn, Action{Verb: Warn, Warning: WarnSameSource})
	case m.rules.noLowAnswer:
		return m, append([]Action{{Verb: AnnounceVIP}}, warn...)
	default:
		advert := m.advert()
		advert.Overtake = true
		// The VIP is announced because hosts may have learned the other's address.
		return m.answer(now, append([]Action{advert, {Verb: AnnounceVIP}}, warn...)...)
	}
}

// compare returns whose claim is the better one: positive for the advert's. Equal
// priorities are decided by the address, RFC 9568 section 6.4.3.
func (m Machine) compare(h Heard) int {
	if d := int(h.Priority) - int(m.priority); d != 0 {
		return d
	}
	return h.Source.Compare(m.rules.source)
}

// giveWay goes back to Backup without priority 0: nobody is to be invited.
func (m Machine) giveWay(now boottime.Instant, h Heard, warn []Action) (Machine, []Action) {
	do := []Action{{Verb: RemoveVIP}}
	if m.rules.sayBeforeBack {
		do = append(do, m.advert()) // keepalived sends it while it still has the VIP
	}
	m, learned := m.learn(h)
	m = m.backOff(now, CauseBetter)
	m.better = m.better.after(now, h)
	return m, append(append(do, learned...), warn...)
}

// answer sends out of turn, and so begins the interval anew.
func (m Machine) answer(now boottime.Instant, do ...Action) (Machine, []Action) {
	m.sentAt, m.advertAt = now, now.Add(m.rules.interval)
	return m, do
}
