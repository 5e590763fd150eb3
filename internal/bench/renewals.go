package bench

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"leasehold/election"
	"leasehold/internal/boottime"
)

// armed is one renewal as the kernel saw it: the deadline that the daemon stored
// in the fence, and when that was noticed.
type armed struct {
	at, until boottime.Instant
}

// armedLog follows the deadlines of the fences of a stand. A deadline is the
// moment when the renewal was sent plus a constant, so that it tells when the
// daemon got to send it, by the daemon's own clock.
type armedLog struct {
	words []*word
	quit  atomic.Bool
	done  chan struct{}
}

// word is the deadline of one VIP on one host, mapped.
type word struct {
	vip  int
	mem  []byte
	last boottime.Instant
	seen []armed
}

// followFences begins to follow the fences that the daemons of a stand have made.
// Where there is none nothing is seen.
func followFences(s *stand) (*armedLog, error) {
	a := &armedLog{done: make(chan struct{})}
	for _, h := range hosts() {
		dir, err := s.BPFDir(h)
		if err != nil {
			return nil, errors.Join(err, a.unmap())
		}
		for i, v := range s.vips {
			mem, err := mapPinned(filepath.Join(dir, hex.EncodeToString(v.addr.AsSlice()), "deadline"))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("follow the fence of %s on host %s: %w", v.addr, h, err), a.unmap())
			}
			a.words = append(a.words, &word{vip: i, mem: mem})
		}
	}
	go a.run()
	return a, nil
}

// mapPinned maps the value of the fence's map into memory; see package fence.
func mapPinned(path string) ([]byte, error) {
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return nil, err
	}
	defer m.Close() // the mapping stays
	return unix.Mmap(m.FD(), 0, unix.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
}

// run looks a thousand times a second, ahead of whatever else wants to run: the
// deadlines themselves need no such haste, when they come does.
func (a *armedLog) run() {
	defer close(a.done)
	ahead()
	pause := unix.NsecToTimespec(int64(time.Millisecond))
	for !a.quit.Load() {
		for _, w := range a.words {
			until := boottime.Instant(atomic.LoadUint64((*uint64)(unsafe.Pointer(&w.mem[0]))))
			if until == w.last {
				continue
			}
			if w.last = until; until > 1 { // 0 and 1: shut
				w.seen = append(w.seen, armed{boottime.Now(), until})
			}
		}
		_ = unix.Nanosleep(&pause, nil) // EINTR: sooner
	}
}

// ahead lets the calling goroutine run ahead of everything else that wants to,
// until it ends, and its thread with it. See sched(7); the flag keeps threads that
// the runtime may start from this one ordinary.
func ahead() {
	runtime.LockOSThread()
	// EPERM: then the times are as good as the machine is idle.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 2, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
}

// stop ends it and returns what was seen of each VIP, by its number.
func (a *armedLog) stop() (map[int][]armed, error) {
	a.quit.Store(true)
	<-a.done
	all := map[int][]armed{}
	for _, w := range a.words {
		// What was there at first was armed at an unknown moment.
		if len(w.seen) > 1 {
			all[w.vip] = append(all[w.vip], w.seen[1:]...)
		}
	}
	return all, a.unmap()
}

func (a *armedLog) unmap() error {
	var errs []error
	for _, w := range a.words {
		errs = append(errs, unix.Munmap(w.mem))
	}
	return errors.Join(errs...)
}

// renewals is what the renewals of one VIP were like.
type renewals struct {
	late  int             // sent two periods or more after the one before
	apart []time.Duration // between two that were sent; sorted
	took  []time.Duration // from when one was sent until the fence was armed; sorted
	least time.Duration   // the least that was left of a deadline when it was extended
}

// renewalsOf reads the renewals of a service from the deadlines of its fence.
func renewalsOf(seen []armed, ttl time.Duration) renewals {
	slices.SortFunc(seen, func(x, y armed) int { return cmp.Compare(x.at, y.at) })
	var r renewals
	usable := election.Deadline(0, ttl, delta).Sub(0)
	for i, a := range seen {
		r.took = append(r.took, a.at.Sub(a.until.Add(-usable)))
		if i == 0 {
			continue
		}
		before := seen[i-1]
		apart := a.until.Sub(before.until)
		r.apart = append(r.apart, apart)
		if apart >= 2*ttl/5 {
			r.late++
		}
		if left := before.until.Sub(a.at); i == 1 || left < r.least {
			r.least = left
		}
	}
	slices.Sort(r.apart)
	slices.Sort(r.took)
	return r
}

// delta is δ of the deadline behind a fence, see election.Deadline.
const delta = 5 * time.Millisecond
