package sim

import (
	"errors"
	"fmt"
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
		all = append(all, vip.Copy{Prefix: theVIP(), Device: "eth0", Right: true, Permanent: k.addr.end == 0})
	}
	if k.stray {
		all = append(all, vip.Copy{Prefix: theVIP(), Device: "eth0", Permanent: true})
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
