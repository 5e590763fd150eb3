package lab

import (
	"net/netip"
	"time"
)

// Overlap is a time during which two kernels had the same address.
type Overlap struct {
	Hosts    [2]string
	Addr     netip.Addr
	From, To time.Time
}

// Overlaps returns when two kernels had the same address, up to now for those
// that still have it.
func Overlaps(intervals []Interval, now time.Time) []Overlap {
	var all []Overlap
	for i, x := range intervals {
		for _, y := range intervals[i+1:] {
			if x.Addr != y.Addr || x.Host == y.Host {
				continue
			}
			from, to := x.From, x.To
			if y.From.After(from) {
				from = y.From
			}
			if to.IsZero() || !y.To.IsZero() && y.To.Before(to) {
				to = y.To
			}
			if to.IsZero() {
				to = now
			}
			if to.After(from) {
				all = append(all, Overlap{Hosts: [2]string{x.Host, y.Host}, Addr: x.Addr, From: from, To: to})
			}
		}
	}
	return all
}

// Overlap returns for how long two kernels have had the same address, summed
// over all such times.
func (w *KernelWatch) Overlap() time.Duration { return total(Overlaps(w.Intervals(), time.Now())) }

func total(overlaps []Overlap) (sum time.Duration) {
	for _, o := range overlaps {
		sum += o.To.Sub(o.From)
	}
	return sum
}
