package fence

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tcx attaches programs by links of kernel 6.6 (BPF_TCX_INGRESS in linux/bpf.h).
// A link is pinned, and its program replaced without a moment between.
type tcx struct {
	place place
	links map[side]link.Link
}

func newTCX(p place) *tcx { return &tcx{place: p, links: make(map[side]link.Link)} }

func (*tcx) kind() Kind { return TCX }

func attachType(s side) ebpf.AttachType {
	if s.egress {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// adopt takes the pinned link, and reports whether it is attached.
func (t *tcx) adopt(s side) (bool, error) {
	if t.links[s] != nil {
		return true, nil
	}
	path := t.place.side(s)
	o, err := load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l, ok := o.(link.Link)
	if !ok {
		return false, errors.Join(foreign(path, "it is of a fence of kind clsact: `leasehold release --purge` first"), o.Close())
	}
	attached, err := attachedHere(l, s, path)
	if err != nil || !attached {
		return false, errors.Join(err, l.Close())
	}
	t.links[s] = l
	return true, nil
}

// attachedHere reports whether the link is on that side, in this network
// namespace: a link says only its device's number.
func attachedHere(l link.Link, s side, path string) (bool, error) {
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	at := info.TCX()
	if at.Ifindex == 0 {
		return false, nil // detached, or its device has gone
	}
	if int(at.Ifindex) != s.index || ebpf.AttachType(at.AttachType) != attachType(s) {
		return false, foreign(path, fmt.Sprintf("it is attached to device %d, direction %d", at.Ifindex, at.AttachType))
	}
	here, err := link.QueryPrograms(link.QueryOptions{Target: s.index, Attach: attachType(s)})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return false, explain(err, "query the programs of a device")
	}
	if here != nil {
		for _, p := range here.Programs {
			if id, ok := p.LinkID(); ok && id == info.ID {
				return true, nil
			}
		}
	}
	return false, foreign(path, "it is of another network namespace: each needs a bpf_dir of its own")
}

// put attaches the program before all others and pins it, or replaces the one
// that is there.
func (t *tcx) put(s side, p *ebpf.Program) error {
	if l := t.links[s]; l != nil {
		err := l.Update(p)
		if err == nil {
			return t.pin(s, l)
		}
		if !errors.Is(err, unix.ENOLINK) {
			return explain(err, "replace the program")
		}
		if err := t.drop(s); err != nil { // detached under our hands
			return err
		}
	}
	if err := removePin(t.place.side(s)); err != nil { // of a link that is dead
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: s.index, Program: p, Attach: attachType(s), Anchor: link.Head()})
	if err != nil {
		return explain(err, "attach the program")
	}
	if err := t.pin(s, l); err != nil {
		return errors.Join(err, l.Close()) // which detaches it
	}
	t.links[s] = l
	return nil
}

// pin pins the link if it is not.
func (t *tcx) pin(s side, l link.Link) error {
	path := t.place.side(s)
	if is, err := exists(path); err != nil || is {
		return err
	}
	if err := l.Unpin(); err != nil { // the library believes its pin is there
		return err
	}
	if err := l.Pin(path); err != nil {
		return explain(err, "pin the program at "+path)
	}
	return nil
}

// check reports what is wrong; "" nothing.
func (t *tcx) check(s side, program ebpf.ProgramID) (string, error) {
	l := t.links[s]
	if l == nil {
		return "not attached", nil
	}
	info, err := l.Info()
	if err != nil {
		return "", err
	}
	switch at := info.TCX(); {
	case at == nil || int(at.Ifindex) != s.index:
		return "detached", nil
	case info.Program != program:
		return "another program is in its place", nil
	}
	return pinned(t.place.side(s))
}

// drop detaches and unpins.
func (t *tcx) drop(s side) error {
	if adopted, err := t.adopt(s); err != nil {
		return err
	} else if adopted {
		l := t.links[s]
		delete(t.links, s)
		// Detach, because another process may hold the link as well.
		if err := errors.Join(l.Detach(), l.Close()); err != nil && !errors.Is(err, unix.ENOLINK) {
			return explain(err, "detach the program")
		}
	}
	return removePin(t.place.side(s))
}

func (t *tcx) close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	t.links = nil
	return errors.Join(errs...)
}
