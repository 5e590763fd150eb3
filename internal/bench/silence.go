package bench

import (
	"net/netip"
	"time"

	"leasehold/internal/lab"
)

// silence is what was not answered in a time in which nothing goes wrong.
type silence struct {
	asked   int           // ARP questions
	shuts   int           // times without an answer after which the same host went on
	moves   int           // times that another host answered than before
	twice   int           // questions that two hosts answered
	longest time.Duration // from the first question without an answer to the next with one
}

// silences reads from the wire for how long nobody answered. Questions and
// answers bear the kernel's time, and the host's kernel answers: a prober that
// does not get the CPU asks less often, and is not mistaken for silence.
func silences(frames []lab.ARPFrame, addr netip.Addr, end time.Time) silence {
	var s silence
	var from time.Time // of the silence; zero: there is none
	var before string  // who answered last
	for _, a := range lab.ARPAnswers(frames, addr) {
		if end.Sub(a.Asked) < answerTime {
			break // its answer may be on the way
		}
		s.asked++
		if a.Dual() {
			s.twice++
		}
		if len(a.By) == 0 {
			if from.IsZero() {
				from = a.Asked
			}
			continue
		}
		who := a.By[0].Host
		moved := before != "" && who != before
		if moved {
			s.moves++
		}
		if !from.IsZero() {
			s.longest = max(s.longest, a.Asked.Sub(from))
			if !moved {
				s.shuts++
			}
		}
		from, before = time.Time{}, who
	}
	if !from.IsZero() {
		s.longest = max(s.longest, end.Sub(from))
		s.shuts++
	}
	return s
}

// answerTime is far longer than the kernel takes to answer.
const answerTime = 100 * time.Millisecond
