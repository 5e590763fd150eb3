// Package boottime reads CLOCK_BOOTTIME, the only clock that a tenure is
// counted on: it does not jump when somebody sets the time, and unlike Go's own
// monotonic clock it goes on while the machine is suspended.
//
// It owns the type of a moment on that clock, and nothing else.
package boottime

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Instant is a moment on this machine's CLOCK_BOOTTIME, in nanoseconds since
// boot. The zero Instant means never. An Instant says nothing to another
// machine, nor to this one after a reboot (see ID).
type Instant int64

// Now reads the clock. It cannot fail on Linux 2.6.39 or later, see
// clock_gettime(2), and panics where it does: without a clock no deadline holds.
func Now() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("boottime: clock_gettime(CLOCK_BOOTTIME): %v", err))
	}
	return Instant(ts.Nano())
}

// Add returns the moment d after i.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Before reports whether i is earlier than j.
func (i Instant) Before(j Instant) bool { return i < j }

// IsZero reports whether i is the zero Instant, never.
func (i Instant) IsZero() bool { return i == 0 }

// ID returns the kernel's boot id, which an Instant that was written down must
// be kept with. Source: random(4), /proc/sys/kernel/random/boot_id.
func ID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
