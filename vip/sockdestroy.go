package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

const (
	// resetPasses bounds how often the sessions are listed and reset: a client
	// that reconnects within the same millisecond lands on this host again.
	resetPasses = 3
	// afterwards bounds the reset of what came in between and has no address
	// any more: 1000 sessions take about 60 ms.
	afterwards = 200 * time.Millisecond
)

// resettable are the TCP states of a session: all but LISTEN, CLOSE and
// TIME_WAIT, numbered in include/net/tcp_states.h. NEW_SYN_RECV (12) is a
// session that is being opened.
const resettable = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12

// sock_diag(7): inet_diag_req_v2 and inet_diag_msg, linux/inet_diag.h.
const (
	sizeofSockID      = 48 // inet_diag_sockid
	sizeofRequest     = 8 + sizeofSockID
	sizeofMessage     = 4 + sizeofSockID + 20
	attrBytecode      = 1 // INET_DIAG_REQ_BYTECODE
	bytecodeSource    = 7 // INET_DIAG_BC_S_COND
	sizeofBytecodeOp  = 4
	sizeofBytecodeArg = 8
)

// resetClients resets the TCP sessions of the VIPs until none is left, or by or
// ctx's end has come. It reports whether it found any.
func (s *Set) resetClients(ctx context.Context, by boottime.Instant) (found bool) {
	if boottime.Now() >= by {
		return false
	}
	d, err := openDiag()
	if err != nil {
		s.cannotReset(err)
		return false
	}
	defer d.socket.Close()
	total, start := 0, boottime.Now()
	for range resetPasses {
		n, err := d.resetAll(ctx, s.specs, by)
		total += n
		if err != nil {
			s.cannotReset(err)
			break
		}
		if n == 0 || over(ctx, by) {
			break
		}
	}
	if total > 0 {
		s.log.Info("client sessions reset", "sessions", total, "took", boottime.Now().Sub(start))
	}
	return total > 0
}

func over(ctx context.Context, by boottime.Instant) bool {
	return boottime.Now() >= by || ctx.Err() != nil
}

func (s *Set) cannotReset(err error) {
	s.resetOnce.Do(func() {
		s.log.Warn("kernel cannot reset client sessions, clients will notice a move by their own timeouts (needs CONFIG_INET_DIAG_DESTROY)", "err", err)
	})
}

// A diag is a sock_diag(7) socket. Package netlink's SocketDestroy knows IPv4
// sockets only.
type diag struct{ socket *nl.NetlinkSocket }

func openDiag() (diag, error) {
	socket, err := nl.Subscribe(unix.NETLINK_INET_DIAG) // to no group
	if err != nil {
		return diag{}, fmt.Errorf("open a sock_diag socket: %w", err)
	}
	tv := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = errors.Join(socket.SetSendTimeout(&tv), socket.SetReceiveTimeout(&tv))
	if err != nil {
		socket.Close()
		return diag{}, fmt.Errorf("set the timeout of a sock_diag socket: %w", err)
	}
	return diag{socket}, nil
}

// resetAll lists the sessions of each VIP and resets them, and returns how many.
func (d diag) resetAll(ctx context.Context, specs []Spec, by boottime.Instant) (int, error) {
	total := 0
	for _, sp := range specs {
		ip := sp.Prefix.Addr()
		families := []uint8{unix.AF_INET6}
		if ip.Is4() {
			// A listener on :: has its IPv4 sessions on AF_INET6 sockets, as
			// ::ffff:10.20.8.188: mysqld with bind-address=* for one.
			families = []uint8{unix.AF_INET, unix.AF_INET6}
		}
		for _, family := range families {
			sessions, err := d.sessions(family, ip)
			if err != nil {
				return total, fmt.Errorf("list the TCP sessions of %s: %w", ip, err)
			}
			for _, id := range sessions {
				if over(ctx, by) {
					return total, nil
				}
				switch err := d.destroy(family, id); {
				case err == nil:
					total++
				case !errors.Is(err, unix.ENOENT): // else it ended by itself
					return total, fmt.Errorf("reset a TCP session of %s: %w", ip, err)
				}
			}
		}
	}
	return total, nil
}

type sockID [sizeofSockID]byte

// sessions lists the TCP sessions with ip as local address.
func (d diag) sessions(family uint8, ip netip.Addr) ([]sockID, error) {
	req := d.request(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP, family, resettable, sockID{})
	req.AddData(nl.NewRtAttr(attrBytecode, bytecode(ip)))
	messages, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, err
	}
	ids := make([]sockID, 0, len(messages))
	for _, m := range messages {
		if id, ok := parseSession(m, family, ip); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// parseSession reads an inet_diag_msg, and checks it: a session of another
// address must never be reset.
func parseSession(m []byte, family uint8, ip netip.Addr) (id sockID, ok bool) {
	if len(m) < sizeofMessage || m[0] != family {
		return id, false
	}
	copy(id[:], m[4:])
	local := netip.AddrFrom16([16]byte(id[4:20])).Unmap()
	if family == unix.AF_INET {
		local = netip.AddrFrom4([4]byte(id[4:8]))
	}
	return id, local == ip
}

// destroy aborts one session: its peer gets an RST, its owner ECONNABORTED.
func (d diag) destroy(family uint8, id sockID) error {
	_, err := d.request(nl.SOCK_DESTROY, unix.NLM_F_ACK, family, resettable, id).Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

func (d diag) request(kind, flags int, family uint8, states uint32, id sockID) *nl.NetlinkRequest {
	b := make([]byte, sizeofRequest)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	copy(b[8:], id[:])
	req := nl.NewNetlinkRequest(kind, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_INET_DIAG: {Seq: req.Seq, Socket: d.socket}}
	req.AddData(rawData(b))
	return req
}

// bytecode returns a filter program of one instruction: the source address is
// ip, any port. AF_INET matches mapped addresses on AF_INET6 sockets too.
func bytecode(ip netip.Addr) []byte {
	family := uint8(unix.AF_INET)
	if ip.Is6() {
		family = unix.AF_INET6
	}
	length := sizeofBytecodeOp + sizeofBytecodeArg + ip.BitLen()/8
	b := make([]byte, sizeofBytecodeOp+sizeofBytecodeArg, length)
	b[0], b[1] = bytecodeSource, uint8(length) // true: on to the end, accept
	binary.NativeEndian.PutUint16(b[2:], uint16(length+4))
	b[4], b[5] = family, uint8(ip.BitLen())
	binary.NativeEndian.PutUint32(b[8:], ^uint32(0)) // port -1: any
	return append(b, ip.AsSlice()...)
}

// rawData is a netlink payload that is bytes already.
type rawData []byte

func (r rawData) Len() int          { return len(r) }
func (r rawData) Serialize() []byte { return r }
