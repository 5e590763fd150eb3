package vip

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// oneClaim is how far apart frames of one announcement come at most: they count
// as one claim.
const oneClaim = 10 * time.Millisecond

// A listener hears the claims of others to the VIPs of one device.
type listener struct {
	link    link
	conns   []*packet.Conn // one per family
	closed  atomic.Bool
	broken  atomic.Bool // a socket hears nothing any more
	readers sync.WaitGroup
}

// listeners are those of Run, by device.
type listeners map[string]*listener

// tend opens listeners on devices that came, were made anew or have another
// hardware address, and closes those that it replaced. The state of the VIPs'
// fence says of a claim that came in between.
func (all listeners) tend(s *Set, r *reading) {
	for _, sp := range s.specs {
		l, ok := r.links[sp.Device]
		had := all[sp.Device]
		if had != nil && (!ok || had.broken.Load() || !had.link.same(l)) {
			had.close()
			delete(all, sp.Device)
			had = nil
		}
		if !ok || had != nil || l.silent {
			continue
		}
		opened, err := s.listen(sp.Device, l)
		if err != nil {
			s.log.Warn("claims of other hosts are not heard", "iface", sp.Device, "err", err)
			continue
		}
		all[sp.Device] = opened
	}
}

func (all listeners) close() {
	for _, l := range all {
		l.close()
	}
}

// listen opens the sockets of a device, and reads them until they are closed.
func (s *Set) listen(device string, l link) (*listener, error) {
	all := &listener{link: l}
	for _, addrs := range byFamily(s.specs, device) {
		conn, err := openClaims(l.wire, addrs)
		if err != nil {
			all.close()
			return nil, err
		}
		all.conns = append(all.conns, conn)
		all.readers.Go(func() {
			err := s.hear(conn, device, l, addrs)
			if !all.closed.Load() {
				s.log.Warn("claims of other hosts are not heard", "iface", device, "err", err)
				all.broken.Store(true)
			}
		})
	}
	return all, nil
}

// hear reads a socket until it fails or is closed.
func (s *Set) hear(conn *packet.Conn, device string, l link, addrs []netip.Addr) error {
	b := make([]byte, frameLength)
	for {
		n, _, err := conn.ReadFrom(b)
		at := boottime.Now()
		switch {
		case errors.Is(err, unix.ENETDOWN):
			continue // said once when the device goes down; it may come up again, packet(7)
		case err != nil:
			return err
		}
		if c, ok := parseClaim(b[:n], l.wire.hardware, addrs); ok && s.foreign(c.mac) {
			s.claimed(c, device, at)
		}
	}
}

// close ends the reading, and returns when it has ended.
func (l *listener) close() {
	l.closed.Store(true)
	for _, c := range l.conns {
		_ = c.Close() // nothing is lost with it
	}
	l.readers.Wait()
}

// claimed books a claim that came before at, if the VIP is ours.
func (s *Set) claimed(c claim, device string, at boottime.Instant) {
	i := slices.IndexFunc(s.specs, func(sp Spec) bool { return sp.Prefix.Addr() == c.addr })
	s.mu.Lock()
	ours := i >= 0 && s.oursLocked(i, at)
	if ours {
		s.hearLocked(Claim{At: at, MAC: c.mac.String(), Addr: c.addr, Device: device})
	}
	s.mu.Unlock()
	if ours { // else it is the holder whom a standby hears
		s.republish()
	}
}

// foreign reports whether a hardware address that was heard is none of this host's:
// with two devices on one segment one hears what the other says. That of a virtual
// router is another's: this host has it too, but what it says goes out. A network
// that brings it back costs a question, which nobody answers.
func (s *Set) foreign(mac net.HardwareAddr) bool {
	if fence.VirtualRouter(mac) {
		return true
	}
	links, err := s.nl.LinkList()
	if err != nil {
		return true // what is not known to be ours is not
	}
	return !slices.ContainsFunc(links, func(l netlink.Link) bool { return bytes.Equal(l.Attrs().HardwareAddr, mac) })
}

// oursLocked reports whether a VIP is this host's: bound by this Set for a time
// that is not over, or behind a fence that is open or was shut by a claim.
func (s *Set) oursLocked(i int, now boottime.Instant) bool {
	if !s.kernelUntil[i].IsZero() && now < s.until {
		return true
	}
	states := s.guard.fences()
	return states != nil && (states[i].Claimed || now < states[i].Until)
}

// hearLocked books a claim that a listener heard. Frames of one announcement are
// one claim.
func (s *Set) hearLocked(c Claim) {
	last := s.heard
	c.Count = last.Count
	if c.Count == 0 || c.At.Sub(last.At) >= oneClaim || c.Addr != last.Addr || c.MAC != last.MAC {
		c.Count++
	}
	s.heard = c
	s.bookLocked(c)
}

// bookFencesLocked books the claims that shut a fence. A listener hears the same
// ones, if it is there.
func (s *Set) bookFencesLocked() {
	for i, st := range s.guard.fences() {
		if st.ClaimedAt <= s.claimsSeen[i] {
			continue
		}
		s.claimsSeen[i] = st.ClaimedAt
		s.fenceClaims++
		s.bookLocked(Claim{
			At:     st.ClaimedAt,
			MAC:    net.HardwareAddr(st.ClaimMAC[:]).String(),
			Addr:   s.specs[i].Prefix.Addr(),
			Device: s.specs[i].Device,
		})
	}
}

// bookLocked makes c the last claim, unless a later one is.
func (s *Set) bookLocked(c Claim) {
	last := s.claim
	if c.At < last.At {
		c.At, c.MAC, c.Addr, c.Device = last.At, last.MAC, last.Addr, last.Device
	}
	c.Count, c.Defended = max(s.heard.Count, s.fenceClaims), last.Defended
	if c.Count > last.Count {
		s.log.Warn("another host claims the vip", "vip", c.Addr, "iface", c.Device, "mac", c.MAC, "claims", c.Count)
	}
	s.claim = c
}

// fenceLocked returns what there is to say of the fences.
func (s *Set) fenceLocked() Fence {
	f := Fence{}
	if states := s.guard.fences(); states != nil {
		f = sum(states)
	}
	f.Why, f.Missing = s.guarding.why, s.guarding.missing
	return f
}
