// Package fence ends a tenure in the kernel. Per VIP there is one deadline on
// CLOCK_BOOTTIME in an eBPF map, and on each device a pair of programs that pass
// the VIP's frames only before it. Nothing has to run for a fence to shut: a
// process that is dead, frozen or late changes nothing.
package fence

import (
	"errors"
	"net/netip"

	"github.com/hashicorp/go-hclog"

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
	// ErrRefused says that there can be no fence here. Its text says why, and
	// what to do.
	ErrRefused = errors.New("no fence")
	// ErrForeign says that what is pinned at the fence's place is not ours, or
	// of another version.
	ErrForeign = errors.New("not this version's fence")
	// ErrClaimed says that the kernel shut the fence because another host
	// claimed the VIP. Only Reopen opens it.
	ErrClaimed = errors.New("shut by a foreign claim of the vip")
	// ErrTaken says that another process changed the deadline. Only Shut ends
	// that.
	ErrTaken = errors.New("deadline changed by another process")
	// ErrMissing says that a part of the fence is not in its place.
	ErrMissing = errors.New("fence incomplete")
)

// A Config says which VIP to fence, and where.
type Config struct {
	Dir    string       // on a bpffs; made with mode 0700 if missing
	Addr   netip.Addr   // the VIP
	Device string       // the VIP's own device
	Log    hclog.Logger // nil: none
	Kind   Kind         // "": TCX where the kernel has it, else Clsact
}

// A State is what the map says.
type State struct {
	Kind      Kind
	Until     boottime.Instant // the VIP is answered for before it; 0: shut
	Claimed   bool             // shut by the kernel, see ErrClaimed
	Claims    uint64           // how often that happened
	ClaimedAt boottime.Instant // the last time
	ClaimMAC  [6]byte          // who
	Devices   []string         // fenced
}

// A Fence is the fence of one VIP.
type Fence struct{}

var errSkeleton = errors.New("not implemented")

// Open adopts or makes the fence.
func Open(Config) (*Fence, error) { return nil, errSkeleton }

// Check finds what is missing.
func (*Fence) Check() error { return errSkeleton }

// Rebuild puts back what Check misses, shut.
func (*Fence) Rebuild() error { return errSkeleton }

// Tend follows the host's other devices.
func (*Fence) Tend() error { return errSkeleton }

// Arm sets the deadline.
func (*Fence) Arm(boottime.Instant) error { return errSkeleton }

// Reopen is Arm, from the claimed state too.
func (*Fence) Reopen(boottime.Instant) error { return errSkeleton }

// Shut closes the fence.
func (*Fence) Shut() error { return errSkeleton }

// State reads the map.
func (*Fence) State() State { return State{} }

// Close lets go of the file descriptors. What is in the kernel stays.
func (*Fence) Close() error { return errSkeleton }

// Read returns the state of a pinned fence.
func Read(string, netip.Addr) (State, error) { return State{}, errSkeleton }

// Purge removes every fence below dir.
func Purge(string) ([]string, error) { return nil, errSkeleton }

// ShutPinned shuts the pinned fence of a VIP.
func ShutPinned(string, netip.Addr) error { return errSkeleton }
