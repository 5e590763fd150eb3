package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"leasehold/internal/lab"
)

// StandInFlag is the flag by which the demo starts a stand-in for mysqld.
const StandInFlag = "stand-in"

// mysqlPort is where clients look for mysqld.
const mysqlPort = 3306

// StandIn plays the part of mysqld until ctx ends: a process with a pidfile that
// listens on TCP port 3306, says to everybody what it is, and speaks no MySQL. It
// leaves the pidfile behind, as a killed mysqld does.
func StandIn(ctx context.Context, pidfile string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(mysqlPort))
	if err != nil {
		return fmt.Errorf("stand-in: %w", err)
	}
	if err := os.WriteFile(pidfile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return errors.Join(fmt.Errorf("stand-in: %w", err), l.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { <-ctx.Done(); return l.Close() })
	g.Go(func() error { return greet(l) })
	if err := g.Wait(); !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stand-in: %w", err)
	}
	return nil
}

// greet says what it is to everybody who connects, and hangs up.
func greet(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second)) // of a connection that was just made
		_, _ = fmt.Fprintln(conn, "a stand-in of leasehold demo, not MySQL")
		_ = conn.Close() // whoever asked has gone, or has the answer
	}
}

// standIns are the stand-ins of the MySQL hosts.
type standIns struct {
	lab    *lab.Lab
	binary string

	mu      sync.Mutex
	running map[string]*lab.Process
}

func (s *standIns) pidfile(host string) string { return filepath.Join(s.lab.Dir(), host, "mysqld.pid") }

// Start starts the stand-in of a host, at first or again, and does not wait.
func (s *standIns) Start(host string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.lab.Start(host, "stand-in", nil, s.binary, "demo", "--"+StandInFlag, s.pidfile(host))
	if err == nil {
		s.running[host] = p
	}
	return err
}

// WaitReady waits until the stand-in of a host accepts connections.
func (s *standIns) WaitReady(ctx context.Context, host string) error {
	return patiently(ctx, "the stand-in on "+host, func() (bool, error) {
		conn, err := s.lab.Dial(ctx, host, "tcp", netip.AddrPortFrom(address(host), mysqlPort).String())
		if err != nil {
			return false, err
		}
		return true, conn.Close()
	})
}

// Process returns the stand-in of a host, the latest one.
func (s *standIns) Process(host string) *lab.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[host]
}

// Checks returns the checks of a stand-in, as they stand in a configuration.
func (s *standIns) Checks(host string) []string {
	return []string{
		fmt.Sprintf("process: {pidfile: %s}", s.pidfile(host)),
		fmt.Sprintf("tcp: {address: \"127.0.0.1:%d\"}", mysqlPort),
	}
}
