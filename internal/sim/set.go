package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"leasehold/internal/boottime"
	"leasehold/vip"
)

// set is vip.Set on a simulated kernel: the same effects in the same order, with
// a pause before each, in which anything may happen to the process. What it
// knows of the kernel is what it read last.
type set struct {
	h           *host
	state       vip.State
	tenure      boottime.Instant // the moment the last Bind or Extend was given; zero: the VIP is not ours
	kernelUntil boottime.Instant
	armed       boottime.Instant // the deadline as this process left or found it
	claim       vip.Claim
	claimsRead  boottime.Instant // claims up to then are booked
	busy        bool             // an operation is under way
	turns       int
}

// beyond is how long past its deadline an address behind a fence lives, as in vip.
const beyond = 2 * time.Second

var (
	errNoRoom   = fmt.Errorf("bind: %w", vip.ErrNoRoom)
	errNoLink   = fmt.Errorf("bind: %w", vip.ErrNoLink)
	errNotBound = fmt.Errorf("extend: %w", vip.ErrNotBound)
	errTaken    = errors.New("somebody else changed the fence")
	errDenied   = errors.New("bind: permission denied")
)

// open is New and the start of Run: a fence that is pinned is adopted as it is,
// unless the VIP is not there; else one is made, shut.
func (s *set) open(h *host) {
	*s = set{h: h, state: vip.State{LinkWhy: "not read yet"}}
	if f := &h.kernel.fence; f.can {
		f.attached = true // the map is pinned, whoever detached the program
		if f.deadline != byClaim {
			s.claimsRead = f.claimed // of an earlier process
		}
		if !h.kernel.addr.there {
			f.deadline = 0
		}
		s.armed = f.deadline
	}
	h.later(time.Second, s.tend)
}

// tend is what Run does once a second: it looks after the fence, and every fifth
// time at everything.
func (s *set) tend() {
	s.h.later(time.Second, s.tend)
	if s.busy { // the lock of the operation that is under way
		return
	}
	if f := &s.h.kernel.fence; f.can && !f.attached {
		s.rebuild()
		s.refresh()
	}
	if s.turns++; s.turns%5 == 0 {
		s.refresh()
	}
}

// rebuild puts a fence back that is missing: the address goes first.
func (s *set) rebuild() {
	k := &s.h.kernel
	s.h.w.cov.hit(fenceRebuilt)
	s.tenure, s.kernelUntil = 0, 0
	k.remove()
	k.fence.attached, k.fence.deadline, s.armed = true, 0, 0
}

// refresh reads the kernel, and wakes the loop when something is new.
func (s *set) refresh() {
	h := s.h
	k := &h.kernel
	now := h.clock()
	st := vip.State{
		Known: true, At: now, LinkUp: k.link, Bound: k.addr.there && k.addr.end != 0,
		Permanent: k.addr.there && k.addr.end == 0, Copies: h.copies(), Claim: s.claim,
	}
	if !st.LinkUp {
		st.LinkWhy = "eth0: no carrier"
	}
	if !k.addr.there {
		s.kernelUntil = 0
	}
	st.KernelUntil = s.kernelUntil
	f := &k.fence
	switch {
	case !f.can:
		st.Fence = vip.Fence{Why: "turned off"}
	case !f.attached:
		st.Fence, st.Bound = vip.Fence{Kind: "tcx", Missing: "the program"}, false
	default:
		st.Fence = vip.Fence{Kind: "tcx", Claimed: f.deadline == byClaim}
		if f.deadline > byClaim {
			st.Fence.Until = f.deadline
		}
	}
	if f.claimed > s.claimsRead {
		s.claimsRead = f.claimed
		s.book(f.claimed)
		st.Claim = s.claim
	}
	old := &s.state
	if old.Known != st.Known || old.LinkUp != st.LinkUp || old.Bound != st.Bound || old.Permanent != st.Permanent ||
		len(old.Copies) != len(st.Copies) || old.Fence.Claimed != st.Fence.Claimed ||
		old.Claim != st.Claim || old.Fence.Missing != st.Fence.Missing {
		h.loop.signal()
	}
	s.state = st
}

// book notes a claim of the VIP while it was ours.
func (s *set) book(at boottime.Instant) {
	s.claim.Count++
	s.claim.At, s.claim.MAC = max(s.claim.At, at), stranger
}

const stranger = "02:00:00:00:00:99"

// copies are the VIPs on this host, wherever.
func (h *host) copies() []vip.Copy {
	k := &h.kernel
	var all []vip.Copy
	if k.addr.there {
		all = append(all, vip.Copy{Prefix: theVIP, Device: "eth0", Right: true, Permanent: k.addr.end == 0})
	}
	if k.stray {
		all = append(all, vip.Copy{Prefix: theVIP, Device: "eth0", Permanent: true})
	}
	return all
}

