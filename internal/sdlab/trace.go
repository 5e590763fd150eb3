package sdlab

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Event is one message of the lab's kernel about a watched address.
type Event struct {
	At       time.Time     // when it was read here
	There    bool          // RTM_NEWADDR, also sent at each refresh; false: RTM_DELADDR
	ValidLft time.Duration // of RTM_NEWADDR; 0 means forever
}

// String gives the time of day, so that the event can be found in the journal.
func (e Event) String() string {
	if !e.There {
		return e.At.Format("15:04:05.000") + " removed"
	}
	return e.At.Format("15:04:05.000") + " lifetime " + e.ValidLft.String()
}

// Trace collects what the kernel says about one address, so that a test can prove
// that the address was never gone, however shortly. Close it before the lab.
type Trace struct {
	done   chan struct{}
	ended  chan struct{}
	mu     sync.Mutex // guards events, err
	events []Event
	err    error
}

// TraceAddr starts to collect the events of ip on any interface of the lab.
func (l *Lab) TraceAddr(ip netip.Addr) (*Trace, error) {
	ns, err := netns.GetFromName(l.NS)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", l.NS, err)
	}
	defer ns.Close()
	t := &Trace{done: make(chan struct{}), ended: make(chan struct{})}
	updates := make(chan netlink.AddrUpdate, 64)
	err = netlink.AddrSubscribeWithOptions(updates, t.done, netlink.AddrSubscribeOptions{
		Namespace:     &ns,
		ErrorCallback: t.fail,
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to addresses in %s: %w", l.NS, err)
	}
	go func() {
		defer close(t.ended)
		for u := range updates {
			if got, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok && got.Unmap() == ip {
				t.add(Event{At: time.Now(), There: u.NewAddr, ValidLft: lifetime(u.ValidLft)})
			}
		}
	}()
	return t, nil
}

// lifetime turns ifa_valid (seconds; all ones is forever) into a duration.
func lifetime(seconds int) time.Duration {
	if uint32(seconds) == ^uint32(0) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

func (t *Trace) add(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

// fail notes an error of the subscription; the one that Close causes is none.
func (t *Trace) fail(err error) {
	select {
	case <-t.done:
	default:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.err = err
	}
}

// Since returns the events after a moment, oldest first. An error means that some
// may be missing.
func (t *Trace) Since(start time.Time) ([]Event, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var after []Event
	for _, e := range t.events {
		if e.At.After(start) {
			after = append(after, e)
		}
	}
	return after, t.err
}

// Close ends the collection.
func (t *Trace) Close() {
	close(t.done)
	<-t.ended
}
