package vrrpcompat

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/boottime"
)

// A Notice is something about another router that a person should put right. It
// stands for as long as it is seen.
type Notice struct {
	Name  string     // a word: a Reason's, or one of the names below
	From  netip.Addr // whose adverts it is about; invalid: nobody's
	Text  string     // what is wrong, what comes of it, and what to do
	Since boottime.Instant
	Last  boottime.Instant
	Times int
}

// Names of notices that are no Reason's and no Warning's.
const (
	NoticeVIPsDiffer  = "vips_differ"        // accepted, and its addresses are not ours
	NoticeNotYielding = "does_not_give_way"  // a lower priority that stays Active beside us
	NoticeFellow      = "second_on_our_node" // adverts of a host whose Leasehold does not speak
)

const (
	// maxNotices bounds what a host that sends rubbish can make us remember.
	maxNotices = 16
	// noticeFor is how long after it was seen last a notice stands: several of
	// keepalived's intervals, so that it does not come and go.
	noticeFor = 15 * time.Second
	// logEvery is how often a rejection that is no notice is logged, per reason.
	logEvery = time.Minute
	// notYielding is how many adverts of a lower priority are heard in a row while we
	// are Active: keepalived gives way to the first that we answer.
	notYielding = 3
)

type noticeKey struct {
	name string
	from netip.Addr
}

// A board counts what was heard, and keeps notices.
type board struct {
	log     hclog.Logger
	counts  [Reasons]uint64
	logged  [Reasons]boottime.Instant
	notices map[noticeKey]Notice

	// The adverts of a router that were heard in a row while we were Active.
	row     int
	rowFrom netip.Addr
	rowLast boottime.Instant
}

func newBoard(log hclog.Logger) board {
	return board{log: log, notices: map[noticeKey]Notice{}}
}

func (b *board) count(why Reason) { b.counts[why]++ }

// counters returns what is not zero, by the reason's word.
func (b *board) counters() map[string]uint64 {
	all := map[string]uint64{}
	for why, n := range b.counts {
		if n > 0 {
			all[Reason(why).String()] = n //nolint:gosec // there are few
		}
	}
	return all
}

// odd books an advert that was rejected, or is odd. It reports whether there is a
// notice that was not there before.
func (b *board) odd(now boottime.Instant, a Advert, why Reason, c *Codec) bool {
	key := noticeKey{why.String(), a.Source}
	switch {
	case why == Accepted:
		key.name = NoticeVIPsDiffer
	case why.Mismatch():
	case why.Silent():
		return false
	default: // no router that could be put right: counted, and logged now and then
		if at := b.logged[why]; at == 0 || now.Sub(at) >= logEvery {
			b.logged[why] = now
			b.log.Warn("packet dropped", "reason", why, "why", c.Explain(a, why), "count", b.counts[why])
		}
		return false
	}
	return b.post(now, key, func() string { return c.Explain(a, why) })
}

// warn books a Warning of the machine.
func (b *board) warn(now boottime.Instant, w Warning) {
	b.post(now, noticeKey{name: w.name()}, w.String)
}

// beside books an advert that was heard while we are Active, and did not make us
// give way: whoever sends it is Active as well.
func (b *board) beside(now boottime.Instant, m Machine, h Heard) bool {
	switch {
	case h.Priority == 0:
		return false
	case h.Fellow:
		return b.post(now, noticeKey{NoticeFellow, h.Source}, func() string {
			return fmt.Sprintf("adverts come from %s, where Leasehold runs and does not hold the VIP: a keepalived with the same virtual_router_id runs there beside it; stop that one, or take the host out of Leasehold", h.Source)
		})
	}
	if b.rowFrom != h.Source || now.Sub(b.rowLast) >= m.longest(h.Interval) {
		b.row = 0
	}
	b.row, b.rowFrom, b.rowLast = b.row+1, h.Source, now
	if b.row < notYielding {
		return false
	}
	return b.post(now, noticeKey{NoticeNotYielding, h.Source}, func() string {
		return fmt.Sprintf("%s is Active with priority %d and does not give way to our %d: it does not hear our adverts (a firewall between us, unicast on one side only), or drops them (its log says why); while it answers for the VIP this host does not; put that right, or stop keepalived there", h.Source, h.Priority, m.Priority())
	})
}

// post books a notice, and logs it when it is new.
func (b *board) post(now boottime.Instant, key noticeKey, text func() string) bool {
	n, ok := b.notices[key]
	if !ok {
		if len(b.notices) >= maxNotices {
			return false
		}
		n = Notice{Name: key.name, From: key.from, Since: now}
		n.Text = text()
		b.log.Warn("another router is not as it should be", "name", n.Name, "what", n.Text)
	}
	n.Last = now
	n.Times++
	b.notices[key] = n
	return !ok
}

// expire takes down what was not seen for a while, and reports whether there was
// anything.
func (b *board) expire(now boottime.Instant) bool {
	before := len(b.notices)
	maps.DeleteFunc(b.notices, func(_ noticeKey, n Notice) bool {
		over := now.Sub(n.Last) >= noticeFor
		if over {
			b.log.Info("seen no more", "name", n.Name, "from", n.From)
		}
		return over
	})
	return len(b.notices) != before
}

// list returns the notices, the oldest first.
func (b *board) list() []Notice {
	return slices.SortedFunc(maps.Values(b.notices), func(x, y Notice) int {
		return cmp.Or(cmp.Compare(x.Since, y.Since), cmp.Compare(x.Name, y.Name), x.From.Compare(y.From))
	})
}
