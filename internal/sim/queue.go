package sim

import "time"

// kind is what an event does; everything but call goes by the flight.
type kind uint8

const (
	call    kind = iota // do
	arrive              // a request reaches etcd
	again               // and once more
	reply               // its answer reaches the process that asked
	timeout             // which gives up on it
)

// event is something that happens at a moment of real time.
type event struct {
	at   time.Duration
	seq  uint64
	kind kind
	life uint32 // not 0: an instruction of that life of the host's process
	host *host
	fl   *flight
	do   func()
}

// queue is a heap of events: by time, and in the order of pushing at one time.
// It is container/heap without its interface, which costs a third of a run.
type queue []event

func (q queue) less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}

func (q *queue) push(e event) {
	*q = append(*q, e)
	h := *q
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if !h.less(i, up) {
			break
		}
		h[i], h[up] = h[up], h[i]
		i = up
	}
}

func (q *queue) pop() event {
	h := *q
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = event{} // lets go of what it points to
	h = h[:last]
	*q = h
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && h.less(c+1, c) {
			c++
		}
		if !h.less(c, i) {
			break
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
	return first
}
