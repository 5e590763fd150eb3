// Package fence ends a tenure in the kernel. Per VIP there is one deadline on
// CLOCK_BOOTTIME in an eBPF map, and on each device a pair of programs that pass
// the VIP's frames only before it. Nothing has to run for a fence to shut: a
// process that is dead, frozen or late changes nothing, and a deadline that is
// stored late is in the past.
//
// Fenced is answering, not asking. Shut, the programs drop on ingress what asks
// for the VIP's MAC and what is sent to the VIP, and on egress what answers from
// it, but for TCP resets. What others say of the VIP passes, so that a standby
// learns where it is and can be its client.
//
// Everything is pinned on a bpffs and outlives the process; Open adopts it. The
// package knows nothing of addresses, etcd or services. It works in the network
// namespace of the calling thread, as root or as a user with CAP_BPF and
// CAP_NET_ADMIN who may write to the bpffs.
package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// A Kind is the way in which the programs are attached.
type Kind string

const (
	// TCX is a BPF link, kernel 6.6 or later.
	TCX Kind = "tcx"
	// Clsact is a filter on the clsact qdisc.
	Clsact Kind = "clsact"
)

var (
	// ErrRefused says that there can be no fence here: the kernel is too old, a
	// capability is missing, Dir is not on a bpffs, a seccomp filter is in the
	// way, the device is not Ethernet. Its text says which, and what to do.
	ErrRefused = errors.New("no fence")
	// ErrForeign says that what is pinned at the fence's place is not ours, or
	// of another version. It is left alone.
	ErrForeign = errors.New("not this version's fence")
	// ErrClaimed says that the kernel shut the fence because another host
	// claimed the VIP. Reopen opens it, or Shut and then Arm.
	ErrClaimed = errors.New("shut by a foreign claim of the vip")
	// ErrTaken says that another process changed the deadline, ShutPinned for
	// example. Only after Shut can it be armed again.
	ErrTaken = errors.New("deadline changed by another process")
	// ErrMissing says that a part of the fence is not in its place. Rebuild puts
	// it back.
	ErrMissing = errors.New("fence incomplete")
)

// A Config says which VIP to fence, and where.
type Config struct {
	Dir    string       // on a bpffs; made with mode 0700 if missing
	Addr   netip.Addr   // the VIP
	Device string       // the VIP's own device, Ethernet
	Log    hclog.Logger // nil: none
	Kind   Kind         // "": what is pinned; else TCX where the kernel has it, else Clsact
}

// A State is what the map says of a VIP, and what is fenced.
type State struct {
	Kind      Kind
	Until     boottime.Instant // the VIP is answered for before it; 0: shut
	Claimed   bool             // shut by the kernel, see ErrClaimed
	Claims    uint64           // how often that happened
	ClaimedAt boottime.Instant // the last time
	ClaimMAC  [6]byte          // who
	Devices   []string         // fenced
}

// A hook is a way to attach programs.
type hook interface {
	kind() Kind
	adopt(side) (bool, error)                           // takes what is pinned; is it attached?
	put(side, *ebpf.Program) error                      // attaches or replaces, and pins
	check(side, ebpf.ProgramID) (wrong string, _ error) // costs a few system calls
	drop(side) error                                    // detaches and unpins
	close() error
}

// A part is what this process put on one side.
type part struct {
	device  device
	program ebpf.ProgramID
	key     string // of the design
}

// A Fence is the fence of one VIP. Its methods may be called at the same time;
// Arm, Reopen, Shut and State wait for nothing but each other.
type Fence struct {
	cfg      Config
	log      hclog.Logger
	place    place
	deadline *deadline
	made     bool                     // the place is there
	fresh    bool                     // the map is new
	names    atomic.Pointer[[]string] // of the fenced devices
	way      atomic.Pointer[Kind]

	mu    sync.Mutex // the rest
	hook  hook
	parts map[side]part
	sour  map[int]bool // other devices that could not be fenced: said once
}

// Open adopts the VIP's fence or makes it. A complete one keeps its deadline, so
// that what an earlier process opened stays open; a new or incomplete one is
// shut. Programs are replaced without a moment in which the VIP is neither
// fenced nor served. When it returns, the VIP's device and lo are fenced and
// everything is pinned; other devices as far as they let us.
//
// It fails with ErrRefused or ErrForeign, or when the device does not exist.
// Programs that it attached until then stay, shut.
func Open(c Config) (*Fence, error) {
	c.Addr = c.Addr.Unmap().WithZone("")
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	f := &Fence{
		cfg:   c,
		log:   c.Log,
		place: placeOf(c.Dir, c.Addr),
		parts: make(map[side]part),
		sour:  make(map[int]bool),
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("fence of %s: %w", c.Addr, err), f.Close(), f.abandon())
	}
	return f, nil
}