// heardOfKernel has the process read the kernel, as Run does on each report.
func (h *host) heardOfKernel(d time.Duration) {
	if h.dead || h.told {
		return
	}
	h.told = true
	h.later(d, func() {
		h.told = false
		h.set.refresh()
	})
}

// heardClaim is the listener's part: it books a claim when the process gets to
// it, if the VIP is ours.
func (h *host) heardClaim() {
	if h.dead {
		return
	}
	h.later(h.w.latency(), func() {
		s, now := &h.set, h.clock()
		f := &h.kernel.fence
		if s.kernelUntil != 0 && now < s.tenure || f.attached && (f.deadline == byClaim || now < f.deadline) {
			s.book(now) // read after the frame
			s.refresh()
		}
	})
}

// State, Changed and Lateness make set node.Addresses. Nobody waits for Changed:
// refresh wakes the loop.
func (s *set) State() vip.State         { return s.state }
func (s *set) Changed() <-chan struct{} { return nil }
func (s *set) Lateness() time.Duration  { return s.h.lateness() }

// Bind is vip.Set.Bind.
func (s *set) Bind(_ context.Context, until boottime.Instant, probe bool) error {
	defer s.operate()()
	s.h.w.cov.hit(bindBegun)
	was, err := s.bind(until, probe)
	var dup *vip.DuplicateError
	switch k := &s.h.kernel; {
	case errors.As(err, &dup):
		s.tenure = 0
		s.shut()
		s.drop()
	case err != nil && !was && k.addr.there:
		s.drop()
	}
	s.refresh()
	return err
}

// operate is the lock of an operation.
func (s *set) operate() func() {
	s.busy = true
	return func() { s.busy = false }
}

// drop deletes the address as configured.
func (s *set) drop() {
	s.kernelUntil = 0
	s.h.kernel.addr = address{}
}

// bind says whether the address was there already.
func (s *set) bind(until boottime.Instant, probe bool) (was bool, err error) {
	h := s.h
	k := &h.kernel
	if _, ok := s.lifetime(until); !ok {
		return true, errNoRoom
	}
	h.pause(time.Millisecond)
	switch {
	case !k.link:
		return true, errNoLink
	case h.broken:
		return true, errDenied
	case k.fence.can && !k.fence.attached:
		s.rebuild()
	}
	if probe && !k.fence.can {
		if err := s.probe(); err != nil {
			return true, err
		}
	}
	was = k.addr.there
	if err := s.setLifetime(until); err != nil {
		return was, err
	}
	h.pause(time.Millisecond)
	if probe && k.fence.can {
		if err := s.probe(); err != nil {
			return was, err
		}
	}
	s.tenure = until
	if err := s.arm(until, false); err != nil {
		return was, err
	}
	h.pause(200 * time.Microsecond)
	if until <= h.clock() {
		return was, errNoRoom
	}
	s.refresh()
	if !s.state.Bound {
		return was, errNotBound
	}
	return was, nil
}

// probe asks the wire for somebody who has the VIP.
func (s *set) probe() error {
	h := s.h
	h.w.cov.hit(probed)
	heard := h.w.asked(h)
	h.pause(20 * time.Millisecond)
	if heard || h.w.asked(h) {
		h.w.cov.hit(duplicate)
		return &vip.DuplicateError{Addr: theVIP.Addr(), Device: "eth0", MAC: stranger}
	}
	return nil
}

// lifetime is how long the address may live, in whole seconds from now on.
func (s *set) lifetime(until boottime.Instant) (time.Duration, bool) {
	now := s.h.clock()
	if !s.h.fenced() {
		seconds, ok := vip.Lifetime(now, until)
		return time.Duration(seconds) * time.Second, ok
	}
	if until <= now {
		return 0, false
	}
	return (until.Sub(now) + time.Second - 1).Truncate(time.Second) + time.Second, true
}

// limit is when an address that is bound until then must be gone.
func (s *set) limit(until boottime.Instant) boottime.Instant {
	if s.h.fenced() {
		return until.Add(beyond)
	}
	return until
}

// setLifetime adds the address or gives it a lifetime. That is relative, so a
// process that was held up looks at the clock again right after it.
func (s *set) setLifetime(until boottime.Instant) error {
	h := s.h
	k := &h.kernel
	for range 3 {
		before := h.clock()
		d, ok := s.lifetime(until)
		if !ok {
			break
		}
		h.pause(100 * time.Microsecond)
		k.set(d)
		s.kernelUntil = before.Add(d)
		if late := h.clock().Add(d); late <= s.limit(until) {
			return nil
		}
		h.w.cov.hit(heldUp)
	}
	s.drop()
	return errNoRoom
}

