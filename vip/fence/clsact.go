package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clsact attaches programs as filters of the clsact qdisc, for kernels before
// 6.6. The pinned program keeps nothing in the kernel that the filter would not;
// it says that the filter is ours.
type clsact struct {
	place  place
	filter string // the name of our filters
}

// lastPriority bounds the search for a priority that no filter of another kind
// has; 1 is the first.
const lastPriority = 16

func newClsact(p place, addr netip.Addr) *clsact { return &clsact{p, filterName(addr)} }

func filterName(addr netip.Addr) string { return mapName + " " + addr.String() }

func (*clsact) kind() Kind { return Clsact }

func parent(egress bool) uint32 {
	if egress {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// find returns our filter on that side, nil without one.
func (c *clsact) find(s side) (*netlink.BpfFilter, error) {
	return findFilter(s, c.filter)
}

func findFilter(s side, name string) (*netlink.BpfFilter, error) {
	all, err := listFilters(s)
	for _, f := range all {
		if b, ok := f.(*netlink.BpfFilter); ok && b.Name == name {
			return b, nil
		}
	}
	return nil, err
}

// listFilters: no device or no qdisc has no filters.
func listFilters(s side) (all []netlink.Filter, err error) {
	at := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: s.index}}
	for range 5 {
		if all, err = netlink.FilterList(at, parent(s.egress)); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "list the filters of a device")
	}
	return all, nil
}

// adopt reports whether our filter is there, and pinned.
func (c *clsact) adopt(s side) (bool, error) {
	path := c.place.side(s)
	o, err := load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer o.Close()
	p, ok := o.(*ebpf.Program)
	if !ok {
		return false, foreign(path, "it is of a fence of kind tcx: `leasehold release --purge` first")
	}
	info, err := p.Info()
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	f, err := c.find(s)
	if err != nil || f == nil {
		return false, err
	}
	id, _ := info.ID()
	return f.Id == int(id), nil
}

// put adds the filter before all others, or replaces the one that is there, and
// pins the program.
func (c *clsact) put(s side, p *ebpf.Program) error {
	f, err := c.find(s)
	if err != nil {
		return err
	}
	if f != nil {
		err = netlink.FilterReplace(c.entry(s, p, f.Priority, f.Handle))
	} else {
		err = c.add(s, p)
	}
	if err != nil {
		return explain(err, "attach the program")
	}
	return c.pin(s, p)
}

func (c *clsact) entry(s side, p *ebpf.Program, priority uint16, handle uint32) *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: s.index,
			Parent:    parent(s.egress),
			Handle:    handle,
			Protocol:  unix.ETH_P_ALL,
			Priority:  priority,
		},
		Fd:           p.FD(),
		Name:         c.filter,
		DirectAction: true,
	}
}

func (c *clsact) add(s side, p *ebpf.Program) (err error) {
	if err := c.addQdisc(s.index); err != nil {
		return err
	}
	for priority := uint16(1); priority <= lastPriority; priority++ {
		// A priority is one kind's, and one protocol's (net/sched/cls_api.c).
		if err = netlink.FilterAdd(c.entry(s, p, priority, 0)); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EEXIST) {
			break
		}
	}
	return err
}

// addQdisc makes the clsact qdisc if there is none, and leaves a mark that it is
// ours to remove.
func (c *clsact) addQdisc(index int) error {
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}}
	err := netlink.QdiscAdd(q)
	if errors.Is(err, unix.EEXIST) {
		return isClsact(index)
	}
	if err != nil {
		return fmt.Errorf("add a clsact qdisc: %w", err)
	}
	if err := os.Mkdir(qdiscMark(filepath.Dir(string(c.place)), index), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// isClsact fails when the qdisc that is there has no egress: an ingress qdisc
// takes egress filters all the same, and runs them on ingress.
func isClsact(index int) error {
	all, err := netlink.QdiscList(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: index}})
	if err != nil {
		return fmt.Errorf("list the qdiscs: %w", err)
	}
	for _, q := range all {
		if q.Attrs().LinkIndex == index && q.Attrs().Parent == netlink.HANDLE_CLSACT && q.Type() != "clsact" {
			return fmt.Errorf("%w: the device has an %s qdisc, which has no egress: replace it by clsact, which does the same and more", ErrRefused, q.Type())
		}
	}
	return nil
}

// markPrefix begins the names of the directories that say which qdisc is ours.
const markPrefix = "qdisc_"

func qdiscMark(dir string, index int) string {
	return filepath.Join(dir, markPrefix+strconv.Itoa(index))
}

// removeQdisc removes a qdisc that we made and nobody uses, and its mark.
func removeQdisc(dir string, index int) (bool, error) {
	mark := qdiscMark(dir, index)
	if is, err := exists(mark); err != nil || !is {
		return false, err
	}
	for _, egress := range []bool{false, true} {
		all, err := listFilters(side{index, egress})
		if err != nil || len(all) > 0 {
			return false, err
		}
	}
	err := netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}})
	gone := errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
	if err != nil && !gone {
		return false, fmt.Errorf("delete the clsact qdisc of device %d: %w", index, err)
	}
	return !gone, removePin(mark)
}

// pin puts the program's pin in the place of the one before.
func (c *clsact) pin(s side, p *ebpf.Program) error {
	path := c.place.side(s)
	next := path + "_new"
	if err := removePin(next); err != nil {
		return err
	}
	if err := p.Pin(next); err != nil {
		return explain(err, "pin the program at "+path)
	}
	return os.Rename(next, path)
}

// check reports what is wrong; "" nothing.
func (c *clsact) check(s side, program ebpf.ProgramID) (string, error) {
	f, err := c.find(s)
	switch {
	case err != nil:
		return "", err
	case f == nil:
		return "not attached", nil
	case f.Id != int(program):
		return "another program is in its place", nil
	}
	return pinned(c.place.side(s))
}

// drop deletes the filter, and unpins.
func (c *clsact) drop(s side) error {
	if err := dropFilter(s, c.filter); err != nil {
		return err
	}
	if _, err := removeQdisc(filepath.Dir(string(c.place)), s.index); err != nil {
		return err
	}
	return removePin(c.place.side(s))
}

func dropFilter(s side, name string) error {
	f, err := findFilter(s, name)
	if err != nil || f == nil {
		return err
	}
	if err := netlink.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete the filter %q of device %d: %w", name, s.index, err)
	}
	return nil
}

func (*clsact) close() error { return nil }
