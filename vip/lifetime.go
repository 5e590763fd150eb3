package vip

import (
	"math"
	"time"

	"leasehold/internal/boottime"
)

// maxLifetime keeps a lifetime clear of 0xffffffff, which means for ever, and
// within the int that package netlink has for it.
const maxLifetime = math.MaxInt32

// lateness is how long past its lifetime the kernel may leave an address: at
// most 0.995 s was seen in 60 expiries with another timed address about, 0.6 s
// without. Never was one early. The 45 ms are for frames on their way and a
// netlink message that waits: an election's margin of 5 ms is a fence's.
const lateness = time.Second + 45*time.Millisecond

// beyond is how long past its deadline the lifetime of an address behind a fence
// may end: long enough that the fence is what ends a tenure, and that the
// lifetime is set anew every other second while the deadline moves every
// fifth of a ttl.
const beyond = 2 * time.Second

// Lifetime returns the kernel lifetime (valid_lft) of an address that must be
// gone at until: whole seconds from now, rounded down, as ifa_cacheinfo of
// rtnetlink(7) has no smaller unit. ok is false under one second: 0 would mean
// already expired, and 1 would be too long.
func Lifetime(now, until boottime.Instant) (seconds uint32, ok bool) {
	left := until.Sub(now)
	if until <= now || left < time.Second {
		return 0, false
	}
	return uint32(min(left/time.Second, maxLifetime)), true
}

// fencedLifetime is Lifetime behind a fence: whole seconds that end between
// one second and beyond after until. ok is false when until has passed.
func fencedLifetime(now, until boottime.Instant) (seconds uint32, ok bool) {
	if until <= now {
		return 0, false
	}
	left := until.Sub(now)
	whole := left / time.Second
	if left%time.Second > 0 {
		whole++
	}
	return uint32(min(whole+1, maxLifetime)), true
}

// Lateness returns how long past the moment that Bind or Extend was given the
// kernel may go on answering for a VIP: nothing behind a fence.
func (s *Set) Lateness() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guard.lateness()
}
