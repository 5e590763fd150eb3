package vrrpcompat

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"leasehold/internal/boottime"
)

var (
	ownAddr     = netip.MustParseAddr("10.20.8.50")
	foreignAddr = netip.MustParseAddr("10.20.8.27")
)

// lan is the sockets of a router in a test: what it sends, and what it is to hear.
type lan struct {
	t     *testing.T
	start time.Time
	in    chan []byte
	gone  chan struct{}

	mu     sync.Mutex
	sent   []sent
	fail   error
	away   bool  // the interface was made anew
	refuse error // sockets cannot be opened
	opened int
	own    netip.Addr
	r      *Router
	peer   *Codec
}

type sent struct {
	At       time.Duration
	Priority uint8
}

func (l *lan) Receive(buf []byte) (Packet, error) {
	l.mu.Lock()
	gone := l.gone
	l.mu.Unlock()
	select {
	case b := <-l.in:
		return Packet{Data: append(buf[:0], b...)}, nil
	case <-gone:
		return Packet{}, errors.New("closed")
	}
}

func (l *lan) Send(b []byte, _ netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	at := ipv4Header + vrrpPriority
	if b[9] == protocolAH {
		at += ahHeader
	}
	l.sent = append(l.sent, sent{time.Since(l.start), b[at]})
	return nil
}

func (l *lan) Gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.away
}

func (l *lan) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.gone: // it broke before
	default:
		close(l.gone)
	}
	return nil
}

// take returns what was sent since the last time.
func (l *lan) take() []sent {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sent
	l.sent = nil
	return s
}

func (l *lan) set(edit func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	edit()
}

func (l *lan) broken(err error) { l.set(func() { l.fail = err }) }

// hear has the router hear an advert of the foreign one.
func (l *lan) hear(priority uint8) {
	l.peer.NextRound()
	l.in <- l.peer.AppendAdvert(nil, priority, l.peer.Destinations()[0])
	synctest.Wait()
}

func (l *lan) now() boottime.Instant { return boottime.Instant(time.Hour).Add(time.Since(l.start)) }

func (l *lan) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// onLAN runs a test in virtual time with a router that listens, priority 150 with
// an interval of a second.
func onLAN(t *testing.T, edit func(*RouterConfig), test func(*lan)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := RouterConfig{Config: Config{VRID: 51, VIPs: []netip.Addr{netip.MustParseAddr("10.20.8.188")}, Priority: 150}, Interface: "eth0"}
		if edit != nil {
			edit(&c)
		}
		r, err := NewRouter(c)
		if err != nil {
			t.Fatal(err)
		}
		l := &lan{t: t, start: time.Now(), in: make(chan []byte), r: r, own: ownAddr}
		if l.peer, err = NewCodec(c.Config, foreignAddr); err != nil {
			t.Fatal(err)
		}
		r.now, r.wall = l.now, time.Now
		r.source = func() (netip.Addr, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.own, nil }
		r.ears = func(netip.Addr) []wire { return nil }
		r.open = func(netip.Addr) (wire, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.refuse != nil {
				return nil, l.refuse
			}
			l.opened++
			l.gone = make(chan struct{})
			return l, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		test(l)
	})
}

// waits is Active_Down_Interval of priority 150.
const waits = 3*time.Second + 106*time.Second/256

func TestRouterSpeaksWithTenureOnly(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.pass(10 * time.Second)
		if got := l.take(); len(got) != 0 || l.r.State().QuietUntil != 0 {
			t.Fatalf("without a tenure: %v, quiet until %v", got, l.r.State().QuietUntil)
		}
		l.r.Speak(l.now().Add(2500*time.Millisecond), false)
		synctest.Wait()
		s := l.r.State()
		if got := l.take(); len(got) != 1 || s.State != Active || s.QuietUntil != l.now().Add(3*time.Second+time.Second/256) {
			t.Fatalf("with a tenure and nobody else: %v, %+v", got, s)
		}
		l.pass(5 * time.Second)
		if got := l.take(); len(got) != 2 || l.r.State().State != Backup || l.r.State().QuietUntil != 0 {
			t.Fatalf("a tenure of 2.5 s that was not renewed: %v, %v; want two more adverts, and no priority 0", got, l.r.State().State)
		}
	})
}

