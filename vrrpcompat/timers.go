package vrrpcompat

import "time"

// skewSteps divides the interval for Skew_Time: one step for each priority below
// 256, RFC 9568 section 6.1.
const skewSteps = 256

// SkewTime returns Skew_Time: how much longer a Backup of this priority waits
// than one of 256 would, so that the best is first. In version 2 it is a fraction
// of a second whatever the interval (RFC 3768 section 6.1), in version 3 of the
// interval (RFC 9568 section 6.1).
//
// It is multiplied before it is divided: at 10 ms the skew of priority 255 is
// 39 µs.
func SkewTime(version, priority uint8, interval time.Duration) time.Duration {
	if version == Version2 {
		interval = time.Second
	}
	return time.Duration(skewSteps-int(priority)) * interval / skewSteps
}

// ActiveDownInterval returns Active_Down_Interval: how long a Backup hears nothing
// before it takes the Active router for dead. adverts is 3 in the RFCs, and
// keepalived's down_timer_adverts.
func ActiveDownInterval(version, priority uint8, interval time.Duration, adverts int) time.Duration {
	return time.Duration(adverts)*interval + SkewTime(version, priority, interval)
}

// EffectivePriority returns what is left of a base priority after the weights of
// what is tracked, within 1 to 254. The owner's is never changed. As in keepalived
// (vrrp_set_effective_priority).
func EffectivePriority(base uint8, weights int) uint8 {
	if base == PriorityOwner {
		return base
	}
	return uint8(min(max(int(base)+weights, 1), int(PriorityOwner)-1))
}