func (f *Fence) open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.cfg.Addr.IsValid() {
		return errors.New("no address")
	}
	if f.cfg.Dir == "" {
		return fmt.Errorf("%w: no directory for its pins: set bpf_dir to one on a bpffs", ErrRefused)
	}
	h, err := survey(f.cfg.Device)
	if err != nil {
		return err
	}
	if err := makeDir(string(f.place)); err != nil {
		return err
	}
	f.made = true
	d, fresh, err := openDeadline(f.place.deadline())
	if err != nil {
		return err
	}
	f.deadline, f.fresh = d, fresh
	if err := f.choose(); err != nil {
		return err
	}
	whole, err := f.adopted(h)
	if err != nil {
		return err
	}
	if fresh || !whole {
		if err := d.shut(); err != nil {
			return err
		}
	}
	if err := f.install(h); err != nil {
		return err
	}
	f.log.Info("fence in place", "vip", f.cfg.Addr, "kind", f.hook.kind(), "adopted", whole && !fresh, "devices", f.State().Devices)
	return nil
}

// abandon removes what a failed Open made, when it is nothing but an empty place
// or a deadline that no program reads.
func (f *Fence) abandon() error {
	if !f.made {
		return nil
	}
	if f.fresh && len(f.parts) == 0 {
		if err := removePin(f.place.deadline()); err != nil {
			return err
		}
	}
	err := os.Remove(string(f.place))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// choose settles the kind: what is pinned, what was asked for, tcx.
func (f *Fence) choose() error {
	k, err := f.place.kind()
	if err != nil {
		return err
	}
	if f.cfg.Kind != "" {
		k = f.cfg.Kind // adopt finds out when it is not what is pinned
	}
	switch k {
	case "", TCX:
		f.setHook(newTCX(f.place))
	case Clsact:
		f.setHook(newClsact(f.place, f.cfg.Addr))
	default:
		return fmt.Errorf("no kind of fence: %q", k)
	}
	return nil
}

func (f *Fence) setHook(h hook) {
	k := h.kind()
	f.hook = h
	f.way.Store(&k)
}

// adopted takes over what is pinned, and reports whether the required devices
// are fenced.
func (f *Fence) adopted(h host) (bool, error) {
	whole := true
	for _, d := range h.devices {
		for _, s := range d.sides() {
			ok, err := f.hook.adopt(s)
			if err != nil {
				return false, err
			}
			whole = whole && (ok || d.role.other())
		}
	}
	return whole, nil
}

// install puts today's programs on every device, and lets go of devices that
// went. The caller has shut what was incomplete.
func (f *Fence) install(h host) error {
	l := newLoader(f.cfg.Addr, f.deadline.m, h.macs)
	defer l.close()
	for _, d := range h.required() {
		err := f.fence(d, l)
		if f.cfg.Kind == "" && f.hook.kind() == TCX && len(f.parts) == 0 && errors.Is(err, ebpf.ErrNotSupported) {
			f.setHook(newClsact(f.place, f.cfg.Addr))
			err = f.fence(d, l)
		}
		if err != nil {
			return fmt.Errorf("device %s: %w", d.name, err)
		}
	}
	return f.follow(h, l)
}

// fence puts a device's programs in their place, unless they are.
func (f *Fence) fence(d device, l *loader) error {
	for _, s := range d.sides() {
		want := l.design(d.role, s.egress)
		key := want.key()
		if have, ok := f.parts[s]; ok && have.key == key {
			continue
		}
		p, err := l.load(want, key)
		if err != nil {
			return err
		}
		if err := f.hook.put(s, p.program); err != nil {
			return err
		}
		f.parts[s] = part{device: d, program: p.id, key: key}
	}
	return nil
}

// State reads the map. After Close it is empty.
func (f *Fence) State() State {
	s := f.deadline.state()
	s.Kind = *f.way.Load()
	if names := f.names.Load(); names != nil {
		s.Devices = *names
	}
	return s
}

// Arm sets the deadline, later or earlier, by one atomic compare-and-swap with
// the value that this process saw last. A moment in the past shuts. It fails with
// ErrClaimed when the kernel has shut the fence since, and ErrTaken when somebody
// else changed the deadline; it is what it was then.
func (f *Fence) Arm(until boottime.Instant) error { return f.say(f.deadline.arm(until, false)) }

// Reopen is Arm, but opens what a foreign claim shut as well.
func (f *Fence) Reopen(until boottime.Instant) error { return f.say(f.deadline.arm(until, true)) }

// Shut shuts the fence, and reads back that it is. A claim is forgotten with it:
// Arm works again.
func (f *Fence) Shut() error { return f.say(f.deadline.shut()) }

func (f *Fence) say(err error) error {
	if err != nil {
		return fmt.Errorf("fence of %s: %w", f.cfg.Addr, err)
	}
	return nil
}

// Close lets go of the file descriptors. Programs, pins and the deadline stay.
func (f *Fence) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	if f.hook != nil {
		errs = append(errs, f.hook.close())
		f.hook = nil
	}
	if f.deadline != nil {
		errs = append(errs, f.deadline.close())
	}
	return errors.Join(errs...)
}