func TestRouterListensFirst(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), false)
		l.pass(waits - time.Millisecond)
		if got := l.take(); len(got) != 0 {
			t.Fatalf("%v before Active_Down_Interval was over", got)
		}
		l.pass(2 * time.Millisecond)
		if got := l.take(); len(got) != 1 || got[0].At != waits {
			t.Fatalf("sent %v; want the first advert at %v", got, waits)
		}
	})
}

// Who follows one of ours, or an earlier run of itself, does not wait; neither for
// startup_delay.
func TestRouterSucceeds(t *testing.T) {
	onLAN(t, func(c *RouterConfig) { c.StartupDelay = time.Minute }, func(l *lan) {
		l.pass(time.Second)
		l.r.Speak(l.now().Add(time.Hour), true)
		if got := l.take(); len(got) != 1 || got[0].Priority != 150 || l.r.State().Cause != CauseSucceeds {
			t.Fatalf("%v, %v", got, l.r.State().Cause)
		}
	})
}

// A daemon that is restarted has the tenure before its sockets are open.
func TestRouterSucceedsBeforeItsSockets(t *testing.T) {
	for late, want := range map[time.Duration]State{0: Active, 2 * time.Second: Backup} {
		synctest.Test(t, func(t *testing.T) {
			r, err := NewRouter(RouterConfig{Config: Config{VRID: 51, VIPs: []netip.Addr{netip.MustParseAddr("10.20.8.188")}}, Interface: "eth0"})
			if err != nil {
				t.Fatal(err)
			}
			l := &lan{t: t, start: time.Now(), in: make(chan []byte), gone: make(chan struct{}), r: r}
			r.now, r.wall = l.now, time.Now
			r.source = func() (netip.Addr, error) { return ownAddr, nil }
			r.ears = func(netip.Addr) []wire { return nil }
			r.open = func(netip.Addr) (wire, error) { return l, nil }
			r.Speak(l.now().Add(time.Hour), true)
			time.Sleep(late)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			synctest.Wait()
			if s := r.State(); s.State != want {
				t.Errorf("sockets %v after the tenure: %v; want %v", late, s.State, want)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRouterStartupDelay(t *testing.T) {
	onLAN(t, func(c *RouterConfig) { c.StartupDelay = time.Minute }, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), false)
		l.pass(time.Minute + waits - time.Millisecond)
		if got := l.take(); len(got) != 0 {
			t.Fatalf("%v before startup_delay was over", got)
		}
		l.pass(2 * time.Millisecond)
		if got := l.take(); len(got) != 1 {
			t.Fatalf("%v after it", got)
		}
	})
}

func TestRouterYieldsAndComesBack(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), true)
		l.pass(500 * time.Millisecond)
		l.take()
		l.hear(200)
		s := l.r.State()
		if s.State != Backup || s.QuietUntil != 0 || s.Waits() != "yields to 10.20.8.27, priority 200" || len(l.take()) != 0 {
			t.Fatalf("after a better advert: %+v, %q", s, s.Waits())
		}
		l.hear(0)
		l.pass(106*time.Second/256 + time.Millisecond)
		if got := l.take(); len(got) != 1 || l.r.State().State != Active {
			t.Fatalf("after it left: %v, %v", got, l.r.State().State)
		}
	})
}

// The first advert of a lower priority says that its router takes the VIP; those
// after it say nothing new.
func TestRouterContested(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.hear(100)
		l.r.Speak(l.now().Add(time.Hour), true)
		l.pass(4 * time.Second)
		for range 3 {
			l.hear(100)
			l.pass(time.Second)
		}
		if n := l.r.State().Contests; n != 1 {
			t.Errorf("%d contests of one router; want 1", n)
		}
		l.pass(10 * time.Second)
		l.hear(100)
		if n := l.r.State().Contests; n != 2 {
			t.Errorf("%d contests when it came again; want 2", n)
		}
	})
}

func TestRouterLeaves(t *testing.T) {
	for invite, want := range map[bool]int{true: 1, false: 0} {
		onLAN(t, nil, func(l *lan) {
			l.r.Speak(l.now().Add(time.Hour), true)
			l.pass(500 * time.Millisecond)
			l.take()
			l.r.Leave(invite)
			got := l.take()
			if len(got) != want || want == 1 && got[0].Priority != 0 {
				t.Errorf("Leave(%t) sent %v", invite, got)
			}
			l.pass(10 * time.Second)
			if got := l.take(); len(got) != 0 {
				t.Errorf("after Leave(%t): %v", invite, got)
			}
		})
	}
}

