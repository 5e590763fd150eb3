package vip

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"leasehold/internal/boottime"
)

// An announcer is what is announced, and through which sockets.
type announcer struct {
	mu      sync.Mutex // held while frames leave, so that none does after stop
	senders map[string]*sender
	on      bool
	start   boottime.Instant // of the burst
	sent    int              // how many of the schedule are out

	defended boottime.Instant // when a claim was last answered
	owed     boottime.Instant // when the next one is to be; zero: none is

	wake chan struct{} // one slot: start or owed has changed
}

// stop ends the announcements. When it has returned none is on its way.
func (a *announcer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on, a.owed = false, 0
}

func (a *announcer) closeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for device, s := range a.senders {
		_ = s.close() // nothing is lost with it
		delete(a.senders, device)
	}
}

// Announce tells the network where the VIPs are: for IPv4 a gratuitous ARP
// request and reply, for IPv6 an unsolicited neighbour advertisement with the
// Override flag. The first of every VIP has been handed to the device when it
// returns, without opening a socket when Run has been; Run sends the rest of the
// schedule.
//
// It fails with ErrNotBound, and sends nothing, when the last reading does not
// show every VIP as configured, or the moment that Bind or Extend was given has
// passed: a process that was frozen meanwhile must not announce what is another
// host's by now. Where a device refuses a frame the others are still announced,
// and the schedule goes on.
func (s *Set) Announce(context.Context) error {
	s.announcer.mu.Lock()
	defer s.announcer.mu.Unlock()
	s.announcer.start, s.announcer.sent = boottime.Now(), 1
	err := s.announce()
	s.announcer.on = !errors.Is(err, ErrNotBound)
	if s.announcer.on {
		signal(s.announcer.wake)
	}
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// announce sends one announcement of every VIP. The announcer's lock is held.
func (s *Set) announce() error {
	st := s.State()
	if !st.Known || len(rightCopies(st)) < len(s.specs) {
		return ErrNotBound
	}
	var errs []error
	for _, sp := range s.specs {
		snd, err := s.senderLocked(sp.Device)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if snd.link.silent {
			continue
		}
		// Asked before each frame: the process may stand still anywhere.
		if boottime.Now() >= s.lease() {
			return fmt.Errorf("%w any more: its time is over", ErrNotBound)
		}
		if err := snd.send(sp.Prefix.Addr()); err != nil {
			errs = append(errs, fmt.Errorf("%s on %s: %w", sp.Prefix.Addr(), sp.Device, err))
		}
	}
	return errors.Join(errs...)
}

func rightCopies(st State) []Copy {
	var right []Copy
	for _, c := range st.Copies {
		if c.Right {
			right = append(right, c)
		}
	}
	return right
}

// senderLocked returns the sender of a device, which it opens where Run has not
// seen it yet. The announcer's lock is held.
func (s *Set) senderLocked(device string) (*sender, error) {
	if snd := s.announcer.senders[device]; snd != nil {
		return snd, nil
	}
	r, err := s.refresh()
	if err != nil {
		return nil, err
	}
	l, ok := r.links[device]
	if !ok {
		return nil, fmt.Errorf("%w: %s does not exist", ErrNoLink, device)
	}
	return s.openSenderLocked(device, l)
}

func (s *Set) openSenderLocked(device string, l link) (*sender, error) {
	snd := &sender{link: l}
	if !l.silent {
		var err error
		if snd, err = openSender(device, l, s.specs); err != nil {
			return nil, err
		}
	}
	if s.announcer.senders == nil {
		s.announcer.senders = make(map[string]*sender)
	}
	s.announcer.senders[device] = snd
	return snd, nil
}

// tendSenders opens the sockets of devices that came, were made anew or have
// another hardware address, and closes those that it replaced. It reports
// whether one was replaced.
func (s *Set) tendSenders(r *reading) (replaced bool) {
	var old []*sender
	s.announcer.mu.Lock()
	for _, sp := range s.specs {
		l, ok := r.links[sp.Device]
		had := s.announcer.senders[sp.Device]
		if had != nil && (!ok || !had.link.same(l)) {
			old = append(old, had)
			delete(s.announcer.senders, sp.Device)
			replaced = true
			had = nil
		}
		if !ok || had != nil {
			continue
		}
		if _, err := s.openSenderLocked(sp.Device, l); err != nil {
			s.log.Warn("no socket to announce on", "iface", sp.Device, "err", err)
		}
	}
	s.announcer.mu.Unlock()
	for _, snd := range old {
		_ = snd.close() // of a device that is gone; up to 15 ms, so not under the lock
	}
	return replaced
}

// defendInterval is the least time between two answers to claims: two hosts that
// both believe that an address is theirs must not flood the network (RFC 5227
// section 2.4 c has 10 s, for hosts that have nobody to ask whose it is).
const defendInterval = time.Second

// answer announces the VIPs because another host claimed one, or leaves that to
// Run when the last answer is less than a second ago.
func (s *Set) answer() error {
	a := &s.announcer
	a.mu.Lock()
	defer a.mu.Unlock()
	now := boottime.Now()
	if next := a.defended.Add(defendInterval); !a.defended.IsZero() && now < next {
		a.owed = next
		signal(a.wake)
		return nil
	}
	a.defended, a.owed = now, 0
	return s.announce()
}

// nextAnnouncement returns how long until the next announcement is due, and
// false when none is.
func (s *Set) nextAnnouncement() (time.Duration, bool) {
	a := &s.announcer
	a.mu.Lock()
	defer a.mu.Unlock()
	due := a.owed
	if a.on {
		if next := a.start.Add(s.schedule.due(a.sent)); due.IsZero() || next < due {
			due = next
		}
	}
	return max(0, due.Sub(boottime.Now())), !due.IsZero()
}

// announceDue sends the next announcement, after a look at the kernel: the VIP
// may have gone, or been made anew, with the report of it lost.
func (s *Set) announceDue() {
	if _, err := s.refresh(); err != nil {
		s.log.Warn("vip not announced, kernel cannot be read", "err", err)
	}
	a := &s.announcer
	a.mu.Lock()
	defer a.mu.Unlock()
	now := boottime.Now()
	answer := !a.owed.IsZero() && now >= a.owed
	scheduled := a.on && now >= a.start.Add(s.schedule.due(a.sent))
	if answer {
		a.defended, a.owed = now, 0
	}
	if scheduled {
		a.sent++ // the schedule goes on for when it is back
	}
	if answer || scheduled {
		if err := s.announce(); err != nil {
			s.log.Debug("vip not announced", "err", err)
		}
	}
}

// announceAgain begins a new burst if the VIPs are being announced: the network
// has not heard what was sent without carrier, or with another hardware address.
func (s *Set) announceAgain() {
	s.announcer.mu.Lock()
	defer s.announcer.mu.Unlock()
	if s.announcer.on {
		s.announcer.start, s.announcer.sent = boottime.Now(), 0
		signal(s.announcer.wake)
	}
}

// signal fills a one-slot channel.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
