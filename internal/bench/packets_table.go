package bench

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// PacketResult is what a run of Packets measured.
type PacketResult struct {
	Rounds  int
	samples [][]sample // by fencings
	machine string
}

// Print writes the table for people, and then as lines of Markdown.
func (r *PacketResult) Print(w io.Writer) {
	cells := [][]string{{"fence", "put up, ms", "ICMP round trip, µs", "more than none, ns", "UDP datagram, µs", "more than none, ns"}}
	rtt := func(s sample) time.Duration { return s.rtt }
	send := func(s sample) time.Duration { return s.send }
	for i, f := range fencings() {
		built := pick(r.samples[i], func(s sample) time.Duration { return s.built })
		line := []string{f.name, fmt.Sprintf("%.1f", ms(median(built)))}
		for _, of := range []func(sample) time.Duration{rtt, send} {
			line = append(line, microseconds(pick(r.samples[i], of)), "")
			if i > 0 {
				line[len(line)-1] = nanoseconds(differences(r.samples[i], r.samples[0], of))
			}
		}
		cells = append(cells, line)
	}
	fmt.Fprintf(w, "What the fence costs a packet: median (range) of %d samples, taken in turn\n\n", r.Rounds)
	WriteTable(w, cells)
	fmt.Fprintf(w, "\n%s\n%s\n\n", packetNotes, r.machine)
	writeMarkdown(w, cells)
}

const packetNotes = `Two namespaces, one veth pair, the fence on its far end. ICMP: a sample is the median of 10000
echoes; each passes every fence twice, in and out. UDP: the time of send(2) until the datagram is in
the far socket, 30000 to a sample; it passes every fence once. More than none: of the same round,
median [quartiles].`

// pick returns one figure of all samples, sorted.
func pick(samples []sample, of func(sample) time.Duration) []time.Duration {
	all := make([]time.Duration, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	slices.Sort(all)
	return all
}

// differences are what the samples have more than those of the same round
// without a fence, sorted.
func differences(samples, none []sample, of func(sample) time.Duration) []time.Duration {
	all := make([]time.Duration, min(len(samples), len(none)))
	for i := range all {
		all[i] = of(samples[i]) - of(none[i])
	}
	slices.Sort(all)
	return all
}

func microseconds(sorted []time.Duration) string {
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	return fmt.Sprintf("%.2f (%.2f–%.2f)", us(median(sorted)), us(sorted[0]), us(sorted[len(sorted)-1]))
}

// nanoseconds are a median with its quartiles: one stolen CPU makes a range of
// differences say nothing.
func nanoseconds(sorted []time.Duration) string {
	n := len(sorted)
	return fmt.Sprintf("%+d [%+d…%+d]", median(sorted).Nanoseconds(), sorted[n/4].Nanoseconds(), sorted[n*3/4].Nanoseconds())
}
