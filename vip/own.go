package vip

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrOwnAddress says that a VIP equals an address that seems to be the host's
// own. It is neither bound nor removed then.
var ErrOwnAddress = errors.New("is the host's own address")

// OwnAddress returns an error that wraps ErrOwnAddress when one of the VIPs
// equals an address of this host that does not look like a left-over VIP, and
// nil when none does. Taking such an address away could cut the host off.
//
// The kernel keeps no owner, so the marks are these. The host's own address is
// permanent (we bind none so), has the device's plain name for a label, is not
// a secondary, is not on the loopback device, and no other permanent primary
// address of its device covers it. Any other copy is a left-over: ifcfg-eth0:1
// and ifconfig eth0:1 set a label; "ip addr add VIP" puts /32 beside the host's
// own /24; a second address of a subnet is a secondary. A left-over that is the
// first address of its device or subnet, unlabelled and permanent, cannot be
// told from the host's own: it is refused too, and the error says how to remove
// it.
func OwnAddress(specs []Spec) error {
	r, err := read(&netlink.Handle{}, specs)
	if err != nil {
		return err
	}
	for _, f := range r.found {
		if r.own(f) {
			return ownError(f)
		}
	}
	return nil
}

func ownError(f found) error {
	return fmt.Errorf("VIP %s %w (%s, permanent): it must be free to move to another host; configure another VIP, or if it was left over: ip addr del %s dev %s",
		f.Prefix.Addr(), ErrOwnAddress, f.Copy, f.Prefix, f.Device)
}

func (r *reading) own(f found) bool {
	if !f.Permanent || f.secondary || f.loopback || (f.Prefix.Addr().Is4() && f.Label != f.Device) {
		return false
	}
	for _, a := range r.others(f) {
		secondary := f.Prefix.Addr().Is4() && a.Flags&unix.IFA_F_SECONDARY != 0
		if a.Flags&unix.IFA_F_PERMANENT != 0 && !secondary && prefixOf(a).Contains(f.Prefix.Addr()) {
			return false
		}
	}
	return true
}
