package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/netip"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Probe tries whether this process could make a fence here, and returns how it
// would be attached. It fails with ErrRefused like Open. The map and the program
// that it makes are attached and pinned nowhere, and gone when it returns.
func Probe() (Kind, error) {
	m, err := ebpf.NewMap(spec())
	if err != nil {
		return "", explain(err, "make a map")
	}
	defer m.Close()
	p, err := design{addr: netip.AddrFrom4([4]byte{192, 0, 2, 1}), role: roleOwn}.load(m) // RFC 5737
	if err != nil {
		return "", explain(err, "load a program")
	}
	defer p.Close()
	// No device has this number: a kernel with tcx says so, an older one does not
	// get that far.
	l, err := link.AttachTCX(link.TCXOptions{Interface: math.MaxInt32, Program: p, Attach: ebpf.AttachTCXIngress})
	switch {
	case err == nil:
		return TCX, l.Close()
	case errors.Is(err, ebpf.ErrNotSupported):
		return Clsact, nil
	}
	return TCX, nil
}

// List returns the VIPs that have something pinned below dir, whole or not. Where
// dir does not exist there are none.
func List(dir string) ([]netip.Addr, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the fences: %w", err)
	}
	var all []netip.Addr
	for _, e := range entries {
		if addr, ok := parseAddr(e.Name()); ok {
			all = append(all, addr)
		}
	}
	return all, nil
}
