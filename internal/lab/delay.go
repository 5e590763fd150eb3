package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// detour delays what a host sends, on a kernel without netem: a rule at the
// switch drops the frames that come in at the host's port, and they are sent on
// a while later through the switch's own device, in their order. Cuts and losses
// hold for them as well, by the mark.
type detour struct {
	in, out int // packet sockets
	to      int // index of the switch's device
	delay   atomic.Int64
	r       *reader
	wake    chan struct{}
	quit    chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	queue []waiting
	err   error
}

// waiting is a frame with its virtio_net_hdr, see packet(7) PACKET_VNET_HDR: what
// a host leaves to its NIC, checksums and segmentation, is left to the next.
type waiting struct {
	at    time.Time // when it came
	frame []byte
}

const vnetHeader = 10 // struct virtio_net_hdr, see linux/virtio_net.h

// startDetour begins to take what comes in at a port; the rule must be set after
// it, and taken back before it ends.
func (n *network) startDetour(host string, mark int, delay time.Duration) (*detour, error) {
	port, err := n.swNL.LinkByName(host)
	if err != nil {
		return nil, fmt.Errorf("find the switch's port of host %s: %w", host, err)
	}
	bridge, err := n.swNL.LinkByName(bridgeName)
	if err != nil {
		return nil, fmt.Errorf("find the switch's device: %w", err)
	}
	d := &detour{to: bridge.Attrs().Index, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	d.delay.Store(int64(delay))
	err = n.sw.do(func() error {
		var in, out error
		d.in, in = vnetSocket(port.Attrs().Index)
		d.out, out = vnetSocket(0)
		if err := errors.Join(in, out); err != nil {
			return err
		}
		return unix.SetsockoptInt(d.out, unix.SOL_SOCKET, unix.SO_MARK, mark)
	})
	if err == nil {
		d.r, err = startReader([]int{d.in}, d.take)
	}
	if err != nil {
		return nil, fmt.Errorf("delay the frames of host %s: %w", host, err)
	}
	go d.send()
	return d, nil
}

// vnetSocket returns a packet socket that takes what comes in at a device, or
// with 0 nothing.
func vnetSocket(device int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open a packet socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	if err == nil && device != 0 {
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1), roomy(fd),
			unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: device}))
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// take puts what came into the queue.
func (d *detour) take(now time.Time) error {
	buf := make([]byte, vnetHeader+1<<17) // more than a segment that the NIC has to cut
	for {
		n, _, _, ok, err := receive(d.in, buf, nil)
		if errors.Is(err, unix.ENETDOWN) { // the port went down: the socket goes on
			continue
		}
		if err != nil {
			return fmt.Errorf("delay frames: %w", err)
		}
		if !ok {
			select {
			case d.wake <- struct{}{}:
			default:
			}
			return nil
		}
		d.mu.Lock()
		d.queue = append(d.queue, waiting{now, slices.Clone(buf[:n])})
		d.mu.Unlock()
	}
}

// send sends what has waited for long enough, and at the end all that is left.
func (d *detour) send() {
	defer close(d.done)
	for {
		select {
		case <-d.quit:
			d.pass(time.Now().Add(time.Hour))
			return
		case <-d.wake:
		}
		for at, more := d.pass(time.Now()); more; at, more = d.pass(time.Now()) {
			timer := time.NewTimer(time.Until(at))
			select {
			case <-timer.C:
			case <-d.quit:
				timer.Stop()
				d.pass(time.Now().Add(time.Hour))
				return
			}
		}
	}
}

// pass sends what is due, and returns when the next frame is.
func (d *detour) pass(now time.Time) (at time.Time, more bool) {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.mu.Unlock()
			return at, false
		}
		first := d.queue[0]
		at = first.at.Add(time.Duration(d.delay.Load()))
		if at.After(now) {
			d.mu.Unlock()
			return at, true
		}
		d.queue = d.queue[1:]
		d.mu.Unlock()
		if len(first.frame) < vnetHeader+14 {
			continue
		}
		kind := binary.NativeEndian.Uint16(first.frame[vnetHeader+12:]) // as the wire has it
		err := unix.Sendto(d.out, first.frame, 0, &unix.SockaddrLinklayer{Ifindex: d.to, Protocol: kind})
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) { // lost, as on any wire
			d.mu.Lock()
			d.err = fmt.Errorf("send a delayed frame: %w", err)
			d.mu.Unlock()
		}
	}
}

// stop sends what waits and ends. The error says that frames were lost for
// another reason than a full queue.
func (d *detour) stop() error {
	err := d.r.stop()
	close(d.quit)
	<-d.done
	return errors.Join(err, unix.Close(d.out), d.err)
}
