package vip

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// resubscribe is how long Run waits before it opens a netlink socket again.
const resubscribe = time.Second

// Run watches links, addresses and the fence, keeps the packet sockets open,
// hears the claims of other hosts, and sends the announce schedule. A fence of
// which something is missing is put back, shut, after the VIPs have been removed.
// It returns nil when ctx is cancelled, after its goroutines
// have ended and its sockets are closed; the VIPs stay as they are. Whatever
// fails in between is logged and tried again: until then the kernel is read
// every 5 s.
func (s *Set) Run(ctx context.Context) error {
	w := &watcher{specs: s.specs, wake: make(chan struct{}, 1), listeners: make(listeners)}
	w.indexes.Store(&[]int32{})
	defer w.listeners.close()
	defer s.watching.Store(false)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		w.run(ctx, func(err error) { s.log.Warn("netlink reports lost, reading the kernel anew", "err", err) })
	})
	defer wg.Wait()
	defer cancel()
	defer s.announcer.closeAll()

	tick := time.NewTicker(resync)
	defer tick.Stop()
	check := time.NewTicker(guardCheck)
	defer check.Stop()
	announcement := time.NewTimer(0)
	defer announcement.Stop()
	s.look(ctx, w)
	for {
		if d, ok := s.nextAnnouncement(); ok {
			announcement.Reset(d)
		} else {
			announcement.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			s.look(ctx, w)
		case <-tick.C:
			s.look(ctx, w)
			s.keepPromoting()
		case <-check.C:
			s.tendGuard(ctx)
		case <-s.announcer.wake:
		case <-announcement.C:
			s.announceDue()
		}
	}
}

// look reads the kernel and does what its news calls for.
func (s *Set) look(ctx context.Context, w *watcher) {
	was := s.State()
	r, err := s.refresh()
	if err != nil {
		s.log.Warn("kernel cannot be read", "err", err)
		return
	}
	indexes := []int32{loopback}
	for _, l := range r.links {
		indexes = append(indexes, int32(l.index))
	}
	w.indexes.Store(&indexes)
	st := s.State()
	if was.Known && was.LinkWhy != st.LinkWhy {
		s.log.Info("link changed", "up", st.LinkUp, "why", st.LinkWhy)
	}
	s.tendGuard(ctx)
	w.listeners.tend(s, r)
	s.watching.Store(w.live.Load())
	if replaced := s.tendSenders(r); replaced || (was.Known && !was.LinkUp && st.LinkUp) {
		s.announceAgain()
	}
}

// keepPromoting sets promote_secondaries again where somebody cleared it while a
// VIP is bound: its expiry needs it, and nobody may be there then.
func (s *Set) keepPromoting() {
	for _, c := range rightCopies(s.State()) {
		if c.Permanent || !c.Prefix.Addr().Is4() || c.Prefix.IsSingleIP() {
			continue
		}
		if err := promoteSecondaries(c.Device); err != nil {
			s.log.Warn("host address is at risk", "iface", c.Device, "err", err)
		}
	}
}

// A watcher wakes its reader when the kernel reports something about a VIP or
// one of the devices. What it was is read from the kernel, not from the report:
// reports may be lost.
type watcher struct {
	specs   []Spec
	indexes atomic.Pointer[[]int32] // of the devices, as last seen
	wake    chan struct{}           // one slot
	live    atomic.Bool             // it hears of every change

	listeners listeners // of the goroutine that reads wake
}

// loopback is the index of lo in every network namespace, LOOPBACK_IFINDEX in
// include/net/flow.h of the kernel.
const loopback = 1

// run receives until ctx ends. lost is told of each error; the reports that it
// cost are made up for by waking the reader.
func (w *watcher) run(ctx context.Context, lost func(error)) {
	for {
		err := w.receive(ctx)
		if ctx.Err() != nil {
			return
		}
		lost(err)
		signal(w.wake)
		select {
		case <-ctx.Done():
			return
		case <-time.After(resubscribe):
		}
	}
}

func (w *watcher) receive(ctx context.Context) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_TC)
	if err != nil {
		return fmt.Errorf("subscribe to links and addresses: %w", err)
	}
	// Closing the socket is what ends a Receive.
	stop := context.AfterFunc(ctx, socket.Close)
	defer func() {
		if stop() {
			socket.Close()
		}
	}()
	w.live.Store(true)
	defer w.live.Store(false)
	signal(w.wake) // what happened before the subscription
	return w.listen(socket)
}

// listen receives until the socket fails or is closed.
func (w *watcher) listen(socket *nl.NetlinkSocket) error {
	for {
		messages, from, err := socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// The queue overflowed, and the socket goes on: netlink(7).
			signal(w.wake)
			continue
		case err != nil:
			return fmt.Errorf("receive links and addresses: %w", err)
		case from.Pid != nl.PidKernel:
			continue
		}
		if slices.ContainsFunc(messages, w.concerns) {
			signal(w.wake)
		}
	}
}

// concerns reports whether a message is about a VIP or one of the devices. One
// that cannot be parsed is.
func (w *watcher) concerns(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return w.concernsAddress(m.Data)
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return w.concernsLink(m.Data)
	case unix.RTM_DELQDISC, unix.RTM_DELTFILTER: // perhaps the fence's
		return w.concernsTC(m.Data)
	}
	return false
}

// concernsTC reads a struct tcmsg, linux/rtnetlink.h.
func (w *watcher) concernsTC(data []byte) bool {
	if len(data) < nl.SizeofTcMsg {
		return true
	}
	return slices.Contains(*w.indexes.Load(), nl.DeserializeTcMsg(data).Ifindex)
}

func (w *watcher) concernsAddress(data []byte) bool {
	if len(data) < unix.SizeofIfAddrmsg {
		return true
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return true
	}
	for _, a := range attrs {
		if a.Attr.Type != unix.IFA_ADDRESS && a.Attr.Type != unix.IFA_LOCAL {
			continue
		}
		if ip, ok := netip.AddrFromSlice(a.Value); ok && slices.ContainsFunc(w.specs, func(s Spec) bool { return s.Prefix.Addr() == ip }) {
			return true
		}
	}
	return false
}

func (w *watcher) concernsLink(data []byte) bool {
	if len(data) < unix.SizeofIfInfomsg {
		return true
	}
	if slices.Contains(*w.indexes.Load(), nl.DeserializeIfInfomsg(data).Index) {
		return true
	}
	attrs, err := nl.ParseRouteAttr(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return true
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_IFNAME {
			name := unix.ByteSliceToString(a.Value)
			return slices.ContainsFunc(w.specs, func(s Spec) bool { return s.Device == name })
		}
	}
	return false
}
