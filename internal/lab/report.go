package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Gap is a time without service: from the last answer before to the first
// answer after it.
type Gap struct {
	From, To time.Time
	Open     bool // no answer came any more; To is when the report was made
}

// Length returns how long the gap was.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Move is the moment from which another host answered.
type Move struct {
	At time.Time
	To string
}

// Report is what was seen from outside between two moments.
type Report struct {
	From, To time.Time
	Sent     int
	Lost     int // probes without an answer
	Gap      Gap // the longest
	// Outage is the longest time from the sending of a probe that was lost to the
	// next answer. Unlike Gap it does not begin with the last answer before, so that
	// a prober that did not get to run has seen nothing.
	Outage   time.Duration
	Latency  time.Duration // the longest wait of a probe that was answered
	Moves    []Move        // who answered, in order; the first is who did at the beginning
	Duals    []ARPAnswer   // questions that more than one answered
	Asked    int           // ARP questions
	Claims   []ARPFrame    // announcements of the VIP
	Overlaps []Overlap     // two kernels had the VIP
	Held     []Interval    // which kernel had it when
}

// Overlap returns for how long two kernels had the VIP.
func (r Report) Overlap() time.Duration { return total(r.Overlaps) }

// Path returns who answered one after the other: "a → b".
func (r Report) Path() string {
	var hosts []string
	for _, m := range r.Moves {
		hosts = append(hosts, m.To)
	}
	return strings.Join(hosts, " → ")
}

// String returns one line for a table.
func (r Report) String() string {
	open := ""
	if r.Gap.Open {
		open = "+"
	}
	return fmt.Sprintf("%-10s gap %7.1f ms%-1s  lost %4d/%-5d  dual %d/%d  overlap %.1f ms",
		r.Path(), ms(r.Gap.Length()), open, r.Lost, r.Sent, len(r.Duals), r.Asked, ms(r.Overlap()))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summarize fills in what probes show between from and to. The gap may begin
// with the last answer before from; a probe counts when it was sent in between.
func (r *Report) summarize(probes []Probe) {
	var answered []Probe
	for _, p := range probes {
		in := !p.Sent.Before(r.From) && p.Sent.Before(r.To)
		if in {
			r.Sent++
		}
		switch {
		case p.Answered.IsZero() && in:
			r.Lost++
		case !p.Answered.IsZero() && !p.Answered.After(r.To):
			answered = append(answered, p)
		}
		if in && !p.Answered.IsZero() {
			r.Latency = max(r.Latency, p.Answered.Sub(p.Sent))
		}
	}
	slices.SortStableFunc(answered, func(x, y Probe) int { return x.Answered.Compare(y.Answered) })
	last := r.From
	for _, p := range answered {
		if p.Answered.Before(r.From) {
			last = p.Answered
			r.Moves = []Move{{At: r.From, To: p.By}}
			continue
		}
		if g := (Gap{From: last, To: p.Answered}); g.Length() > r.Gap.Length() {
			r.Gap = g
		}
		last = p.Answered
		if n := len(r.Moves); n == 0 || r.Moves[n-1].To != p.By {
			r.Moves = append(r.Moves, Move{At: p.Answered, To: p.By})
		}
	}
	if g := (Gap{From: last, To: r.To, Open: true}); g.Length() > r.Gap.Length() {
		r.Gap = g
	}
	r.Outage = r.outage(probes)
}

// outage is Report.Outage. Probes that were sent later may be answered before.
func (r *Report) outage(probes []Probe) (longest time.Duration) {
	next := r.To // the earliest answer to a later probe
	for _, p := range slices.Backward(probes) {
		switch {
		case p.Sent.Before(r.From):
			return longest
		case p.Answered.IsZero() && p.Sent.Before(r.To):
			longest = max(longest, next.Sub(p.Sent))
		case !p.Answered.IsZero() && p.Answered.Before(next):
			next = p.Answered
		}
	}
	return longest
}

// wire fills in what the sniffer saw of vip between from and to.
func (r *Report) wire(frames []ARPFrame, vip netip.Addr) {
	for _, f := range frames {
		if f.Claims(vip) && f.Gratuitous() && !f.At.Before(r.From) && f.At.Before(r.To) {
			r.Claims = append(r.Claims, f)
		}
	}
	for _, a := range ARPAnswers(frames, vip) {
		if a.Asked.Before(r.From) || !a.Asked.Before(r.To) {
			continue
		}
		r.Asked++
		if a.Dual() {
			r.Duals = append(r.Duals, a)
		}
	}
}

// kernels fills in what the kernels had between from and to.
func (r *Report) kernels(intervals []Interval) {
	for _, i := range intervals {
		if i.From.Before(r.To) && (i.To.IsZero() || i.To.After(r.From)) {
			r.Held = append(r.Held, i)
		}
	}
	for _, o := range Overlaps(r.Held, r.To) {
		if o.From.Before(r.From) {
			o.From = r.From
		}
		if o.To.After(r.To) {
			o.To = r.To
		}
		if o.To.After(o.From) {
			r.Overlaps = append(r.Overlaps, o)
		}
	}
}
