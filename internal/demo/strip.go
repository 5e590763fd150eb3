package demo

import (
	"time"

	"leasehold/internal/lab"
)

const (
	// slice is the time that one mark of the strip stands for.
	slice = 100 * time.Millisecond
	// settled is how long a probe may be under way before it counts as lost, and
	// settledSQL a query: the prober gives it half a second.
	settled, settledSQL = 60 * time.Millisecond, 600 * time.Millisecond
)

// Marks that are no host's letter.
const (
	markLost = '.' // one probe or more of the slice were lost
	markNone = ' ' // none was sent
)

// strip returns n marks for the latest whole slices before now, the newest last.
// Slices count from start, so that a mark never changes once it is there: what is
// younger than wait has none yet. A slice that two hosts answered has the letter of
// the later one.
func strip(probes []lab.Probe, start, now time.Time, wait time.Duration, n int) string {
	last := int(now.Sub(start)/slice) - 1
	whole := int(now.Add(-wait).Sub(start)/slice) - 1
	marks := make([]byte, n)
	for i := range marks {
		marks[i] = markNone
	}
	for _, p := range probes {
		at := int(p.Sent.Sub(start) / slice)
		i := at - last + n - 1
		if i < 0 || i >= n || at > whole || p.Sent.Before(start) {
			continue
		}
		switch {
		case marks[i] == markLost:
		case p.Answered.IsZero():
			marks[i] = markLost
		default:
			marks[i] = letter(p.By)[0]
		}
	}
	return string(marks)
}

// stripStart returns from when on probes are needed for n marks.
func stripStart(now time.Time, n int) time.Time { return now.Add(-time.Duration(n+2) * slice) }
