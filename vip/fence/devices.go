package fence

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
)

// loopIndex is the loopback device's index in every network namespace,
// LOOPBACK_IFINDEX in include/net/flow.h.
const loopIndex = 1

// mostMACs bounds the program: five instructions for each.
const mostMACs = 64

// A device is one that is to be fenced.
type device struct {
	index int
	name  string
	role  role
}

// A side is where one program goes.
type side struct {
	index  int
	egress bool
}

func (d device) sides() [2]side { return [2]side{{d.index, false}, {d.index, true}} }

// A host is what has to be fenced at the moment.
type host struct {
	devices []device // the first is the VIP's own, the second the loopback device
	macs    [][6]byte
}

// required are the devices without which there is no fence.
func (h host) required() []device { return h.devices[:2] }

// survey lists the devices of the calling thread's network namespace.
func survey(own string) (host, error) {
	links, err := listLinks()
	if err != nil {
		return host{}, fmt.Errorf("list the network devices: %w", err)
	}
	i := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Attrs().Name == own })
	if i < 0 {
		return host{}, fmt.Errorf("device %s does not exist", own)
	}
	if a := links[i].Attrs(); a.EncapType != "ether" {
		return host{}, fmt.Errorf("%w: %s has link type %s, and only Ethernet frames can be read", ErrRefused, own, a.EncapType)
	}
	h := host{devices: []device{
		{index: links[i].Attrs().Index, name: own, role: roleOwn},
		{index: loopIndex, name: "lo", role: roleLoop},
	}}
	h.addMAC(links[i])
	under := 0 // a macvlan: the host's routes may send by it. Else it may be an index elsewhere
	if links[i].Type() == "macvlan" {
		under = links[i].Attrs().ParentIndex
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Name == own || a.EncapType != "ether" || l.Type() == "veth" && a.Index != under {
			continue
		}
		h.addMAC(l)
		if a.MasterIndex == 0 {
			d := device{index: a.Index, name: a.Name, role: roleOther}
			if a.Index == under {
				d.role = roleBelow
			}
			h.devices = append(h.devices, d)
		}
	}
	return h, nil
}

// addMAC: a frame from any of the host's own devices is no foreign claim, were
// two of them on one segment. The MAC address of a virtual router all its routers
// share (RFC 9568 section 7.3): a frame that comes in with it is another's.
func (h *host) addMAC(l netlink.Link) {
	var m [6]byte
	if VirtualRouter(l.Attrs().HardwareAddr) {
		return
	}
	if copy(m[:], l.Attrs().HardwareAddr) == 6 && !slices.Contains(h.macs, m) && len(h.macs) < mostMACs {
		h.macs = append(h.macs, m)
	}
}

// VirtualRouter reports whether a MAC address is that of a virtual router, which all
// its routers share: RFC 9568 section 7.3.
func VirtualRouter(mac net.HardwareAddr) bool {
	return len(mac) == 6 && bytes.HasPrefix(mac, []byte{0x00, 0x00, 0x5e, 0x00}) && (mac[4] == 1 || mac[4] == 2)
}

// listLinks asks again when the list changed while it was read.
func listLinks() (links []netlink.Link, err error) {
	for range 5 {
		if links, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return links, err
}
