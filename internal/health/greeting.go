package health

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// mysqld speaks first: a handshake packet of protocol 10, or an error packet. The
// driver trusts its layout and would panic on a short one, so it is read and
// checked here, before the driver sees it.

const (
	maxGreeting = 4096      // MySQL 8 sends about 80 bytes, an error packet up to 512
	maxRound    = 256 << 10 // bytes read from mysqld in one round
	protocol10  = 10
	errorPacket = 0xff
)

// checkGreeting reports what is wrong with the payload of mysqld's first packet.
// Layout: "Protocol::HandshakeV10" and "ERR_Packet" in the MySQL Internals manual.
func checkGreeting(b []byte) error {
	switch {
	case len(b) == 0:
		return errors.New("its greeting is empty")
	case b[0] == errorPacket:
		// 0xff, error number; then text, which may begin with # and an SQL state.
		if len(b) < 4 || b[3] == '#' && len(b) < 9 {
			return errors.New("its error packet is cut short")
		}
		return nil
	case b[0] != protocol10:
		return fmt.Errorf("it greets with protocol version %d, not 10: is it mysqld?", b[0])
	}
	end := bytes.IndexByte(b[1:], 0)
	if end < 0 {
		return errors.New("the version in its greeting has no end")
	}
	rest := b[1+end+1:]
	// Connection id 4, scramble 8, filler 1, capabilities 2, character set 1,
	// status 2, capabilities 2, scramble length 1, reserved 10, scramble 13.
	if len(rest) < 4+8+1+2+1+2+2+1+10+13 {
		return errors.New("its greeting is cut short")
	}
	return nil
}

// readGreeting reads the first packet, header included.
func readGreeting(r io.Reader) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	size := int(binary.LittleEndian.Uint32(header[:]) & 0xffffff)
	if size > maxGreeting {
		return nil, fmt.Errorf("its greeting has %d bytes, more than any mysqld's: is it mysqld?", size)
	}
	if header[3] != 0 {
		return nil, errors.New("its greeting has a wrong sequence number: is it mysqld?")
	}
	packet := append(header[:], make([]byte, size)...)
	if _, err := io.ReadFull(r, packet[4:]); err != nil {
		return nil, err
	}
	return packet, checkGreeting(packet[4:])
}

// greeted is a connection to a mysqld that has sent a good greeting, which is
// read again first. No more than left bytes are read from it.
type greeted struct {
	net.Conn
	greeting []byte
	left     int
	broke    bool // the other side is gone
}

var errHungUp = errors.New("it hung up without a greeting")

var errTooMuch = errors.New("it sent more than a check can have asked for")

func (g *greeted) Read(b []byte) (int, error) {
	if len(g.greeting) > 0 {
		n := copy(b, g.greeting)
		g.greeting = g.greeting[n:]
		return n, nil
	}
	if g.left <= 0 {
		return 0, errTooMuch
	}
	n, err := g.Conn.Read(b[:min(len(b), g.left)])
	g.left -= n
	g.note(err)
	return n, err
}

func (g *greeted) Write(b []byte) (int, error) {
	n, err := g.Conn.Write(b)
	g.note(err)
	return n, err
}

// note keeps what the driver does not pass on: a write that failed during the
// login comes back as an error that is its own and says nothing.
func (g *greeted) note(err error) {
	g.broke = g.broke || errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// greet connects and waits for the greeting, until the deadline of ctx.
func greet(ctx context.Context, network, address string) (*greeted, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		if timedOut(ctx, err) {
			return nil, fmt.Errorf("no connection to %s: %w", address, context.DeadlineExceeded)
		}
		return nil, dialError(address, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // makes the read return
	packet, err := readGreeting(conn)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close() // the error that counts is the first
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("no greeting: %w", ctx.Err())
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errHungUp
		}
		return nil, err
	}
	return &greeted{Conn: conn, greeting: packet, left: maxRound}, nil
}
