package fence

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
)

// Check reports whether the VIP's device and lo are fenced and everything is
// pinned: nil, an error that wraps ErrMissing and says what is not, or one that
// kept it from looking. It changes nothing.
func (f *Fence) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook == nil {
		return f.say(errClosed)
	}
	own, err := netlink.LinkByName(f.cfg.Device)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return f.say(fmt.Errorf("%w: device %s does not exist", ErrMissing, f.cfg.Device))
	}
	if err != nil {
		return f.say(fmt.Errorf("look up device %s: %w", f.cfg.Device, err))
	}
	var wrong []string
	if _, err := os.Lstat(f.place.deadline()); err != nil {
		wrong = append(wrong, "the deadline is not pinned")
	}
	for _, d := range []device{{index: own.Attrs().Index, name: f.cfg.Device}, {index: loopIndex, name: "lo"}} {
		for _, s := range d.sides() {
			what, err := f.checkSide(s)
			if err != nil {
				return f.say(err)
			}
			if what != "" {
				wrong = append(wrong, fmt.Sprintf("%s %s: %s", d.name, direction(s), what))
			}
		}
	}
	if len(wrong) > 0 {
		return f.say(fmt.Errorf("%w: %s", ErrMissing, strings.Join(wrong, ", ")))
	}
	return nil
}

func (f *Fence) checkSide(s side) (string, error) {
	have, ok := f.parts[s]
	if !ok {
		return "not attached", nil // the device was made anew
	}
	return f.hook.check(s, have.program)
}

func direction(s side) string {
	if s.egress {
		return "egress"
	}
	return "ingress"
}

// Rebuild shuts the fence, then puts back what Check misses, and tends to the
// other devices. The caller has deleted the addresses, and arms it anew.
func (f *Fence) Rebuild() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook == nil {
		return f.say(errClosed)
	}
	return f.say(f.rebuild())
}

func (f *Fence) rebuild() error {
	if err := f.deadline.shut(); err != nil {
		return err
	}
	h, err := survey(f.cfg.Device)
	if err != nil {
		return err
	}
	if err := makeDir(string(f.place)); err != nil {
		return err
	}
	if err := f.repin(); err != nil {
		return err
	}
	for s := range f.parts {
		what, err := f.checkSide(s)
		if err != nil {
			return err
		}
		if what != "" {
			delete(f.parts, s) // install puts it back
		}
	}
	if err := f.install(h); err != nil {
		return err
	}
	f.log.Warn("fence rebuilt", "vip", f.cfg.Addr, "devices", f.State().Devices)
	return nil
}

// repin pins the map again when its pin has gone.
func (f *Fence) repin() error {
	path := f.place.deadline()
	if is, err := exists(path); err != nil || is {
		return err
	}
	if err := f.deadline.m.Unpin(); err != nil { // the library believes its pin is there
		return err
	}
	if err := f.deadline.m.Pin(path); err != nil {
		return explain(err, "pin the map at "+path)
	}
	return nil
}

// Tend fences devices that appeared, lets go of those that went, and follows a
// change of the MACs. What is wrong with the required devices it leaves to Check
// and Rebuild. It never touches the deadline. A device that cannot be fenced is
// logged once; an error says that Tend could not look, or could not follow the
// MACs.
func (f *Fence) Tend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook == nil {
		return f.say(errClosed)
	}
	return f.say(f.tend())
}

func (f *Fence) tend() error {
	h, err := survey(f.cfg.Device)
	if err != nil {
		return err
	}
	l := newLoader(f.cfg.Addr, f.deadline.m, h.macs)
	defer l.close()
	for _, d := range h.required() {
		if whole, err := f.intact(d); err != nil || !whole {
			return err
		}
		if err := f.fence(d, l); err != nil {
			return fmt.Errorf("device %s: %w", d.name, err)
		}
	}
	return f.follow(h, l)
}

func (f *Fence) intact(d device) (bool, error) {
	for _, s := range d.sides() {
		if what, err := f.checkSide(s); err != nil || what != "" {
			return false, err
		}
	}
	return true, nil
}

// follow fences the other devices as far as they let us, and unpins what was of
// devices that are no longer to be fenced.
func (f *Fence) follow(h host, l *loader) error {
	var names []string
	for _, d := range h.devices {
		if d.role.other() {
			if err := f.fence(d, l); err != nil {
				if !f.sour[d.index] {
					f.sour[d.index] = true
					f.log.Warn("other device not fenced", "vip", f.cfg.Addr, "iface", d.name, "err", err)
				}
				continue
			}
		}
		names = append(names, d.name)
	}
	f.names.Store(&names)
	pinned, err := f.place.sides()
	if err != nil {
		return err
	}
	for _, s := range pinned {
		if slices.ContainsFunc(h.devices, func(d device) bool { return d.index == s.index }) {
			continue
		}
		delete(f.parts, s)
		err := f.hook.drop(s)
		if err != nil && !f.sour[s.index] {
			f.log.Warn("fence of a device that has gone not removed", "vip", f.cfg.Addr, "ifindex", s.index, "err", err)
		}
		f.sour[s.index] = err != nil
	}
	return nil
}

// A loader loads each program once, for all devices that need it.
type loader struct {
	addr   netip.Addr
	m      *ebpf.Map
	macs   [][6]byte
	loaded map[string]loaded
}

type loaded struct {
	program *ebpf.Program
	id      ebpf.ProgramID
}

func newLoader(addr netip.Addr, m *ebpf.Map, macs [][6]byte) *loader {
	return &loader{addr: addr, m: m, macs: macs, loaded: make(map[string]loaded)}
}

// design returns what is to be on one side of a device.
func (l *loader) design(r role, egress bool) design {
	d := design{addr: l.addr, role: r, egress: egress}
	if r.hears() && !egress {
		d.own = l.macs
	}
	return d
}

func (l *loader) load(d design, key string) (loaded, error) {
	if p, ok := l.loaded[key]; ok {
		return p, nil
	}
	p, err := d.load(l.m)
	if err != nil {
		return loaded{}, explain(err, "load the program")
	}
	info, err := p.Info()
	if err != nil {
		return loaded{}, errors.Join(err, p.Close())
	}
	id, ok := info.ID()
	if !ok {
		return loaded{}, errors.Join(fmt.Errorf("%w: the kernel gives its programs no numbers; %s", ErrRefused, needs), p.Close())
	}
	l.loaded[key] = loaded{p, id}
	return l.loaded[key], nil
}

func (l *loader) close() {
	for _, p := range l.loaded {
		_ = p.program.Close() // what is attached holds its own reference
	}
}
