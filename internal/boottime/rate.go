package boottime

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Rate returns by how many parts per million the kernel makes this machine's
// clocks run faster (or, negative, slower) than its oscillator, as ntpd or chrony
// have asked it to. CLOCK_BOOTTIME is slewed with the others. Only reading needs
// no privilege, see adjtimex(2).
func Rate() (ppm float64, err error) {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return 0, fmt.Errorf("read the clock's rate: adjtimex: %w", err)
	}
	return rate(t.Tick, t.Freq), nil
}

// rate adds what the two knobs do: tick is microseconds per 1/100 s, freq is ppm
// with a 16-bit fraction (adjtimex(2)).
func rate(tick, freq int64) float64 {
	const nominal = 10_000
	return float64(tick-nominal)*1e6/nominal + float64(freq)/(1<<16)
}
