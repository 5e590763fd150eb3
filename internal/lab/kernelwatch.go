package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// KernelWatch follows what the kernels of some hosts say of some addresses, and
// so knows who had the VIP when, and for how long two had it.
//
// A time is when the message was read, some 50 µs after the fact on an idle
// machine. The order is exact where it counts: when one host lost the address
// before another gained it, it never looks the other way round. An overlap that
// is shorter than the time that the reader took to wake up may be missed; one
// that is reported was real.
type KernelWatch struct {
	hosts []string
	addrs []netip.Addr
	fds   []int
	r     *reader
	end   func() error // stops once

	mu        sync.Mutex
	copies    map[copyKey]bool
	open      map[holding]time.Time // since when; the zero Time is not held
	intervals []Interval
}

// copyKey is one address on one device; the kernel allows the same address with
// several prefix lengths and on several devices.
type copyKey struct {
	holding
	index int
	bits  int
}

type holding struct {
	host string
	addr netip.Addr
}

// Interval is a time during which one kernel had one address, with whatever
// prefix length and on whatever device.
type Interval struct {
	Host     string
	Addr     netip.Addr
	From, To time.Time // To is zero while the kernel has it
}

// WatchKernels begins to follow addresses, the lab's VIP by default, in the
// kernels of some hosts. What they have already counts from now.
func (l *Lab) WatchKernels(hosts []string, addrs ...netip.Addr) (*KernelWatch, error) {
	if len(addrs) == 0 {
		addrs = []netip.Addr{l.VIP.Addr()}
	}
	w := &KernelWatch{hosts: hosts, addrs: addrs, copies: map[copyKey]bool{}, open: map[holding]time.Time{}}
	for _, host := range hosts {
		fd, err := l.addrSocket(host)
		if err != nil {
			w.closeFDs()
			return nil, fmt.Errorf("watch the addresses of host %s: %w", host, err)
		}
		w.fds = append(w.fds, fd)
	}
	var err error
	if w.r, err = startReader(w.fds, w.drain); err != nil {
		w.closeFDs()
		return nil, err
	}
	w.end = sync.OnceValue(w.r.stop)
	if err := l.onClose(w.end); err != nil {
		return nil, errors.Join(err, w.end())
	}
	return w, nil
}

func (w *KernelWatch) closeFDs() {
	for _, fd := range w.fds {
		_ = unix.Close(fd) // it was never read
	}
}

// addrSocket subscribes to address changes and asks for the addresses that are
// there; both come as the same messages, see rtnetlink(7).
func (l *Lab) addrSocket(host string) (fd int, err error) {
	err = l.Do(host, func() error {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		groups := uint32(unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
		dump := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
		dump.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		err = errors.Join(roomy(fd), unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
		if err == nil {
			err = unix.Sendto(fd, dump.Serialize(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		}
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// change is one message about a watched address.
type change struct {
	copyKey
	gone bool
}

// drain reads all sockets until a whole round finds nothing. What one round
// reads late may have happened before what it read early, so all of it is one
// batch, in which addresses go before they come: a host that let go before
// another took over is then never seen to overlap.
func (w *KernelWatch) drain(now time.Time) error {
	var batch []change
	buf := make([]byte, 64<<10)
	for more := true; more; {
		more = false
		for i, fd := range w.fds {
			for {
				n, _, _, ok, err := receive(fd, buf, nil)
				if err != nil { // ENOBUFS too: what was missed cannot be known
					return fmt.Errorf("watch the addresses of host %s: %w", w.hosts[i], err)
				}
				if !ok {
					break
				}
				more = true
				changes, err := w.parse(w.hosts[i], buf[:n])
				if err != nil {
					return fmt.Errorf("watch the addresses of host %s: %w", w.hosts[i], err)
				}
				batch = append(batch, changes...)
			}
		}
	}
	w.apply(batch, now)
	return nil
}

func (w *KernelWatch) parse(host string, b []byte) ([]change, error) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return nil, fmt.Errorf("netlink message: %w", err)
	}
	var changes []change
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWADDR && m.Header.Type != unix.RTM_DELADDR {
			continue
		}
		if len(m.Data) < unix.SizeofIfAddrmsg {
			return nil, errors.New("netlink message: short address message")
		}
		info := nl.DeserializeIfAddrmsg(m.Data)
		attrs, err := nl.ParseRouteAttr(m.Data[info.Len():])
		if err != nil {
			return nil, fmt.Errorf("netlink message: %w", err)
		}
		// The host's own address is IFA_LOCAL where there is one, that is for
		// IPv4 and point-to-point links, else IFA_ADDRESS.
		var addr netip.Addr
		for _, a := range attrs {
			if ip, ok := netip.AddrFromSlice(a.Value); ok &&
				(a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !addr.IsValid()) {
				addr = ip
			}
		}
		if slices.Contains(w.addrs, addr) {
			key := copyKey{holding{host, addr}, int(info.Index), int(info.Prefixlen)}
			changes = append(changes, change{key, m.Header.Type == unix.RTM_DELADDR})
		}
	}
	return changes, nil
}

// apply takes a batch into the intervals. Within a batch each copy ends as its
// last message says; the losses count before the gains.
func (w *KernelWatch) apply(batch []change, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range batch {
		if !c.gone && !w.copies[c.copyKey] {
			w.copies[c.copyKey] = true
		} else if c.gone {
			delete(w.copies, c.copyKey)
		}
	}
	touched := map[holding]bool{}
	for _, c := range batch {
		touched[c.holding] = true
	}
	for h := range touched {
		held := false
		for c := range w.copies {
			held = held || c.holding == h
		}
		since := w.open[h]
		switch {
		case held && since.IsZero():
			w.open[h] = now
		case !held && !since.IsZero():
			delete(w.open, h)
			w.intervals = append(w.intervals, Interval{Host: h.host, Addr: h.addr, From: since, To: now})
		}
	}
}

// Intervals returns who has had what so far, in the order of their beginnings.
func (w *KernelWatch) Intervals() []Interval {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := slices.Clone(w.intervals)
	for h, since := range w.open {
		all = append(all, Interval{Host: h.host, Addr: h.addr, From: since})
	}
	slices.SortFunc(all, func(x, y Interval) int { return x.From.Compare(y.From) })
	return all
}

// Stop reads what is there and ends the watch; its intervals stay. It returns
// an error when changes may have been missed.
func (w *KernelWatch) Stop() error { return w.end() }
