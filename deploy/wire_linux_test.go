package deploy_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"leasehold/internal/sdlab"
)

// sessionPort is what the service in the lab listens on.
const sessionPort = 7788

// inNamespace runs f in a network namespace that ip-netns(8) knows. Sockets made
// there stay there. The thread goes back to where it came from and lives on: its
// end would be that of what it has started, such as the etcd (PR_SET_PDEATHSIG).
func inNamespace(name string, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := netns.GetFromName(name)
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		panic(back) // every later test would run elsewhere
	}
	return err
}

// session is a client's TCP connection to the VIP with a request and an answer
// every few milliseconds, and what the client's own interface saw of it.
type session struct {
	listener net.Listener
	conn     net.Conn
	fd       *os.File // packet socket
	wg       sync.WaitGroup

	mu       sync.Mutex
	answers  int
	longest  time.Duration
	err      error
	closing  bool
	seen     map[segment]bool
	segments int
	again    int // segments with data whose sequence number was seen before
	resets   int
}

// segment is one TCP segment with data, as RFC 9293 tells them apart.
type segment struct {
	port   uint16 // of its sender
	seq    uint32
	length int
}

// openSession connects from the peer namespace to a server in the lab.
func openSession(t *testing.T, l *sdlab.Lab, vip netip.Addr) *session {
	t.Helper()
	s := &session{seen: map[segment]bool{}}
	err := inNamespace(l.NS, func() (err error) {
		s.listener, err = net.Listen("tcp4", ":"+strconv.Itoa(sessionPort))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wg.Go(s.serve)
	err = inNamespace(l.Peer, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})))
		if err != nil {
			return err
		}
		s.fd = os.NewFile(uintptr(fd), "packet socket")
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
			return err
		}
		d := net.Dialer{Timeout: 5 * time.Second}
		s.conn, err = d.Dial("tcp4", net.JoinHostPort(vip.String(), strconv.Itoa(sessionPort)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wg.Go(s.capture)
	s.wg.Go(s.talk)
	t.Cleanup(s.close)
	return s
}

// serve echoes one connection.
func (s *session) serve() {
	conn, err := s.listener.Accept()
	if err != nil {
		return // closed
	}
	_, _ = io.Copy(conn, conn) // ends with the session, which the client's end tells
	_ = conn.Close()
}

// talk sends a request every 2 ms and waits for its answer.
func (s *session) talk() {
	buf := make([]byte, 16)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		asked := time.Now()
		_, err := s.conn.Write(buf)
		if err == nil {
			_, err = io.ReadFull(s.conn, buf)
		}
		s.mu.Lock()
		closing := s.closing
		if err == nil {
			s.answers++
			s.longest = max(s.longest, time.Since(asked))
		} else if !closing {
			s.err = err
		}
		s.mu.Unlock()
		if err != nil || closing {
			return
		}
	}
}

// capture counts what goes over the client's interface, both ways.
func (s *session) capture() {
	buf := make([]byte, 2048)
	for {
		n, err := s.fd.Read(buf)
		if err != nil {
			return // closed
		}
		s.count(buf[:n])
	}
}

// count reads an IPv4 packet, RFC 791, RFC 9293.
func (s *session) count(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_TCP {
		return
	}
	ihl := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total > len(b) || total < ihl+20 {
		return
	}
	tcp := b[ihl:total]
	from, to := binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])
	if from != sessionPort && to != sessionPort {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	const rst = 4
	if tcp[13]&rst != 0 && !s.closing {
		s.resets++
	}
	data := len(tcp) - int(tcp[12]>>4)*4
	if data <= 0 {
		return
	}
	s.segments++
	seg := segment{from, binary.BigEndian.Uint32(tcp[4:]), data}
	if s.seen[seg] {
		s.again++
	}
	s.seen[seg] = true
}

func (s *session) close() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	_ = s.conn.Close()
	_ = s.listener.Close()
	_ = s.fd.Close()
	s.wg.Wait()
}

// unharmed fails when the session has lost anything so far, and waits for a few
// answers first, so that what is on its way counts.
func (s *session) unharmed(t *testing.T, what string) {
	t.Helper()
	s.mu.Lock()
	before := s.answers
	s.mu.Unlock()
	ctx := t.Context()
	if _, err := sdlab.Wait(ctx, func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.answers >= before+5, s.err
	}); err != nil {
		t.Errorf("%s: the session: %v", what, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again > 0 || s.resets > 0 || s.segments == 0 {
		t.Errorf("%s: %d of %d segments sent again, %d resets; want none", what, s.again, s.segments, s.resets)
	}
	t.Logf("%s: %d of %d segments sent again, %d resets, longest answer %v", what, s.again, s.segments, s.resets, s.longest)
	s.longest = 0
}
