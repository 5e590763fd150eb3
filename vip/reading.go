package vip

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
	"leasehold/vip/fence"
)

// A Copy is an address that equals a VIP, on any device of this network
// namespace, with any prefix length and label.
type Copy struct {
	Prefix        netip.Prefix
	Device, Label string // Label is empty for IPv6
	// Right: device, prefix length and label are the configured ones.
	Right bool
	// Permanent: nothing will remove it when this host dies or hangs.
	Permanent bool
	// ValidLft and PreferredLft are what was left of the kernel lifetimes, in
	// whole seconds; zero when Permanent.
	ValidLft, PreferredLft time.Duration
}

// String is how logs and errors name a copy.
func (c Copy) String() string {
	s := c.Prefix.String() + " dev " + c.Device
	if c.Label != "" {
		s += " label " + c.Label
	}
	return s
}

// Read returns every copy of every VIP that the kernel has now. It needs no
// capability.
func Read(specs []Spec) ([]Copy, error) {
	r, err := read(&netlink.Handle{}, specs)
	if err != nil {
		return nil, err
	}
	return r.list(), nil
}

// A link is what this package needs of a device.
type link struct {
	index    int
	hardware net.HardwareAddr
	up       bool // administratively
	carrier  bool
	loopback bool
	silent   bool // no ARP or NDP here: loopback, tunnels, noarp
	wire     port
}

// A port is where it is asked and heard who else has the VIPs of a device: the
// device itself, but for an interface with the MAC address of a virtual router the
// one below. Another router has the same MAC address, so that what it says does not
// get to the interface (macvlan_handle_frame in drivers/net/macvlan.c), and what is
// answered has to go to an address that this host alone has.
type port struct {
	index    int
	hardware net.HardwareAddr
}

// same reports whether sockets and frames for one are right for the other.
func (l link) same(o link) bool {
	return l.index == o.index && bytes.Equal(l.hardware, o.hardware) &&
		l.wire.index == o.wire.index && bytes.Equal(l.wire.hardware, o.wire.hardware)
}

// A found is a copy and what it takes to delete it.
type found struct {
	Copy
	spec      int // which of the specs it is a copy of
	secondary bool
	loopback  bool // on the loopback device
	address   netlink.Addr
}

// A reading is what the kernel had at one moment.
type reading struct {
	at        boottime.Instant // before the first question was asked
	links     map[string]link  // the configured devices that exist
	addresses []netlink.Addr   // all of this namespace
	found     []found
}

// readTries bounds the repeats of a dump that changes broke into.
const readTries = 5

func read(h *netlink.Handle, specs []Spec) (*reading, error) {
	r := &reading{at: boottime.Now(), links: make(map[string]link, 1)}
	known := make(map[int]*netlink.LinkAttrs, 1)
	for _, s := range specs {
		if _, ok := r.links[s.Device]; ok {
			continue
		}
		l, err := h.LinkByName(s.Device)
		switch {
		case errors.As(err, new(netlink.LinkNotFoundError)):
			continue
		case err != nil:
			return nil, fmt.Errorf("read link %s: %w", s.Device, err)
		}
		if r.links[s.Device], err = wired(h, l); err != nil {
			return nil, err
		}
		known[l.Attrs().Index] = l.Attrs()
	}
	var err error
	for range readTries {
		r.addresses, err = h.AddrList(nil, unix.AF_UNSPEC)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	return r, r.find(h, specs, known)
}

// wired is newLink with the port below an interface of a virtual router.
func wired(h *netlink.Handle, l netlink.Link) (link, error) {
	k := newLink(l.Attrs())
	if l.Type() != "macvlan" || !fence.VirtualRouter(k.hardware) {
		return k, nil
	}
	below, err := h.LinkByIndex(l.Attrs().ParentIndex)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
		return k, nil // in another namespace, or just gone, and the interface with it
	case err != nil:
		return k, fmt.Errorf("read the link below %s: %w", l.Attrs().Name, err)
	}
	k.wire = newLink(below.Attrs()).wire
	return k, nil
}

func newLink(a *netlink.LinkAttrs) link {
	return link{
		index:    a.Index,
		hardware: slices.Clone(a.HardwareAddr),
		up:       a.RawFlags&unix.IFF_UP != 0,
		// LOWER_UP alone would do but for a port that is not yet let in
		// (802.1X), which is up and not running; netdevice(7).
		carrier:  a.RawFlags&unix.IFF_LOWER_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
		loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		silent:   a.RawFlags&(unix.IFF_LOOPBACK|unix.IFF_NOARP|unix.IFF_POINTOPOINT) != 0 || len(a.HardwareAddr) != 6,
		wire:     port{a.Index, slices.Clone(a.HardwareAddr)},
	}
}