// arm stores the deadline by comparing with what this process saw last, as
// vip/fence does; reopen also from where a claim has shut it. A deadline that
// another process has changed is shut, and armed then.
func (s *set) arm(until boottime.Instant, reopen bool) error {
	f := &s.h.kernel.fence
	if !f.can {
		return nil
	}
	err := s.swap(until, reopen)
	if errors.Is(err, errTaken) {
		s.shut()
		err = s.swap(until, reopen)
	}
	if err == nil {
		s.h.w.cov.hit(fenceArmed)
	}
	return err
}

func (s *set) swap(until boottime.Instant, reopen bool) error {
	f := &s.h.kernel.fence
	s.h.pause(50 * time.Microsecond)
	switch {
	case !f.attached: // the map is there: nothing reads it
	case f.deadline == s.armed && s.armed != byClaim, reopen && f.deadline == byClaim:
	case f.deadline == byClaim:
		return vip.ErrClaimed
	default:
		return errTaken
	}
	s.h.kernel.store(until)
	s.armed = until
	return nil
}

// shut stores 0 and reads it back.
func (s *set) shut() {
	s.h.pause(50 * time.Microsecond)
	if f := &s.h.kernel.fence; f.can {
		f.deadline, s.armed = 0, 0
	}
}

// Extend is vip.Set.Extend: behind a fence the deadline first, then the lifetime
// when it would end too soon.
func (s *set) Extend(_ context.Context, until boottime.Instant) error {
	defer s.operate()()
	err := s.extend(until, false)
	s.refresh()
	return err
}

func (s *set) extend(until boottime.Instant, reopen bool) error {
	h := s.h
	if _, ok := s.lifetime(until); !ok {
		return errNoRoom
	}
	if !h.fenced() {
		err := s.lengthen(until)
		if !errors.Is(err, vip.ErrNoRoom) {
			s.tenure = until
		}
		return err
	}
	err := s.arm(until, reopen)
	s.tenure = until
	if s.state.Bound && s.kernelUntil >= until && s.kernelUntil <= s.limit(until) && until > h.clock() {
		return err
	}
	return errors.Join(err, s.lengthen(until))
}

// lengthen gives an address that is there the lifetime that goes with until.
func (s *set) lengthen(until boottime.Instant) error {
	h := s.h
	h.pause(200 * time.Microsecond)
	if !h.kernel.addr.there {
		return errNotBound
	}
	err := s.setLifetime(until)
	if errors.Is(err, vip.ErrNoRoom) {
		s.drop()
	}
	return err
}

// Defend is vip.Set.Defend.
func (s *set) Defend(ctx context.Context, until boottime.Instant) error {
	defer s.operate()()
	answered := s.h.clock() // a claim from here on is another one
	s.h.pause(200 * time.Microsecond)
	if !s.h.kernel.addr.there {
		s.shut()
	} else if err := s.extend(until, true); err != nil {
		s.refresh()
		return err
	} else if err := s.Announce(ctx); err != nil {
		return err
	}
	s.claim.Defended = answered
	s.refresh()
	return nil
}

// Release is vip.Set.Release: resets, then the fence, then the addresses.
func (s *set) Release(_ context.Context, by boottime.Instant) error {
	defer s.operate()()
	h := s.h
	s.tenure = 0
	if h.kernel.addr.there {
		h.pause(min(h.resets, max(by.Sub(h.clock()), 0)))
	}
	s.shut()
	h.pause(time.Millisecond)
	h.kernel.remove()
	s.kernelUntil = 0
	if s.claim.Count > 0 {
		s.claim.Defended = h.clock()
	}
	s.refresh()
	return nil
}

// Sweep is vip.Set.Sweep.
func (s *set) Sweep(context.Context, bool) error {
	s.h.pause(time.Millisecond)
	s.h.kernel.stray = false
	s.refresh()
	return nil
}

// Announce is vip.Set.Announce.
func (s *set) Announce(context.Context) error {
	s.h.pause(200 * time.Microsecond)
	k := &s.h.kernel
	if k.addr.there && k.link && k.lan && (!k.fence.attached || s.h.clock() < k.fence.deadline) {
		s.h.w.cov.hit(announced)
		s.h.w.claimed(s.h)
	}
	return nil
}

var theVIP = netip.MustParsePrefix("10.20.8.188/24")
