package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Probe is one question of a client to the VIP.
type Probe struct {
	Sent     time.Time
	Answered time.Time // zero: no answer (yet)
	By       string    // the key of the host that answered
}

// ProberConfig says how to ask.
type ProberConfig struct {
	From  string        // the asking host, default Client
	To    netip.Addr    // default the lab's VIP
	Hosts []string      // hosts with a responder, default A and B
	Every time.Duration // default 2 ms
}

// Prober asks the VIP over UDP at a steady pace. The client's neighbour cache
// is left to itself, as a real client's: an announcement that gets lost shows
// as a gap.
type Prober struct {
	conn   net.Conn
	every  time.Duration
	cancel context.CancelFunc
	wg     sync.WaitGroup
	end    func() error

	mu      sync.Mutex
	probes  []Probe
	waiting int // probes without an answer
}

// StartProber starts the responders where they do not run yet, and a prober
// that runs until it is stopped or the lab closes.
func (l *Lab) StartProber(cfg ProberConfig) (*Prober, error) {
	if cfg.From == "" {
		cfg.From = Client
	}
	if !cfg.To.IsValid() {
		cfg.To = l.VIP.Addr()
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = []string{A, B}
	}
	if cfg.Every == 0 {
		cfg.Every = 2 * time.Millisecond
	}
	for _, host := range cfg.Hosts {
		if err := l.respond(host); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := l.Dial(ctx, cfg.From, "udp", net.JoinHostPort(cfg.To.String(), strconv.Itoa(probePort)))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start the prober on host %s: %w", cfg.From, err)
	}
	p := &Prober{conn: conn, every: cfg.Every, cancel: cancel}
	p.end = sync.OnceValue(p.stop)
	p.wg.Go(func() { p.send(ctx) })
	p.wg.Go(p.receive)
	if err := l.onClose(p.end); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

func (p *Prober) send(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		number := uint64(len(p.probes))
		p.probes = append(p.probes, Probe{Sent: time.Now()})
		p.waiting++
		p.mu.Unlock()
		question := binary.BigEndian.AppendUint64(nil, number)
		// An error of an earlier probe (ICMP) is reported by the next call,
		// which then sends nothing; see udp(7).
		if _, err := p.conn.Write(question); err != nil {
			_, _ = p.conn.Write(question) // fails too: no answer, and that is recorded
		}
	}
}

func (p *Prober) receive() {
	buf := make([]byte, 64)
	for {
		n, err := p.conn.Read(buf)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 {
			continue
		}
		number := binary.BigEndian.Uint64(buf)
		p.mu.Lock()
		if number < uint64(len(p.probes)) && p.probes[number].Answered.IsZero() {
			p.probes[number].Answered, p.probes[number].By = now, string(buf[8:n])
			p.waiting--
		}
		p.mu.Unlock()
	}
}

// stop asks no more, gives answers under way 50 ms, and ends.
func (p *Prober) stop() error {
	p.cancel()
	_ = Wait(context.Background(), 50*time.Millisecond, "the last answers", func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.waiting == 0, nil
	}) // lost probes never answer
	err := p.conn.Close()
	p.wg.Wait()
	return err
}

// Stop ends the prober; its probes stay.
func (p *Prober) Stop() error { return p.end() }

// Probes returns the probes so far, in the order of sending. The latest may
// still get an answer, unless the prober was stopped.
func (p *Prober) Probes() []Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.probes)
}

// Since returns the probes that were sent from a moment on, in that order.
func (p *Prober) Since(from time.Time) []Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.probes[p.first(from):])
}

// Count returns how many probes were sent before a moment, and how many of them
// have no answer.
func (p *Prober) Count(before time.Time) (sent, unanswered int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sent, unanswered = p.first(before), p.waiting
	for _, later := range p.probes[sent:] {
		if later.Answered.IsZero() {
			unanswered--
		}
	}
	return sent, unanswered
}

// first returns the number of the first probe that was sent at a moment or later.
func (p *Prober) first(from time.Time) int {
	i, _ := slices.BinarySearchFunc(p.probes, from, func(probe Probe, from time.Time) int { return probe.Sent.Compare(from) })
	return i
}

// Answering returns the host that answered the latest probe that was answered,
// and when.
func (p *Prober) Answering() (host string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, probe := range slices.Backward(p.probes) {
		if !probe.Answered.IsZero() {
			return probe.By, probe.Answered
		}
	}
	return "", time.Time{}
}

// WaitAnswer waits until a probe that was sent from now on is answered, by that
// host or, with "", by any.
func (p *Prober) WaitAnswer(ctx context.Context, host string, limit time.Duration) error {
	p.mu.Lock()
	from := len(p.probes)
	p.mu.Unlock()
	return Wait(ctx, limit, "an answer of host "+host, func() (bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.probes[from:], func(probe Probe) bool {
			return !probe.Answered.IsZero() && (host == "" || probe.By == host)
		}), nil
	})
}

// Watch lets d pass while the prober asks: the time in which a VIP that has to
// stay is seen to stay.
func (p *Prober) Watch(ctx context.Context, d time.Duration) error {
	if err := Pass(ctx, d); err != nil {
		return fmt.Errorf("watch the VIP: %w", err)
	}
	return nil
}

// Pass lets d pass, as part of the experiment; it returns the cause when ctx ends
// before.
func Pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
