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
// without. Never was one early.
const lateness = time.Second

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

// Lateness returns how long past its lifetime the kernel may leave an address.
func (s *Set) Lateness() time.Duration { return s.guard.lateness() }

// A guard passes the VIPs' frames until a deadline, and none when it is shut,
// whatever becomes of this process. Bind and Extend arm it last, Release shuts
// it after the resets (an RST cannot leave later) and before the addresses go.
type guard interface {
	arm(until boottime.Instant) error
	shut() error
	lateness() time.Duration
}

// lifetimesOnly is the guard of a host without a fence: the kernel lifetimes of
// the addresses are all that ends a VIP when this process cannot.
type lifetimesOnly struct{}

func (lifetimesOnly) arm(boottime.Instant) error { return nil }
func (lifetimesOnly) shut() error                { return nil }
func (lifetimesOnly) lateness() time.Duration    { return lateness }
