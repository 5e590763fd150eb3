package fence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// mapName is the name of the map; the number is the version of what is in it.
const (
	mapPrefix = "lh_fence_"
	mapName   = mapPrefix + "1"
)

// The map's one value. The program and record both have to know it.
const (
	offDeadline  = 0
	offClaims    = 8
	offClaimedAt = 16
	offClaimMAC  = 24
	valueSize    = 32
)

// A record is the value, mapped.
type record struct {
	deadline  atomic.Uint64 // shut, claimed, or a moment
	claims    atomic.Uint64
	claimedAt atomic.Uint64
	claimMAC  atomic.Uint64 // six bytes in wire order, then two of nothing
}

// Deadlines that are no moments.
const (
	shut    = 0
	claimed = 1
)

// A deadline is the map of one VIP, in this process's memory. Its lock is held
// for a store or a load only: nothing that takes longer can delay Arm.
type deadline struct {
	m   *ebpf.Map
	mu  sync.Mutex
	mem []byte
	// seen is the deadline that this process wrote last, or found.
	seen uint64
}

func spec() *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: mapName, Type: ebpf.Array, KeySize: 4, ValueSize: valueSize, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE}
}

// openDeadline adopts the map pinned at path, or makes it, shut.
func openDeadline(path string) (d *deadline, fresh bool, err error) {
	m, err := loadMap(path)
	if errors.Is(err, fs.ErrNotExist) {
		fresh = true
		m, err = makeMap(path)
	}
	if err != nil {
		return nil, false, err
	}
	d, err = mapDeadline(m)
	if err != nil {
		return nil, false, errors.Join(err, m.Close())
	}
	return d, fresh, nil
}

// loadMap returns the map pinned at path, fs.ErrNotExist, or ErrForeign.
func loadMap(path string) (*ebpf.Map, error) {
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		if refusal := explain(err, "read the pinned deadline"); errors.Is(refusal, ErrRefused) {
			return nil, refusal
		}
		return nil, fmt.Errorf("%w: %s: %w; remove it if nothing else needs it", ErrForeign, path, err)
	}
	info, err := m.Info()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	s := spec()
	if info.Name != s.Name || info.Type != s.Type || info.KeySize != s.KeySize || info.ValueSize != s.ValueSize || info.MaxEntries != s.MaxEntries || info.Flags&s.Flags == 0 {
		err := fmt.Errorf("%w: %s is a map %q of %d bytes, not %q of %d: run `leasehold release --purge` with the version that made it, or remove it", ErrForeign, path, info.Name, info.ValueSize, s.Name, s.ValueSize)
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func makeMap(path string) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(spec())
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOMEM) {
		// Kernels before 5.11 count maps as locked memory. Where the limit may not
		// be raised, the second try fails like the first.
		if unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}) == nil {
			m, err = ebpf.NewMap(spec())
		}
	}
	if err != nil {
		return nil, explain(err, "create a map")
	}
	if err := m.Pin(path); err != nil {
		return nil, errors.Join(explain(err, "pin the map at "+path), m.Close())
	}
	return m, nil
}

// mapDeadline maps the map, which is its own from then on.
func mapDeadline(m *ebpf.Map) (*deadline, error) {
	mem, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, explain(err, "map the deadline into memory")
	}
	d := &deadline{m: m, mem: mem}
	d.seen = d.record().deadline.Load()
	return d, nil
}

// record needs the lock, and memory that is still mapped.
func (d *deadline) record() *record { return (*record)(unsafe.Pointer(&d.mem[0])) }

var errClosed = errors.New("the fence is closed")

// arm moves the deadline from what this process saw last; with reopen from the
// claimed state too.
func (d *deadline) arm(until boottime.Instant, reopen bool) error {
	if until <= claimed {
		return fmt.Errorf("%d is no moment to arm the fence until", until)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mem == nil {
		return errClosed
	}
	word := &d.record().deadline
	if d.seen != claimed && word.CompareAndSwap(d.seen, uint64(until)) {
		d.seen = uint64(until)
		return nil
	}
	switch now := word.Load(); {
	case now == claimed && !reopen:
		return ErrClaimed
	case now != claimed:
		return fmt.Errorf("%w: it is %d, this process left it at %d; release the vip and bind it again", ErrTaken, now, d.seen)
	case !word.CompareAndSwap(claimed, uint64(until)):
		return ErrTaken
	}
	d.seen = uint64(until)
	return nil
}

// shut stores 0 and reads it back.
func (d *deadline) shut() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mem == nil {
		return errClosed
	}
	word := &d.record().deadline
	word.Store(shut)
	d.seen = shut
	// A claim that the program was about to record may overwrite the 0. It is
	// shut then as well, and what follows is a new tenure: 0 again.
	if word.CompareAndSwap(claimed, shut); word.Load() > claimed {
		return fmt.Errorf("%w while this process shut it", ErrTaken)
	}
	return nil
}

func (d *deadline) state() State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mem == nil {
		return State{}
	}
	r := d.record()
	word := r.deadline.Load() // first: see claim in program.go
	s := State{
		Claimed:   word == claimed,
		Claims:    r.claims.Load(),
		ClaimedAt: boottime.Instant(r.claimedAt.Load()),
	}
	if word > claimed {
		s.Until = boottime.Instant(word)
	}
	var mac [8]byte
	binary.NativeEndian.PutUint64(mac[:], r.claimMAC.Load())
	copy(s.ClaimMAC[:], mac[:])
	return s
}

func (d *deadline) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mem == nil {
		return nil
	}
	err := errors.Join(unix.Munmap(d.mem), d.m.Close())
	d.mem = nil
	return err
}
