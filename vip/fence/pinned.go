package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Read returns the state of the fence of a VIP that is pinned below dir. It fails
// with fs.ErrNotExist when there is none, and ErrForeign or ErrRefused like Open.
// A device that has gone is named by its number. It changes nothing.
func Read(dir string, addr netip.Addr) (State, error) {
	addr = addr.Unmap().WithZone("")
	p := placeOf(dir, addr)
	d, err := adoptDeadline(p)
	if err != nil {
		return State{}, fmt.Errorf("fence of %s: %w", addr, err)
	}
	defer func() { _ = d.close() }() // it was only read
	s := d.state()
	if s.Kind, err = p.kind(); err != nil {
		return State{}, fmt.Errorf("fence of %s: %w", addr, err)
	}
	all, err := p.sides()
	if err != nil {
		return State{}, fmt.Errorf("fence of %s: %w", addr, err)
	}
	for _, at := range all {
		name := strconv.Itoa(at.index)
		if i, err := net.InterfaceByIndex(at.index); err == nil {
			name = i.Name
		}
		if !slices.Contains(s.Devices, name) {
			s.Devices = append(s.Devices, name)
		}
	}
	return s, nil
}

// ShutPinned shuts the fence of a VIP that is pinned below dir, and reads back
// that it is. There is nothing to do when there is none. A process that has it
// open finds out by ErrTaken.
func ShutPinned(dir string, addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	d, err := adoptDeadline(placeOf(dir, addr))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(d.shut(), d.close())
	}
	if err != nil {
		return fmt.Errorf("fence of %s: %w", addr, err)
	}
	return nil
}

func adoptDeadline(p place) (*deadline, error) {
	m, err := loadMap(p.deadline())
	if err != nil {
		return nil, err
	}
	d, err := mapDeadline(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return d, nil
}

// Purge takes away every fence below dir, of every version: programs, filters and
// qdiscs of ours, pins, and dir itself when nothing else is in it. The caller has
// deleted the addresses: without its fence a VIP is answered for. What is not ours
// stays, and makes it fail with ErrForeign. removed says what went, also then.
// Where dir does not exist there is nothing to do.
func Purge(dir string) (removed []string, err error) {
	dir = filepath.Clean(dir)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("purge the fences: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if addr, ok := parseAddr(e.Name()); ok {
			gone, err := purgeVIP(placeOf(dir, addr), addr)
			removed, errs = append(removed, gone...), append(errs, err)
		}
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), markPrefix)
		index, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		gone, err := removeQdisc(dir, index)
		if gone {
			removed = append(removed, fmt.Sprintf("clsact qdisc of device %d", index))
		}
		errs = append(errs, err)
	}
	gone, err := removeDir(dir)
	if gone {
		removed = append(removed, dir)
	}
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("purge the fences: %w", err)
	}
	return removed, nil
}

// removeDir removes a directory of ours, unless it is a mount point or something
// is in it that is not ours.
func removeDir(dir string) (bool, error) {
	err := os.Remove(dir)
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, unix.ENOTEMPTY):
		return false, fmt.Errorf("%w: %s is not empty", ErrForeign, dir)
	}
	return err == nil, err
}

func purgeVIP(p place, addr netip.Addr) (removed []string, err error) {
	entries, err := os.ReadDir(string(p))
	if err != nil {
		return nil, err
	}
	var errs []error
	deadline := false
	for _, e := range entries {
		path := filepath.Join(string(p), e.Name())
		s, ok := parseSide(strings.TrimSuffix(e.Name(), "_new"))
		switch {
		case ok:
			err = purgeSide(path, s, addr)
		case e.Name() == filepath.Base(p.deadline()):
			deadline = true // last, so that a purge that fails can be repeated
			continue
		default:
			err = foreign(path, "unknown")
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, path)
	}
	if deadline {
		if err := purgeMap(p.deadline()); err != nil {
			errs = append(errs, err)
		} else {
			removed = append(removed, p.deadline())
		}
	}
	if len(errs) == 0 {
		_, err := removeDir(string(p))
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// purgeSide takes away a link, or a program and its filter.
func purgeSide(path string, s side, addr netip.Addr) error {
	o, err := load(path)
	if err != nil {
		return err
	}
	defer o.Close()
	if l, ok := o.(link.Link); ok {
		info, err := l.Info()
		if err != nil {
			return err
		}
		if info.TCX().Ifindex != 0 {
			if err := l.Detach(); err != nil {
				return explain(err, "detach "+path)
			}
		}
	} else if err := dropFilter(s, filterName(addr)); err != nil {
		return err
	}
	return removePin(path)
}

// purgeMap removes the pin of a fence's map, of whatever version.
func purgeMap(path string) error {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return explain(err, "read "+path)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(info.Name, mapPrefix) {
		return foreign(path, fmt.Sprintf("it is a map %q", info.Name))
	}
	return removePin(path)
}