// With AH the numbers go on above what anybody can have counted, also where this
// router has missed some of it.
func TestRouterNumbers(t *testing.T) {
	onLAN(t, func(c *RouterConfig) { c.Auth = Auth{AuthAH, "s3cret"} }, func(l *lan) {
		l.pass(time.Hour)
		l.r.Speak(l.now().Add(time.Hour), true)
		l.r.mu.Lock()
		defer l.r.mu.Unlock()
		if n, now := l.r.codec.Sequence(), uint32(time.Now().Unix()); n < now {
			t.Errorf("the first advert has number %d; want the time of day, %d, or more", n, now)
		}
	})
}

// An advert that did not leave does not count: the kernel must not answer for
// longer than others wait.
func TestRouterCountsWhatLeft(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), true)
		until := l.r.State().QuietUntil
		l.broken(errors.New("network is down"))
		l.pass(2500 * time.Millisecond)
		if got := l.r.State().QuietUntil; got != until {
			t.Errorf("quiet until %v later than the last advert says", got.Sub(until))
		}
		l.broken(nil)
		l.pass(time.Second)
		if got := l.r.State().QuietUntil; got != until.Add(3*time.Second) {
			t.Errorf("quiet until %v after the first; want 3 s", got.Sub(until))
		}
	})
}

func TestRouterIgnoresFellows(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.hear(200)
		if w := l.r.State().Waits(); !strings.HasPrefix(w, "yields") {
			t.Fatalf("%q", w)
		}
		l.r.Fellows([]netip.Addr{foreignAddr})
		if s := l.r.State(); s.Better.Adverts != 0 {
			t.Errorf("it still waits for one that is ours: %+v", s.Better)
		}
		l.r.Speak(l.now().Add(time.Hour), true)
		l.take()
		l.hear(200)
		s := l.r.State()
		if s.State != Active || len(s.Notices) != 1 || s.Notices[0].Name != NoticeFellow {
			t.Errorf("an advert of a fellow while we are Active: %v, %+v", s.State, s.Notices)
		}
	})
}

func TestRouterNotices(t *testing.T) {
	for name, c := range map[string]struct {
		priority uint8
		edit     func(*Codec)
		want     string
		text     string
	}{
		"another password": {100, func(c *Codec) { c.cfg.Auth = Auth{AuthPass, "wrong"} }, "auth_type", "make auth here and the authentication block there the same"},
		"another interval": {100, func(c *Codec) { c.cfg.Interval = 2 * time.Second }, "interval", "advert_int 1 there"},
		"other VIPs":       {100, func(c *Codec) { c.cfg.VIPs = []netip.Addr{netip.MustParseAddr("10.20.8.189")} }, NoticeVIPsDiffer, "give both the same"},
		"does not yield":   {100, func(*Codec) {}, NoticeNotYielding, "stop keepalived there"},
	} {
		t.Run(name, func(t *testing.T) {
			onLAN(t, nil, func(l *lan) {
				l.r.Speak(l.now().Add(time.Hour), true)
				c.edit(l.peer)
				for range 4 {
					l.hear(c.priority)
					l.pass(time.Second)
				}
				s := l.r.State()
				if i := slices.IndexFunc(s.Notices, func(n Notice) bool { return n.Name == c.want }); i < 0 || !strings.Contains(s.Notices[i].Text, c.text) || s.Notices[i].From != foreignAddr {
					t.Errorf("notices %+v; want %s of %s", s.Notices, c.want, foreignAddr)
				}
				if s.State != Active {
					t.Errorf("%v; want Active", s.State)
				}
				l.pass(20 * time.Second)
				if left := l.r.State().Notices; len(left) != 0 {
					t.Errorf("long after the last: %+v", left)
				}
			})
		})
	}
}

// What the machine warns of is a notice with a name of its own.
func TestRouterWarns(t *testing.T) {
	for _, w := range []Warning{WarnTwoOwners, WarnInterval, WarnIntervalBound, WarnSameSource} {
		if w.name() == "" {
			t.Errorf("%d has no name", w)
		}
	}
	onLAN(t, func(c *RouterConfig) { c.Priority = PriorityOwner }, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), true)
		l.pass(100 * time.Millisecond)
		l.hear(PriorityOwner)
		if s := l.r.State(); len(s.Notices) != 1 || s.Notices[0].Name != "two_owners" {
			t.Errorf("%+v; want two_owners", s.Notices)
		}
	})
}

