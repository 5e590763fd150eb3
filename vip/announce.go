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

	wake chan struct{} // one slot: start has changed
}

// stop ends the announcements. When it has returned none is on its way.
func (a *announcer) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = false
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
	s.announcer.start, s.announcer.sent = boottime.Now(), 0
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
		snd := s.announcer.senders[sp.Device]
		if snd == nil {
			var err error
			if snd, err = s.openLate(sp.Device); err != nil {
				errs = append(errs, err)
				continue
			}
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
	s.announcer.sent++
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

// openLate opens the sockets of a device that Run has not seen yet.
func (s *Set) openLate(device string) (*sender, error) {
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
		if had != nil && (!ok || !had.serves(l)) {
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

// nextAnnouncement returns how long until the next announcement is due, and
// false when none is.
func (s *Set) nextAnnouncement() (time.Duration, bool) {
	s.announcer.mu.Lock()
	defer s.announcer.mu.Unlock()
	if !s.announcer.on {
		return 0, false
	}
	due := s.announcer.start.Add(s.schedule.due(s.announcer.sent))
	return max(0, due.Sub(boottime.Now())), true
}

// announceDue sends the next announcement, after a look at the kernel: the VIP
// may have gone, or been made anew, with the report of it lost.
func (s *Set) announceDue() {
	if _, err := s.refresh(); err != nil {
		s.log.Warn("vip not announced, kernel cannot be read", "err", err)
	}
	s.announcer.mu.Lock()
	defer s.announcer.mu.Unlock()
	if !s.announcer.on {
		return
	}
	sent := s.announcer.sent
	if err := s.announce(); err != nil {
		s.log.Debug("vip not announced", "err", err)
	}
	s.announcer.sent = sent + 1 // the schedule goes on for when it is back
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
