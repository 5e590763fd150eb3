package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

// revokeLease ends the holder's lease, as operators do to force a move.
func revokeLease(ctx context.Context, w *world, e *Event) (end, error) {
	p := w.ledger.now()
	if p.Lease == "" {
		e.Note = "nobody holds"
		return nil, nil
	}
	e.On, e.Hurts = p.Holder, []Part{node(p.Holder)}
	_, err := w.ctl(ctx, "lease", "revoke", p.Lease)
	return nil, err
}

func deleteHolder(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.ledger.now().Holder
	e.Hurts = []Part{node(e.On)}
	_, err := w.ctl(ctx, "del", serviceKeys+"holder")
	return nil, err
}

func deleteVIP(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, holder)
	e.Hurts = []Part{node(e.On)}
	_, err := w.Exec(ctx, e.On, "ip", "addr", "del", w.VIP.String(), "dev", "eth0")
	if notThere(err) {
		e.Note, err = "it was not there", nil
	}
	return nil, err
}

// notThere reports that ip addr del had nothing to delete.
func notThere(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "Cannot assign requested address") || strings.Contains(err.Error(), "Address not found"))
}

// addVIP adds the VIP to a standby, for good and with the prefix length of a
// careless operator. What its daemon has not removed by the end is removed then.
func addVIP(ctx context.Context, w *world, e *Event) (end, error) {
	e.On = w.resolve(ctx, e.On)
	e.Hurts = []Part{node(e.On)}
	if !w.o.fenced() || w.exposed(e.On) {
		e.Hurts, e.Speaks = append(e.Hurts, service), e.On
	}
	stray := netip.PrefixFrom(w.VIP.Addr(), e.Arg).String()
	_, err := w.Exec(ctx, e.On, "ip", "addr", "add", stray, "dev", "eth0")
	if err != nil && strings.Contains(err.Error(), "File exists") {
		e.Note, err = "it is there already", nil
	}
	return func(ctx context.Context) error {
		// One without an end is not the daemon's.
		out, err := w.Exec(ctx, e.On, "ip", "-oneline", "addr", "show", "dev", "eth0", "permanent")
		if err == nil && strings.Contains(out, " "+stray+" ") {
			_, err = w.Exec(ctx, e.On, "ip", "addr", "del", stray, "dev", "eth0")
			if notThere(err) {
				err = nil // the daemon was faster
			}
		}
		return err
	}, err
}

// claim announces the VIP from the client's host.
func claim(ctx context.Context, w *world, e *Event) (end, error) {
	e.On, e.Hurts, e.Speaks = lab.Client, []Part{service}, lab.Client
	h, err := w.Host(lab.Client)
	if err != nil {
		return nil, err
	}
	frame := gratuitous(h.MAC(), w.VIP.Addr())
	return nil, w.Do(lab.Client, func() error { return send(ctx, "eth0", frame, e.Arg) })
}

// gratuitous is an ARP announcement, see RFC 5227 section 3.
func gratuitous(mac []byte, ip netip.Addr) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
	f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1) // ARP; Ethernet, IPv4, request
	f = append(append(f, mac...), ip.AsSlice()...)
	return append(append(f, 0, 0, 0, 0, 0, 0), ip.AsSlice()...)
}

// send sends a frame some times, 50 ms apart, in the caller's namespace.
func send(ctx context.Context, device string, frame []byte, times int) (err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	ifr, err := unix.NewIfreq(device)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: int(ifr.Uint32())}
	for i := range times {
		if i > 0 {
			if err := lab.Pass(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			return fmt.Errorf("send a frame: %w", err)
		}
	}
	return nil
}

// pause pauses HA; with Arg 1 it ends by itself, else by a resume.
func pause(ctx context.Context, w *world, e *Event) (end, error) {
	length := e.For
	if e.Arg == 0 {
		length += patience // not much longer: a host that loses its power takes the tenure along
	}
	out, err := w.leasehold(ctx, e.On, "pause", "--for", length.String(), "--reason", "chaos")
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
	}
	if e.Arg == 1 {
		return func(context.Context) error { return nil }, err
	}
	return func(ctx context.Context) error {
		out, err := w.leasehold(ctx, e.On, "resume")
		if strings.Contains(out, "the pause is over") {
			err = nil // and the holder's daemon is not there, which other faults will end
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
		}
		return err
	}, err
}

func switchover(ctx context.Context, w *world, e *Event) (end, error) {
	e.Hurts = []Part{node(w.resolve(ctx, holder))}
	out, err := w.leasehold(ctx, e.On, "switchover", "--to", w.name(e.On))
	if err != nil {
		// Refused, or nobody there to carry it out: both are answers.
		e.Note, err = "refused: "+strings.TrimSpace(out), nil
	}
	return nil, err
}
