package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bridgeName is the switch's bridge device, in the switch's own namespace. Its
// ports are called after the hosts' keys.
const bridgeName = "br0"

// switchKey is what the switch's namespace is called after the lab.
const switchKey = "switch"

// seat is a host and where it sits.
type seat struct {
	Host
	ns *namespace
	nl *netlink.Handle // opened in ns

	responder sync.Mutex
	responds  bool // its responder runs
}

// network is a switch, in a namespace of its own, and the hosts plugged into it.
type network struct {
	sw     *namespace
	swNL   *netlink.Handle
	seats  []*seat
	faults faults

	detours detours
}

var labs atomic.Int64 //nolint:gochecknoglobals // numbers the labs of this process

// nextName returns a name that no other lab on this machine uses now.
func nextName() string { return fmt.Sprintf("lh%d-%d", os.Getpid(), labs.Add(1)) }

// buildNetwork makes the namespaces at once (the kernel takes a few
// milliseconds for each), then plugs the hosts in.
func buildNetwork(name string, hosts []Host, ipv6 bool) (n *network, err error) {
	n = &network{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build the test network: %w", err), n.close())
			n = nil
		}
	}()
	for _, h := range append(slices.Clone(hosts), Host{Key: observer, Name: observer}) {
		n.seats = append(n.seats, &seat{Host: h})
	}
	if err := n.makeNamespaces(name); err != nil {
		return n, err
	}
	if n.swNL, err = n.sw.netlink(); err != nil {
		return n, err
	}
	off := false
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}, MulticastSnooping: &off}
	if err := n.swNL.LinkAdd(bridge); err != nil {
		return n, fmt.Errorf("add bridge: %w", err)
	}
	if err := n.swNL.LinkSetUp(bridge); err != nil {
		return n, fmt.Errorf("set the bridge up: %w", err)
	}
	for _, s := range n.seats {
		if err := n.plug(s, bridge, ipv6); err != nil {
			return n, fmt.Errorf("host %s: %w", s.Key, err)
		}
	}
	return n, nil
}

func (n *network) makeNamespaces(name string) error {
	var wg sync.WaitGroup
	errs := make([]error, len(n.seats)+1)
	for i, s := range n.seats {
		wg.Go(func() {
			if s.ns, errs[i] = newNamespace(name + "-" + s.Key); errs[i] != nil {
				return
			}
			// Settings of a new interface are copied from "default": an address
			// is there at once, without waiting for duplicate detection.
			errs[i] = s.ns.sysctl6("accept_dad", "0")
		})
	}
	wg.Go(func() {
		last := len(errs) - 1
		if n.sw, errs[last] = newNamespace(name + "-" + switchKey); errs[last] == nil {
			errs[last] = n.sw.sysctl6("disable_ipv6", "1")
		}
	})
	wg.Wait()
	return errors.Join(errs...)
}

// plug makes a cable from the switch to the host's eth0 and gives eth0 the
// host's own address.
func (n *network) plug(s *seat, bridge *netlink.Bridge, ipv6 bool) error {
	var err error
	if s.nl, err = s.ns.netlink(); err != nil {
		return err
	}
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: s.Key, MasterIndex: bridge.Attrs().Index, Flags: net.FlagUp},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(s.ns.file.Fd()), PeerHardwareAddr: s.MAC(),
	}
	if err := n.swNL.LinkAdd(cable); err != nil {
		return fmt.Errorf("add cable: %w", err)
	}
	if err := n.swNL.LinkSetUp(cable); err != nil {
		return fmt.Errorf("set the switch's port up: %w", err)
	}
	for _, dev := range []string{"lo", "eth0"} {
		link, err := s.nl.LinkByName(dev)
		if err != nil {
			return fmt.Errorf("find %s: %w", dev, err)
		}
		if err := s.nl.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", dev, err)
		}
		if dev == "lo" {
			continue
		}
		own := []netip.Prefix{s.Addr}
		if ipv6 {
			own = append(own, s.Addr6)
		}
		for _, p := range own {
			if !p.IsValid() {
				continue
			}
			// Without detection and without the flag it is tentative for a moment all the
			// same, until the kernel gets to it (addrconf_dad_work in
			// net/ipv6/addrconf.c): who connects meanwhile does it from ::1.
			if err := s.nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}); err != nil {
				return fmt.Errorf("add %s: %w", p, err)
			}
		}
	}
	return nil
}

func (n *network) seat(key string) (*seat, error) {
	for _, s := range n.seats {
		if s.Key == key {
			return s, nil
		}
	}
	return nil, fmt.Errorf("the lab has no host %q", key)
}

// close removes the namespaces; the kernel removes their links with them.
func (n *network) close() error {
	var wg sync.WaitGroup
	errs := make([]error, len(n.seats)+1)
	for i, s := range n.seats {
		if s.nl != nil {
			s.nl.Close()
		}
		if s.ns != nil {
			wg.Go(func() { errs[i] = s.ns.close() })
		}
	}
	if n.swNL != nil {
		n.swNL.Close()
	}
	if n.sw != nil {
		wg.Go(func() { errs[len(errs)-1] = n.sw.close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (ns *namespace) netlink() (h *netlink.Handle, err error) {
	err = ns.do(func() error {
		h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return h, err
}

// sysctl6 writes a setting of new interfaces in /proc/sys/net, which shows the
// namespace of the thread that opens it. A kernel without IPv6 has none.
func (ns *namespace) sysctl6(key, value string) error {
	return ns.do(func() error {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+key, []byte(value), 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addrs returns the addresses of the host, on all devices.
func (s *seat) addrs() ([]netip.Addr, error) {
	list, err := s.nl.AddrList(nil, netlink.FAMILY_ALL)
	for errors.Is(err, netlink.ErrDumpInterrupted) { // they changed meanwhile
		list, err = s.nl.AddrList(nil, netlink.FAMILY_ALL)
	}
	var addrs []netip.Addr
	for _, a := range list {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			addrs = append(addrs, ip.Unmap())
		}
	}
	return addrs, err
}
