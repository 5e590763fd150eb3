package main

import (
	"fmt"
	"time"

	"leasehold/vip"
)

// The numbers that the ttl is checked with.
const (
	// tenureMargin is δ: etcd's answer is worth that much less, for what passed
	// the guard just before the deadline. The election counts with it.
	tenureMargin = 5 * time.Millisecond
	// fenceLateness is how long past its deadline a fence passes frames: in 250
	// measured ends it was never late (docs/adr/0007).
	fenceLateness = time.Duration(0)
	// lifetimeBusy is what a host without a fence takes off besides, for timers and
	// netlink on a busy host; and kernelLateness is how long past its lifetime the
	// kernel may leave an address in place: under 1 s over 60 runs of each lifetime
	// with another timed address on the host (995 ms at most), because addrconf and
	// inetaddr look once a second.
	lifetimeBusy     = 45 * time.Millisecond
	kernelLateness   = time.Second
	lifetimeLateness = kernelLateness + lifetimeBusy
	// lifetimeUnit is the grain of ifa_cacheinfo, see rtnetlink(7).
	lifetimeUnit = time.Second

	// shortestFenced is the shortest ttl behind a fence: a renewal every 100 ms,
	// 125 ms for each try, and the VIP let go 70 ms before the end, so that after
	// one try that hangs there is time for one more.
	shortestFenced = 500 * time.Millisecond
	longestTTL     = time.Hour
	// etcdStall is how long etcd took to elect another leader and renew leases
	// again, at its default election timeout of 1 s: 1.3–1.7 s.
	etcdStall = 1700 * time.Millisecond
)

// renewal is how often the tenure is renewed.
func renewal(ttl time.Duration) time.Duration { return ttl / 5 }

// try is how long one renewal may take before another endpoint is asked.
func try(ttl time.Duration) time.Duration { return ttl / 4 }

// usable is how long after the request of a renewal the VIP may be up: the ttl on
// the slower of two clocks that run up to 1 % apart, less the margin and the
// lateness of what guards it, fenceLateness or lifetimeLateness.
func usable(ttl, late time.Duration) time.Duration { return ttl*99/101 - tenureMargin - late }

// spare is what is left of that when the next renewal is due: an etcd that does
// not answer for that long costs nothing.
func spare(ttl, late time.Duration) time.Duration { return usable(ttl, late) - renewal(ttl) }

// shortestTTL is the shortest ttl without a fence: its spare holds one
// whole-second lifetime, rounded up to the whole seconds of an etcd lease.
func shortestTTL() time.Duration { return ttlWithSpare(lifetimeUnit) }

// ttlWithSpare is the shortest whole-second ttl with at least the given spare
// without a fence.
func ttlWithSpare(need time.Duration) time.Duration {
	ttl := time.Second
	for spare(ttl, lifetimeLateness) < need {
		ttl += time.Second
	}
	return ttl
}

// ttlFor is the shortest ttl that outlasts the loss of etcd's leader behind a
// fence: twice the election timeout, one renewal and one try, rounded up to
// tenths of a second.
func ttlFor(election time.Duration) time.Duration {
	const grain = 100 * time.Millisecond
	ttl := grain
	for ttl-renewal(ttl)-try(ttl) < 2*election {
		ttl += grain
	}
	return ttl
}

// needsFence reports whether lifetimes alone cannot guard a ttl.
func needsFence(ttl time.Duration) bool { return ttl < shortestTTL() }

// checkTTL returns what is wrong with a ttl; empty: nothing.
func checkTTL(ttl time.Duration, mode vip.FenceMode) string {
	switch {
	case ttl < shortestFenced && mode != vip.FenceOff:
		return fmt.Sprintf("ttl: %s is too short even behind a fence: it is renewed every %s, with %s for each try, and the VIP is let go 70ms before the end, "+
			"so that one slow answer of etcd would take it away; write ttl: %s or more", ttl, renewal(ttl), try(ttl), shortestFenced)
	case mode == vip.FenceOff && needsFence(ttl):
		return fmt.Sprintf("ttl: %s is too short with fence: off, for a VIP that only the kernel's address lifetimes guard: "+
			"%s × 0.99/1.01 (clocks 1 %% apart) − %s (margin) − %s (the kernel removes an address up to that late) = %s, "+
			"less %s until the next renewal leaves %s, and a lifetime is at least one whole second; write ttl: %s or more, or fence: auto",
			ttl, ttl, tenureMargin+lifetimeBusy, kernelLateness, round(usable(ttl, lifetimeLateness)), round(renewal(ttl)),
			round(spare(ttl, lifetimeLateness)), shortestTTL())
	case ttl > longestTTL:
		return fmt.Sprintf("ttl: %s is over %s, and the VIP would be nowhere for that long after its host died; write ttl: %s, "+
			"and use leasehold pause for maintenance", ttl, longestTTL, defaultTTL)
	}
	return ""
}

// ridesOut tells what a ttl rides out behind a guard of the given lateness.
func ridesOut(ttl, late time.Duration) string {
	return fmt.Sprintf("rides out an etcd stall of up to %s; after its host died the VIP is back within %s",
		round(spare(ttl, late)), ttl+100*time.Millisecond)
}

// notesTTL tells what a good ttl asks of the host, and what it does not ride out.
func notesTTL(ttl time.Duration, mode vip.FenceMode, embedded *EmbeddedConfig) []string {
	var notes []string
	if mode == vip.FenceAuto && needsFence(ttl) {
		notes = append(notes, fmt.Sprintf("ttl: %s is too short without a fence: where the kernel refuses bpf this node takes no VIP, "+
			"and says so (leasehold doctor shows what is missing); %s is the shortest that works without", ttl, shortestTTL()))
	}
	switch {
	case embedded != nil: // its timeout is known, see checkEmbeddedTTL
	case mode == vip.FenceOff && spare(ttl, lifetimeLateness) < etcdStall:
		notes = append(notes, fmt.Sprintf("ttl: losing its leader stalls etcd 1.3–1.7s at its default election timeout of 1s, and %s rides out %s: "+
			"the VIP would be away for a moment; write ttl: %s, or start etcd with --election-timeout 500",
			ttl, round(spare(ttl, lifetimeLateness)), ttlWithSpare(etcdStall)))
	case mode != vip.FenceOff && ttl < ttlFor(time.Second):
		notes = append(notes, fmt.Sprintf("ttl: losing its leader stalls etcd 1.3–1.7s at its default election timeout of 1s, 0.5–1.3s at 500ms, 0.5s at 250ms. "+
			"A ttl rides that out in every phase from %s, %s and %s on (twice the timeout, a renewal, a try), and %s rides out %s. "+
			"etcd does not tell its timeout: see --election-timeout of its members", ttlFor(time.Second), ttlFor(500*time.Millisecond),
			ttlFor(250*time.Millisecond), ttl, round(spare(ttl, fenceLateness))))
	}
	return notes
}

// round makes a duration fit to read.
func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
