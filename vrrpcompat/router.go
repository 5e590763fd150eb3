package vrrpcompat

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/boottime"
)

const (
	// reopenAfter is the pause before sockets that could not be opened, or broke,
	// are tried again, and how often the interface's address is looked at.
	reopenAfter = time.Second
)

// RouterConfig is what NewRouter takes.
type RouterConfig struct {
	Config
	// Interface is where adverts are sent and heard.
	Interface string
	// VMAC has adverts sent from the interface with the virtual MAC address, which is
	// made before; see OpenVMAC.
	VMAC bool
	// StartupDelay is how long after Run begins a router is not one yet,
	// keepalived's vrrp_startup_delay. Who follows one of our own does not wait.
	StartupDelay time.Duration
	// Except are addresses that are never the source of adverts: the VIPs.
	Except []netip.Addr
	Log    hclog.Logger
}

// wire is what a Router sends and hears by; *Conn is one.
type wire interface {
	Receive(buf []byte) (Packet, error)
	Send(b []byte, to netip.Addr) error
	Gone() bool
	Close() error
}

// A Router runs one virtual router on one node: the sockets, the codec and the
// machine. It binds nothing. A node tells it how long its tenure lasts, and reads
// from its State whether it may have the VIP. Its methods may be called from any
// goroutine.
type Router struct {
	cfg    RouterConfig
	full   Config        // with its defaults
	quiet  time.Duration // how long after an advert of ours the quickest Backup takes over
	log    hclog.Logger
	now    func() boottime.Instant
	wall   func() time.Time
	source func() (netip.Addr, error)
	open   func(own netip.Addr) (wire, error)
	ears   func(own netip.Addr) []wire

	changed chan struct{}
	poke    chan struct{} // Wake may have moved

	mu       sync.Mutex
	conn     wire // nil: none is open
	codec    *Codec
	own      netip.Addr
	machine  Machine
	started  bool             // Startup is done
	startAt  boottime.Instant // when it is due
	trouble  string           // why there are no sockets; empty: there are
	broke    boottime.Instant // since when
	until    boottime.Instant // the end of the tenure as the node told it; zero: none
	held     bool             // the machine has the tenure
	follows  boottime.Instant // when it was told that it succeeds one of ours; zero: it was not
	spoken   boottime.Instant // the last advert that left
	fellows  []netip.Addr
	announce uint64
	contests uint64
	board    board
	buf      []byte
	sending  string // the error of the last round that did not leave; empty: it did
}

// NewRouter returns a Router that does nothing until Run. It fails where the
// configuration is not valid.
func NewRouter(c RouterConfig) (*Router, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	r := &Router{
		cfg: c, full: c.WithDefaults(), log: c.Log, now: boottime.Now, wall: time.Now,
		changed: make(chan struct{}, 1), poke: make(chan struct{}, 1),
		buf: make([]byte, 0, MaxPacket), board: newBoard(c.Log),
	}
	r.source = func() (netip.Addr, error) {
		if c.Source.IsValid() {
			return c.Source, nil
		}
		return SourceAddr(c.Interface, c.IPv6(), c.Except)
	}
	r.open = func(own netip.Addr) (wire, error) {
		var o SocketOptions
		var err error
		if c.VMAC {
			if o.Via, err = OpenVMAC(c.Interface, c.VRID, c.IPv6()); err != nil {
				return nil, err
			}
		}
		return Listen(c.Interface, c.Config, own, o)
	}
	// A machine of this configuration says; its address does not matter.
	r.quiet = NewMachine(c.Config, netip.Addr{}).quiet()
	r.ears = func(own netip.Addr) []wire { return listenAside(c, own, r.log) }
	return r, nil
}

// Changed returns a channel with one slot that gets a value when State has
// changed, and with each advert that left.
func (r *Router) Changed() <-chan struct{} { return r.changed }