// A keepalived that was Active for long, and gives way, is no cause for alarm when its
// last advert crosses our first.
func TestRouterCrossing(t *testing.T) {
	onLAN(t, func(c *RouterConfig) { c.PreemptDelay = 5 * time.Second }, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), false)
		for range 12 {
			l.hear(100)
			l.pass(time.Second)
			if l.r.State().State == Active {
				break
			}
		}
		l.hear(100)
		if s := l.r.State(); s.State != Active || len(s.Notices) != 0 {
			t.Errorf("%v, %+v; want it Active, and nothing said of one advert that crossed ours", s.State, s.Notices)
		}
	})
}

// What a stranger sends must not fill the memory.
func TestRouterBoundsNotices(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.peer.cfg.Interval = 2 * time.Second
		for i := range 100 {
			l.peer.own = netip.AddrFrom4([4]byte{10, 20, 9, byte(i)})
			l.hear(100)
		}
		if s := l.r.State(); len(s.Notices) != maxNotices || s.Heard["interval"] != 100 {
			t.Errorf("%d notices, %v", len(s.Notices), s.Heard)
		}
	})
}

// Sockets that break are opened again, and meanwhile the router is what it was.
func TestRouterReopens(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), true)
		l.pass(100 * time.Millisecond)
		l.set(func() { l.refuse = errors.New("eth0 is not there") })
		_ = l.Close()
		l.pass(10 * time.Millisecond)
		if s := l.r.State(); s.Trouble != "" || s.State != Active {
			t.Errorf("a moment without sockets: %q, %v", s.Trouble, s.State)
		}
		l.pass(4 * reopenAfter)
		if s := l.r.State(); s.Trouble != "eth0 is not there" || s.QuietUntil != 0 && s.QuietUntil > l.now() {
			t.Errorf("after 4 s: %q, quiet until %v", s.Trouble, s.QuietUntil.Sub(l.now()))
		}
		l.set(func() { l.refuse = nil })
		l.take()
		l.pass(2 * reopenAfter)
		if s := l.r.State(); s.Trouble != "" || s.State != Backup || s.Cause != CauseOverslept || len(l.take()) != 0 {
			t.Errorf("silent for so long that others may have taken over: %q, %v; want it to listen first", s.Trouble, s.State)
		}
		l.pass(waits)
		if s := l.r.State(); s.State != Active {
			t.Errorf("%v", s.State)
		}
	})
}

// An interface that is made anew, as ifdown and ifup of some do, needs new sockets.
func TestRouterInterfaceMadeAnew(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), true)
		l.set(func() { l.away = true })
		l.pass(reopenAfter + time.Millisecond)
		l.set(func() { l.away = false })
		l.pass(reopenAfter + time.Millisecond)
		if s := l.r.State(); l.opened != 2 || s.State != Active || s.Trouble != "" {
			t.Errorf("opened %d times, %v, %q", l.opened, s.State, s.Trouble)
		}
	})
}

// Another address makes another router, that goes on where the old one was.
func TestRouterFollowsAddress(t *testing.T) {
	onLAN(t, nil, func(l *lan) {
		l.r.Speak(l.now().Add(time.Hour), true)
		moved := netip.MustParseAddr("10.20.8.51")
		l.set(func() { l.own = moved })
		l.pass(1500 * time.Millisecond)
		if s := l.r.State(); s.Source != moved || s.State != Active {
			t.Errorf("%s, %v", s.Source, s.State)
		}
	})
}

func TestStation(t *testing.T) {
	for _, s := range []Station{{}, {Backup, ownAddr}, {Active, netip.MustParseAddr("fe80::1")}} {
		if got := ParseStation(s.String()); got != s {
			t.Errorf("%q became %+v", s.String(), got)
		}
	}
	for _, rubbish := range []string{"", "Active", "x y", "Active 10.20.8.300", "Master 10.20.8.27"} {
		if got := ParseStation(rubbish); got.Source.IsValid() && got.State != Initialize {
			t.Errorf("%q became %+v", rubbish, got)
		}
	}
}
