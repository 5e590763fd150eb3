package vrrpcompat

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vmacAlias begins the alias (ip link set alias) of an interface that is ours to
// adopt, change and remove.
const vmacAlias = "leasehold"

// addrGenNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: no link-local address
// of its own.
const addrGenNone = 1

// VirtualMAC returns the MAC address of a virtual router, RFC 9568 section 7.3.
func VirtualMAC(vrid uint8, v6 bool) net.HardwareAddr {
	if v6 {
		return net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x02, vrid}
	}
	return net.HardwareAddr{0x00, 0x00, 0x5e, 0x00, 0x01, vrid}
}

// OpenVMAC makes the interface with the virtual MAC address of a router, on which
// its VIPs go (keepalived's use_vmac), and returns its name: vrrp.51 for IPv4, as
// with keepalived, vrrp6.51 for IPv6. It adopts the one that an earlier run left,
// and refuses one that is not ours. The interface has no address, so far, and sends
// nothing.
//
// A Conn listens on the base interface, and has this one as SocketOptions.Via. The
// interface is a macvlan in VEPA mode and not in private mode, keepalived's: there
// the kernel takes the adverts of a peer that has the same virtual MAC address away
// from the base interface, and gives them to the macvlan alone (macvlan_handle_frame
// in drivers/net/macvlan.c), so that one has to listen there, and to join the group
// there: a report of IGMP or MLD would go out with the virtual MAC address, and
// switches would send the VIPs' traffic to a Backup. In VEPA mode the base interface
// hears every peer.
//
// The VIPs are best bound with prefix length 32 or 128, keepalived's default: with
// the network's own the host would have two routes to it, and might leave by the
// one with the virtual MAC address also when it is Backup.
//
// For IPv4 two settings of the base interface change until RemoveVMAC: arp_ignore,
// so that it does not answer for the VIP with its own MAC address, and arp_announce,
// so that it does not ask in the VIP's name: whom it asks would learn that the VIP is
// at its own MAC address.
func OpenVMAC(base string, vrid uint8, v6 bool) (name string, err error) {
	v := vmac{base: base, name: VMACName(vrid, v6), mac: VirtualMAC(vrid, v6), v6: v6}
	if err := v.open(); err != nil {
		return "", fmt.Errorf("virtual MAC address %s on %s: %w", v.mac, base, err)
	}
	return v.name, nil
}

// RemoveVMAC removes the interface of OpenVMAC, and with the last one of a base
// interface gives that its settings back. It is no error where there is none.
func RemoveVMAC(base string, vrid uint8, v6 bool) error {
	v := vmac{base: base, name: VMACName(vrid, v6), mac: VirtualMAC(vrid, v6), v6: v6}
	if err := v.remove(); err != nil {
		return fmt.Errorf("remove virtual MAC address %s from %s: %w", v.mac, base, err)
	}
	return nil
}

// VMACName returns the name of the interface of OpenVMAC.
func VMACName(vrid uint8, v6 bool) string {
	if v6 {
		return fmt.Sprintf("vrrp6.%d", vrid)
	}
	return fmt.Sprintf("vrrp.%d", vrid)
}

// A vmac is the interface of a virtual MAC address.
type vmac struct {
	base, name string
	mac        net.HardwareAddr
	v6         bool
}

func (v vmac) open() error {
	parent, err := netlink.LinkByName(v.base)
	if err != nil {
		return explainSocket("find it", err)
	}
	link, err := v.adopt(parent)
	if err != nil {
		return err
	}
	if link == nil {
		if link, err = v.create(parent); err != nil {
			return err
		}
	}
	if err := v.mark(link, parent); err != nil {
		return err
	}
	if err := v.settle(link); err != nil {
		return err
	}
	if err := silenceReports(link.Attrs().Index); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", v.name, err)
	}
	return nil
}

// adopt returns the interface that is there; nil: there is none any more.
func (v vmac) adopt(parent netlink.Link) (netlink.Link, error) {
	link, err := netlink.LinkByName(v.name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find %s: %w", v.name, err)
	case v.fits(link, parent) && (v.ours(link) || v.unfinished(link)):
		return link, nil
	case !v.ours(link):
		return nil, fmt.Errorf("%s is there and not of Leasehold, perhaps of a keepalived on this host, and both would answer for the VIPs; stop that, and remove the interface (ip link del %s)", v.name, v.name)
	}
	if err := netlink.LinkDel(link); err != nil { // of another base interface, or of another mode
		return nil, fmt.Errorf("make %s anew: delete: %w", v.name, err)
	}
	return nil, nil
}

// fits reports whether a link is as create makes it.
func (v vmac) fits(link, parent netlink.Link) bool {
	m, ok := link.(*netlink.Macvlan)
	return ok && m.Mode == netlink.MACVLAN_MODE_VEPA && m.ParentIndex == parent.Attrs().Index && m.HardwareAddr.String() == v.mac.String()
}

func (vmac) ours(link netlink.Link) bool { return strings.HasPrefix(link.Attrs().Alias, vmacAlias) }

// unfinished reports whether a link that fits is one that create has made and
// nobody came to mark. keepalived has none of that mode.
func (vmac) unfinished(link netlink.Link) bool {
	a := link.Attrs()
	return a.Alias == "" && a.Flags&net.FlagUp == 0
}

func (v vmac) create(parent netlink.Link) (netlink.Link, error) {
	link := &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: v.name, ParentIndex: parent.Attrs().Index, HardwareAddr: v.mac},
		Mode:      netlink.MACVLAN_MODE_VEPA,
	}
	const text = "add the macvlan %s: %w: %s"
	switch err := netlink.LinkAdd(link); {
	case errors.Is(err, unix.EPERM):
		return nil, fmt.Errorf(text, v.name, err, "making interfaces needs CAP_NET_ADMIN; run as root, or set AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW in the unit")
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf(text, v.name, err, "this kernel has no macvlan (modprobe macvlan); without it take use_vmac out: peers with and without it go together")
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
		return nil, fmt.Errorf(text, v.name, err, "an interface that is the port of a bridge or a bond, or no Ethernet, cannot have one; write interface with the bridge or bond itself, or take use_vmac out")
	case err != nil:
		return nil, fmt.Errorf("add the macvlan %s: %w", v.name, err)
	}
	made, err := netlink.LinkByName(v.name)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", v.name, err)
	}
	return made, nil
}

func (v vmac) remove() error {
	link, err := netlink.LinkByName(v.name)
	var missing netlink.LinkNotFoundError
	switch {
	case errors.As(err, &missing):
		return nil
	case err != nil:
		return fmt.Errorf("find %s: %w", v.name, err)
	case !v.ours(link):
		return fmt.Errorf("%s is not of Leasehold; remove it by hand if nobody uses it (ip link del %s)", v.name, v.name)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("delete %s: %w", v.name, err)
	}
	return v.giveBack(link)
}
