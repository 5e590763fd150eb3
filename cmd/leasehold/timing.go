package main

import (
	"fmt"
	"time"
)

// The numbers that the ttl is checked with, while only kernel lifetimes guard a
// holder that has died.
const (
	// kernelMargin is δ: etcd's answer is worth that much less, for timers and
	// netlink on a busy host.
	kernelMargin = 50 * time.Millisecond
	// kernelLateness is how long past its lifetime the kernel may leave an address
	// in place: under 1 s over 60 runs of each lifetime with another timed address
	// on the host (995 ms at most), because addrconf and inetaddr look once a second.
	kernelLateness = time.Second
	// lifetimeUnit is the grain of ifa_cacheinfo, see rtnetlink(7).
	lifetimeUnit = time.Second

	longestTTL = time.Hour
	// etcdStall is how long etcd took to elect another leader and renew leases
	// again, at its default election timeout of 1 s: 1.3–1.7 s.
	etcdStall = 1700 * time.Millisecond
)

// renewal is how often the tenure is renewed.
func renewal(ttl time.Duration) time.Duration { return ttl / 5 }

// usable is how long after the request of a renewal the VIP may be up: the ttl on
// the slower of two clocks that run up to 1 % apart, less the margin and the
// kernel's lateness.
func usable(ttl time.Duration) time.Duration {
	return ttl*99/101 - kernelMargin - kernelLateness
}

// spare is what is left of that when the next renewal is due: an etcd that does
// not answer for that long costs nothing.
func spare(ttl time.Duration) time.Duration { return usable(ttl) - renewal(ttl) }

// shortestTTL is the shortest ttl whose spare holds one whole-second lifetime,
// rounded up to the whole seconds of an etcd lease.
func shortestTTL() time.Duration { return ttlWithSpare(lifetimeUnit) }

// ttlWithSpare is the shortest whole-second ttl with at least the given spare.
func ttlWithSpare(need time.Duration) time.Duration {
	ttl := time.Second
	for spare(ttl) < need {
		ttl += time.Second
	}
	return ttl
}

// checkTTL returns what is wrong with a ttl; empty: nothing.
func checkTTL(ttl time.Duration) string {
	short := shortestTTL()
	switch {
	case ttl < short:
		return fmt.Sprintf("ttl: %s is too short for a VIP that only the kernel's address lifetimes guard: "+
			"%s × 0.99/1.01 (clocks 1 %% apart) − %s (margin) − %s (the kernel removes an address up to that late) = %s, "+
			"less %s until the next renewal leaves %s, and a lifetime is at least one whole second; write ttl: %s or more",
			ttl, ttl, kernelMargin, kernelLateness, round(usable(ttl)), round(renewal(ttl)), round(spare(ttl)), short)
	case ttl > longestTTL:
		return fmt.Sprintf("ttl: %s is over %s, and the VIP would be nowhere for that long after its host died; write ttl: %s, "+
			"and use leasehold pause for maintenance", ttl, longestTTL, defaultTTL)
	}
	return ""
}

// ridesOut tells what a ttl rides out.
func ridesOut(ttl time.Duration) string {
	return fmt.Sprintf("rides out an etcd stall of up to %s; after its host died the VIP is back within %s",
		round(spare(ttl)), ttl+100*time.Millisecond)
}

// noteTTL tells what a good ttl does not ride out; empty: nothing that is usual.
func noteTTL(ttl time.Duration) string {
	if spare(ttl) >= etcdStall {
		return ""
	}
	return fmt.Sprintf("ttl: losing its leader stalls etcd 1.3–1.7s at its default election timeout of 1s, and %s rides out %s: "+
		"the VIP would be away for a moment; write ttl: %s, or start etcd with --election-timeout 500",
		ttl, round(spare(ttl)), ttlWithSpare(etcdStall))
}

// round makes a duration fit to read.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
