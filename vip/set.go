package vip

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// Sentinels that a caller branches on; the text around them says more.
var (
	// ErrNoRoom: the time is over, or, without a fence, less than one second is
	// left, the smallest kernel lifetime.
	ErrNoRoom = errors.New("too little time is left")
	// ErrNoLink: a VIP's device does not exist or is down.
	ErrNoLink = errors.New("no link")
	// ErrNotBound: a VIP is not there as configured.
	ErrNotBound = errors.New("not bound")
)

// Config is what New takes.
type Config struct {
	VIPs     []Spec
	Announce Schedule
	// ResetClients: Release resets the TCP sessions of the VIPs.
	ResetClients bool
	// Fence says whether there is to be a fence, BPFDir where it is pinned: a
	// directory on a bpffs, /sys/fs/bpf/leasehold. Empty means FenceOff.
	Fence  FenceMode
	BPFDir string
	// Probe is how long Bind waits for an answer to its probe. Default 20 ms: a
	// host on a LAN that has the address answers within 1 ms.
	Probe time.Duration
	Log   hclog.Logger // nil: none

	kind fence.Kind // tests choose one
}

// A Set is the VIPs of one service. They move together. Its methods may be
// called from any goroutine; Bind, Extend, Release and Sweep wait for each
// other. All but the rest of the announce schedule works without Run.
type Set struct {
	specs    []Spec
	schedule Schedule
	reset    bool
	probe    time.Duration
	log      hclog.Logger
	nl       *netlink.Handle
	now      func() boottime.Instant // boottime.Now but in a test of a freeze

	op sync.Mutex // held by Bind, Extend, Defend, Release, Sweep, and to tend the guard

	guard    guard       // written with op and mu held
	watching atomic.Bool // Run hears of every change to an address

	reading sync.Mutex // orders readings with their publication
	state   atomic.Pointer[State]
	changed chan struct{}

	mu          sync.Mutex         // guards what follows
	until       boottime.Instant   // the moment the last Bind or Extend was given
	kernelUntil []boottime.Instant // per spec, zero when not bound by us
	bound       []bool             // per spec: bound by us at some time
	guarding    guarding
	claim       Claim
	heard       Claim              // the last that a listener heard, and how many it did
	fenceClaims uint64             // how many shut a fence
	claimsSeen  []boottime.Instant // per spec: the last claim of its fence that is in claim

	announcer announcer
	resetOnce sync.Once // logs once that the kernel cannot reset sessions
}

// New returns the Set of the VIPs. It opens a netlink socket, which Close
// closes, and the fences of the VIPs: one that an earlier process left is adopted
// with its deadline, so that a VIP which that process held stays up; a new one is
// shut; that of a VIP which is not on this host is shut. They are in the kernel
// before anything is bound, and Close leaves them there. Where there can be none,
// see State.Fence.Why and State.NoGuard. It fails on specs that do not validate,
// and without netlink.
func New(c Config) (*Set, error) {
	s, err := unguarded(c)
	if err != nil {
		return nil, err
	}
	if s.guarding.dir == "" && s.guarding.mode == FenceAuto {
		s.guarding.mode = FenceOff
	}
	s.op.Lock()
	defer s.op.Unlock()
	s.chooseGuard(context.Background())
	return s, nil
}