// Run listens and speaks until ctx ends. It sends no farewell: that is Leave's. It
// returns nil; what goes wrong is in State.Trouble and tried again each second.
func (r *Router) Run(ctx context.Context) error {
	r.mu.Lock()
	r.startAt = r.now().Add(r.cfg.StartupDelay)
	r.mu.Unlock()
	for ctx.Err() == nil {
		err := r.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			r.fail(err)
			pause(ctx, reopenAfter)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machine, _ = Step(r.machine, r.now(), Shutdown{Successor: true}) // what is to be said was said by Leave
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// turn lets the machine do what is due, and returns for how long there is nothing.
func (r *Router) turn() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if !r.started && !now.Before(r.startAt) {
		r.start()
	}
	r.apply(Tick{})
	if r.board.expire(now) {
		r.tell()
	}
	next := now.Add(reopenAfter)
	for _, at := range []boottime.Instant{r.machine.Wake(), r.until, r.startAt} {
		if now.Before(at) {
			next = min(next, at)
		}
	}
	return max(next.Sub(now), 0)
}

func (r *Router) start() {
	r.started = true
	r.apply(Startup{})
}

// apply tells the machine of an event, and does what it wants. The tenure's end
// comes before anything else: nothing is said without one.
func (r *Router) apply(e Event) {
	now := r.now()
	if r.held && !now.Before(r.until) {
		r.held = false
		r.do(now, TenureLost{Successor: true})
	}
	r.do(now, e)
}

func (r *Router) do(now boottime.Instant, e Event) {
	before := r.machine
	next, actions := Step(r.machine, now, e)
	r.machine = next
	r.entered(before.State(), next.State())
	for _, a := range actions {
		switch a.Verb {
		case SendAdvert:
			r.send(a)
		case AnnounceVIP:
			r.announce++
		case Warn:
			r.board.warn(now, a.Warning)
		case BindVIP, RemoveVIP: // the node does, by State
		}
	}
	if before.State() != next.State() {
		r.log.Info("VRRP state changed", "from", before.State(), "to", next.State(), "why", next.Cause(), "priority", next.Priority())
	}
	if len(actions) > 0 || before.State() != next.State() || before.better.key() != next.better.key() {
		r.tell()
	}
}

// contested reports whether an advert is the first, or the first for long, of a router
// that makes itself Active beside this one. It should give way, but takes the VIP right
// after its advert, and may not hear us.
func (r *Router) contested(h Heard) bool {
	rival, there := r.machine.Rival(r.now())
	return r.machine.State() == Active && h.Priority > 0 && !h.Fellow && (!there || rival.Source != h.Source)
}

// entered prepares what is said in a state, before it is.
func (r *Router) entered(from, to State) {
	if from != to {
		r.board.row = 0
	}
	switch {
	case to != Active:
		r.spoken = 0
	case from != Active && r.codec != nil:
		r.number(r.codec)
	}
}

// number has the adverts' numbers go on at the time of day. A router that starts, or
// has missed what others counted, must not be taken for a replay: they only grow (RFC
// 2402 section 3.4.3), by about one a second, so that it is above all of them.
func (r *Router) number(c *Codec) {
	c.RaiseSequence(uint32(r.wall().Unix())) //nolint:gosec // it fits until 2106
}

// send sends one round of adverts. A round counts as one that left when anybody
// was written to: one peer that is down must not silence the others.
func (r *Router) send(a Action) {
	if r.conn == nil {
		return
	}
	at := r.now()
	if a.Overtake {
		r.codec.Overtake()
	}
	r.codec.NextRound()
	left, failed := 0, ""
	for _, to := range r.codec.Destinations() {
		if err := r.conn.Send(r.codec.AppendAdvert(r.buf[:0], a.Priority, to), to); err != nil {
			failed = err.Error()
			continue
		}
		left++
	}
	if left > 0 && a.Priority > 0 {
		r.spoken = at
	}
	if failed != r.sending {
		if failed != "" {
			r.log.Warn("an advert could not be sent", "iface", r.cfg.Interface, "err", failed)
		}
		r.sending = failed
	}
}

// receive looks at one packet.
func (r *Router) receive(p Packet) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.codec == nil {
		return
	}
	now := r.now()
	advert, why := r.codec.ParseAdvert(p)
	r.board.count(why)
	if why != Accepted || advert.VIPsDiffer {
		if r.board.odd(now, advert, why, r.codec) {
			r.tell()
		}
	}
	h, ok := r.codec.Heard(advert, why)
	if !ok {
		return
	}
	h.Fellow = slices.Contains(r.fellows, h.Source)
	contested := r.contested(h)
	r.apply(h)
	if contested && r.machine.State() == Active {
		r.contests++
		r.tell()
	}
	if r.machine.State() == Active && r.board.beside(now, r.machine, h) {
		r.tell()
	}
	signal(r.poke)
}

func (r *Router) tell() { signal(r.changed) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
