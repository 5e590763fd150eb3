package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// echo is the TCP half of a responder: it sends back what it gets.
type echo struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (e *echo) run() {
	for {
		conn, err := e.listener.Accept()
		if err != nil {
			return // closed
		}
		e.mu.Lock()
		e.conns[conn] = true
		e.mu.Unlock()
		e.wg.Go(func() {
			_, _ = io.Copy(conn, conn) // ends with the session, however it ends
			e.mu.Lock()
			defer e.mu.Unlock()
			delete(e.conns, conn)
			_ = conn.Close() // nothing is owed to the client
		})
	}
}

func (e *echo) close() error {
	err := e.listener.Close()
	e.mu.Lock()
	for conn := range e.conns {
		_ = conn.Close() // ends its Copy
	}
	e.mu.Unlock()
	e.wg.Wait()
	return err
}

// Session is one TCP connection from the client to the VIP with something going
// to and fro all the time, as a client's pool has them.
type Session struct {
	conn net.Conn
	end  func() error
	wg   sync.WaitGroup
	done chan struct{}

	mu     sync.Mutex
	last   time.Time
	echoes int
	ended  time.Time
	err    error
}

// OpenSession connects to the VIP, with responders on some hosts, A and B by
// default, and sends a byte every 5 ms until the session breaks, is closed, or
// the lab closes. Without a reset a session whose server is gone does not break
// but hang: see LastEcho.
func (l *Lab) OpenSession(ctx context.Context, vip netip.Addr, hosts ...string) (*Session, error) {
	if !vip.IsValid() {
		vip = l.VIP.Addr()
	}
	if len(hosts) == 0 {
		hosts = []string{A, B}
	}
	for _, host := range hosts {
		if err := l.respond(host); err != nil {
			return nil, err
		}
	}
	conn, err := l.Dial(ctx, Client, "tcp", net.JoinHostPort(vip.String(), strconv.Itoa(probePort)))
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	s := &Session{conn: conn, done: make(chan struct{})}
	s.wg.Go(s.run)
	s.end = sync.OnceValue(func() error {
		err := conn.Close()
		s.wg.Wait()
		return err
	})
	if err := l.onClose(s.end); err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// run ends with the receiving half, and then takes the sending one along.
func (s *Session) run() {
	defer close(s.done)
	var sending sync.WaitGroup
	defer sending.Wait()
	received := make(chan struct{})
	defer close(received)
	sending.Go(func() { s.send(received) })
	s.receive()
}

func (s *Session) send(received <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-received:
			return
		case <-tick.C:
		}
		if _, err := s.conn.Write([]byte{0}); err != nil {
			// A reset is told to one call only, and it was this one: receive
			// gets to see an ordinary end of the stream.
			if errors.Is(err, syscall.ECONNRESET) {
				s.note(0, err)
			}
			return // else receive gets the reason as well
		}
	}
}

func (s *Session) receive() {
	buf := make([]byte, 64)
	for {
		n, err := s.conn.Read(buf)
		s.note(n, err)
		if err != nil {
			return
		}
	}
}

// note books n bytes that came back, or why no more will. A reset counts more
// than what the other half of the session made of it.
func (s *Session) note(n int, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 {
		s.last, s.echoes = now, s.echoes+n
	}
	if err != nil && !errors.Is(s.err, syscall.ECONNRESET) {
		s.ended, s.err = now, err
	}
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Ended returns when and why the session ended: with syscall.ECONNRESET when it
// was reset, net.ErrClosed when it was closed here. A zero Time says that it has
// not ended.
func (s *Session) Ended() (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended, s.err
}

// LastEcho returns when the last byte came back, and how many have.
func (s *Session) LastEcho() (at time.Time, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.echoes
}

// Close ends the session.
func (s *Session) Close() error { return s.end() }