// unguarded is New without a guard.
func unguarded(c Config) (*Set, error) {
	if err := validateAll(c.VIPs); err != nil {
		return nil, err
	}
	schedule, err := c.Announce.withDefaults()
	if err != nil {
		return nil, err
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	if err := h.SetSocketTimeout(answerTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("set the timeout of a netlink socket: %w", err)
	}
	s := &Set{
		specs:       slices.Clone(c.VIPs),
		schedule:    schedule,
		reset:       c.ResetClients,
		probe:       cmp.Or(c.Probe, defaultProbe),
		log:         c.Log,
		nl:          h,
		guard:       lifetimesOnly{},
		now:         boottime.Now,
		changed:     make(chan struct{}, 1),
		kernelUntil: make([]boottime.Instant, len(c.VIPs)),
		bound:       make([]bool, len(c.VIPs)),
		guarding:    guarding{mode: c.Fence, dir: c.BPFDir, kind: c.kind},
		claimsSeen:  make([]boottime.Instant, len(c.VIPs)),
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.announcer.wake = make(chan struct{}, 1)
	s.state.Store(&State{LinkWhy: "not read yet"})
	return s, nil
}

// Close closes the sockets of the Set, which must not be used afterwards. The
// VIPs and their fences stay as they are.
func (s *Set) Close() {
	s.nl.Close()
	s.guard.close()
	s.announcer.closeAll()
}

// State is a reading of the kernel. It is immutable.
type State struct {
	Known bool             // read at least once
	At    boottime.Instant // when

	LinkUp  bool   // every VIP's device exists, is up and has carrier
	LinkWhy string // else which does not: "eth0: no carrier", "eth7 does not exist"

	Bound     bool   // every VIP there exactly as configured, with a finite lifetime
	Permanent bool   // a right copy is there, but somebody took its lifetime away, or made it longer
	Copies    []Copy // every copy of every VIP on any device

	// KernelUntil is the earliest moment at which the kernel may remove a VIP
	// that this Set bound: when its lifetime was set, plus the lifetime. Zero
	// when there is none.
	KernelUntil boottime.Instant

	Fence Fence
	Claim Claim
	// NoGuard is not empty when nothing would end a tenure in the kernel as it is
	// required, or there is doubt: why, and what to do. Bind fails then.
	NoGuard string
}

// State returns the last reading: made by Run on each change and every 5 s, and
// by Bind, Extend, Release and Sweep before they return. Known is false before
// the first.
func (s *Set) State() State { return *s.state.Load() }

// Changed returns a channel with one slot that gets a value when State has
// changed in more than the time left and the time of reading.
func (s *Set) Changed() <-chan struct{} { return s.changed }

// refresh reads the kernel and publishes what it found.
func (s *Set) refresh() (*reading, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	r, err := read(s.nl, s.specs)
	if err != nil {
		return nil, err
	}
	s.publish(s.stateOf(r))
	return r, nil
}

// republish publishes what is new of the guard and of claims. Addresses and
// links are as last read.
func (s *Set) republish() {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.publish(s.State())
}

// publish adds what the guard and the listeners say. The lock reading is held.
func (s *Set) publish(next State) {
	s.mu.Lock()
	s.bookFencesLocked()
	next.Fence, next.Claim, next.NoGuard = s.fenceLocked(), s.claim, s.guarding.noGuard
	s.mu.Unlock()
	last := s.state.Swap(&next)
	if !same(*last, next) {
		signal(s.changed) // where the slot is taken its reader will see this State
	}
}

func (s *Set) stateOf(r *reading) State {
	st := State{Known: true, At: r.at, LinkWhy: r.linkWhy(s.specs), Bound: true, Copies: r.list()}
	st.LinkUp = st.LinkWhy == ""
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.specs {
		f := r.right(i)
		if f == nil {
			st.Bound = false
			continue
		}
		at := s.kernelUntil[i]
		// A lifetime far beyond what we set guards as little as none at all. What
		// is left is told in whole seconds, hence two of them.
		longer := !at.IsZero() && at.Add(2*time.Second) < r.at.Add(f.ValidLft)
		if f.Permanent || longer {
			st.Bound, st.Permanent = false, true
		}
		if !at.IsZero() && (st.KernelUntil.IsZero() || at < st.KernelUntil) {
			st.KernelUntil = at
		}
	}
	return st
}

// same reports whether two states differ in nothing but times.
func same(a, b State) bool {
	a.Fence.Until, b.Fence.Until = 0, 0
	return a.Known == b.Known && a.LinkWhy == b.LinkWhy && a.Bound == b.Bound && a.Permanent == b.Permanent &&
		a.Fence == b.Fence && a.Claim == b.Claim && a.NoGuard == b.NoGuard &&
		slices.EqualFunc(a.Copies, b.Copies, func(x, y Copy) bool {
			x.ValidLft, x.PreferredLft, y.ValidLft, y.PreferredLft = 0, 0, 0, 0
			return x == y
		})
}

// lease returns until when the VIPs may be used, as last told.
func (s *Set) lease() boottime.Instant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until
}

func (s *Set) setLease(until boottime.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = until
}

func (s *Set) setKernelUntil(i int, at boottime.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kernelUntil[i] = at
	s.bound[i] = s.bound[i] || !at.IsZero()
}

// own reports whether f is the host's own address and not one that this Set
// bound and somebody made permanent.
func (s *Set) own(r *reading, f found) bool {
	s.mu.Lock()
	ours := s.bound[f.spec]
	s.mu.Unlock()
	return !ours && r.own(f)
}

// answerTimeout bounds the wait for an answer of the kernel, which gives it
// within the sending call: one that is not there then was lost, netlink(7).
const answerTimeout = time.Second

// resync is how often the kernel is read even if nothing was reported: linkwatch
// may hold back a carrier event for a second, and a netlink socket may lose some.
const resync = 5 * time.Second
