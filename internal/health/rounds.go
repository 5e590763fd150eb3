package health

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// verdict counts results. The zero verdict knows nothing.
type verdict struct {
	known  bool
	ok     bool
	passed bool // has been OK at least once
	streak int  // results in a row against ok
}

// add returns the verdict after one more result: the first result decides, a
// check that has never passed passes with its first success, and after that fall
// failures or rise successes in a row turn it.
func (v verdict) add(ok bool, fall, rise int) verdict {
	need := rise
	if v.ok {
		need = fall
	}
	if !v.known || !v.passed {
		need = 1
	}
	if v.known && ok == v.ok {
		v.streak = 0
		return v
	}
	v.streak++
	if v.streak >= need {
		v.ok, v.streak = ok, 0
	}
	v.known = true
	v.passed = v.passed || v.ok
	return v
}

// nextSlot returns when the round after the one of slot is due. Slots are an
// Interval apart. A round that ended by itself skips the slots it ran over. A
// round that timed out does not: the next one keeps its slot, and with it its
// deadline, slot + timeout, although it starts late. So the n-th failure of a
// service that hangs comes n × interval + timeout after the last success, as if
// rounds overlapped. At least half the shorter of both is always left to it, for
// hosts too busy to keep these times.
func nextSlot(slot, now time.Time, interval, timeout time.Duration, timedOut bool) time.Time {
	next := slot.Add(interval)
	if timedOut {
		latest := now.Add(min(interval, timeout)/2 - timeout)
		if next.Before(latest) {
			return latest
		}
		return next
	}
	if late := now.Sub(next); late > 0 {
		next = next.Add((late + interval - 1) / interval * interval)
	}
	return next
}

// hangup is what a prober may have besides: it tells between rounds that the
// other side has hung up. gone is nil or is closed then; stop must be called
// before the next round.
type hangup interface {
	watchHangup() (gone <-chan struct{}, stop func())
}

// hangupPause is the least time from one round for a hang-up to the next, for
// servers that hang up after every answer.
const hangupPause = 100 * time.Millisecond

// goneError is a failure that counts at once: the other side hung up, and on a
// new connection as well, or nobody listens there any more.
type goneError struct{ error }

// runRounds runs a probing check until ctx ends.
func (c *Checks) runRounds(ctx context.Context, ck *check, slot time.Time) {
	defer ck.probe.close()
	interval, timeout := ck.cfg.Interval, ck.cfg.Timeout
	timer := time.NewTimer(0)
	defer timer.Stop()
	watcher, _ := ck.probe.(hangup)
	var hungUp bool     // the round to come is for a hang-up
	var pause time.Time // no round for a hang-up is due before
	for {
		var gone <-chan struct{}
		stop := func() {}
		if watcher != nil && !hungUp {
			gone, stop = watcher.watchHangup()
		}
		select {
		case <-ctx.Done():
			stop()
			return
		case <-timer.C:
		case <-gone:
			stop()
			hungUp, slot = true, time.Now()
			if slot.Before(pause) {
				slot = pause
			}
			pause = slot.Add(hangupPause)
			timer.Reset(time.Until(slot))
			continue
		case <-ck.wake:
			slot = time.Now()
		}
		stop()
		hungUp = false
		select {
		case <-ck.wake: // the round about to begin is the one asked for
		default:
		}
		o := outcome{generation: c.begun()}
		begin := time.Now()
		deadline := slot.Add(timeout)
		roundCtx, cancel := context.WithDeadline(ctx, deadline)
		detail, err := ck.probe.probe(roundCtx)
		cancel()
		if ctx.Err() != nil {
			return // cut short, so it says nothing
		}
		now := time.Now()
		o.took = now.Sub(begin)
		o.ok, o.detail = err == nil, detail
		if err != nil {
			o.detail = err.Error()
			_, o.fact = errors.AsType[goneError](err)
		}
		c.report(ck, o)
		slot = nextSlot(slot, now, interval, timeout, err != nil && !now.Before(deadline))
		timer.Reset(time.Until(slot))
	}
}

// timedOut reports whether err stems from the deadline of a round.
func timedOut(ctx context.Context, err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// maxDetail bounds what a checked server or program can put into logs and status.
const maxDetail = 300

// oneLine makes foreign text fit for a log line and a terminal: one line, no
// control characters, valid UTF-8, at most maxDetail bytes.
func oneLine(s string) string {
	cut := len(s) > maxDetail
	if cut {
		s = s[:maxDetail-len("…")]
		for len(s) > 0 { // not in the middle of a rune
			if r, n := utf8.DecodeLastRuneInString(s); r != utf8.RuneError || n != 1 {
				break
			}
			s = s[:len(s)-1]
		}
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return '?'
		}
	}, s)
	if s = strings.TrimSpace(s); cut {
		s += "…"
	}
	return s
}
