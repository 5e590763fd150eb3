package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// probePort is where the responders listen.
const probePort = 4188

// responder is "the service" of a host, always on: it answers each UDP probe
// with the probe's number and the host's key, from the address that was asked,
// on every address that the host has at that moment, and echoes TCP sessions.
type responder struct {
	host string
	conn *net.UDPConn
	tcp  echo
	wg   sync.WaitGroup
}

// respond starts the responder of a host, once; it ends with the lab.
func (l *Lab) respond(host string) error {
	s, err := l.net.seat(host)
	if err != nil {
		return err
	}
	s.responder.Lock()
	defer s.responder.Unlock()
	if s.responds {
		return nil
	}
	r := &responder{host: host, tcp: echo{conns: map[net.Conn]bool{}}}
	if err := s.ns.do(r.listen); err != nil {
		return fmt.Errorf("start the responder of host %s: %w", host, err)
	}
	r.wg.Go(r.run)
	r.wg.Go(r.tcp.run)
	s.responds = true
	return l.onClose(r.close)
}

func (r *responder) listen() (err error) {
	if r.conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: probePort}); err != nil {
		return err
	}
	if err := r.wantDestination(); err != nil {
		return errors.Join(err, r.conn.Close())
	}
	r.tcp.listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf(":%d", probePort))
	if err != nil {
		return errors.Join(err, r.conn.Close())
	}
	return nil
}

func (r *responder) close() error {
	err := errors.Join(r.conn.Close(), r.tcp.close())
	r.wg.Wait()
	return err
}

// wantDestination asks the kernel to say which address each probe came to, see
// IP_PKTINFO in ip(7) and IPV6_RECVPKTINFO in ipv6(7). The socket is of both
// families, and IPv4 probes come with IP_PKTINFO on it as well.
func (r *responder) wantDestination() error {
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		v6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		if set == nil && !errors.Is(v6, unix.ENOPROTOOPT) { // without IPv6 the socket is AF_INET
			set = v6
		}
	})
	return errors.Join(err, set)
}

func (r *responder) run() {
	buf, oob := make([]byte, 64), make([]byte, 256)
	for {
		n, oobn, _, from, err := r.conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 {
			continue // an ICMP error about an earlier answer
		}
		number := binary.BigEndian.Uint64(buf)
		answer := append(binary.BigEndian.AppendUint64(nil, number), r.host...)
		// The address that the probe came to is, unchanged, the address to send
		// from. An error means that the host has lost it meanwhile: no answer.
		_, _, _ = r.conn.WriteMsgUDPAddrPort(answer, oob[:oobn], from)
	}
}