// find picks the copies out of the addresses.
func (r *reading) find(h *netlink.Handle, specs []Spec, known map[int]*netlink.LinkAttrs) error {
	for _, a := range r.addresses {
		ip, ok := addrOf(a)
		i := slices.IndexFunc(specs, func(s Spec) bool { return s.Prefix.Addr() == ip })
		if !ok || i < 0 {
			continue
		}
		device, ok := known[a.LinkIndex]
		if !ok {
			l, err := h.LinkByIndex(a.LinkIndex)
			switch {
			case errors.As(err, new(netlink.LinkNotFoundError)):
				continue // the device went, and the address with it
			case err != nil:
				return fmt.Errorf("read link %d: %w", a.LinkIndex, err)
			}
			device = l.Attrs()
			known[a.LinkIndex] = device
		}
		f := newFound(a, ip, device.Name, i, specs[i])
		f.loopback = newLink(device).loopback
		r.found = append(r.found, f)
	}
	return nil
}

func newFound(a netlink.Addr, ip netip.Addr, device string, i int, s Spec) found {
	mask := a.Mask
	if a.Peer != nil {
		mask = a.Peer.Mask
	}
	bits, _ := mask.Size()
	f := found{spec: i, address: a, Copy: Copy{
		Prefix:    netip.PrefixFrom(ip, bits),
		Device:    device,
		Label:     a.Label,
		Permanent: a.Flags&unix.IFA_F_PERMANENT != 0,
	}}
	if ip.Is4() {
		f.secondary = a.Flags&unix.IFA_F_SECONDARY != 0
		if f.Label == "" { // a label equal to the name may be left out
			f.Label = device
		}
	}
	if !f.Permanent {
		f.ValidLft, f.PreferredLft = time.Duration(a.ValidLft)*time.Second, time.Duration(a.PreferedLft)*time.Second
	}
	// An address that failed duplicate detection is there and does not answer.
	f.Right = device == s.Device && bits == s.Prefix.Bits() && f.Label == s.label() &&
		a.Peer == nil && a.Flags&unix.IFA_F_DADFAILED == 0
	return f
}

func addrOf(a netlink.Addr) (netip.Addr, bool) {
	if a.IPNet == nil {
		return netip.Addr{}, false
	}
	ip, ok := netip.AddrFromSlice(a.IP)
	return ip.Unmap(), ok
}

// prefixOf returns the address with its prefix length, that of the peer where
// it has one.
func prefixOf(a netlink.Addr) netip.Prefix {
	ip, _ := addrOf(a)
	mask := a.Mask
	if a.Peer != nil {
		mask = a.Peer.Mask
	}
	bits, _ := mask.Size()
	return netip.PrefixFrom(ip, bits)
}

func (r *reading) list() []Copy {
	copies := make([]Copy, len(r.found))
	for i, f := range r.found {
		copies[i] = f.Copy
	}
	return copies
}

// right returns the copy of spec i that is as configured, nil when there is
// none.
func (r *reading) right(i int) *found {
	for n := range r.found {
		if f := &r.found[n]; f.spec == i && f.Right {
			return f
		}
	}
	return nil
}

// isVIP reports whether the address is a copy of one of the VIPs.
func (r *reading) isVIP(a netlink.Addr) bool {
	ip, _ := addrOf(a)
	return slices.ContainsFunc(r.found, func(f found) bool { return f.Prefix.Addr() == ip })
}

// others returns the addresses on f's device that are no copies of a VIP.
func (r *reading) others(f found) []netlink.Addr {
	var others []netlink.Addr
	for _, a := range r.addresses {
		if a.LinkIndex == f.address.LinkIndex && !r.isVIP(a) {
			others = append(others, a)
		}
	}
	return others
}

// hasSubnet reports whether a device has an address of p's subnet that is no
// copy of a VIP: for IPv4 one that would make p a secondary.
func (r *reading) hasSubnet(index int, p netip.Prefix) bool {
	return slices.ContainsFunc(r.addresses, func(a netlink.Addr) bool {
		return a.LinkIndex == index && !r.isVIP(a) && prefixOf(a).Masked() == p.Masked()
	})
}

// linkWhy returns why not every VIP's device can carry it, "" when all can.
func (r *reading) linkWhy(specs []Spec) string {
	var why []string
	for _, s := range specs {
		text := ""
		switch l, ok := r.links[s.Device]; {
		case !ok:
			text = s.Device + " does not exist"
		case !l.up:
			text = s.Device + ": down"
		case !l.carrier:
			text = s.Device + ": no carrier"
		}
		if text != "" && !slices.Contains(why, text) {
			why = append(why, text)
		}
	}
	return strings.Join(why, "; ")
}
