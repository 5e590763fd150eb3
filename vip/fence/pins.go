package fence

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/pin"
)

// A place is a VIP's directory on the bpffs. A bpffs takes no dots in names.
type place string

func placeOf(dir string, addr netip.Addr) place {
	return place(filepath.Join(dir, hex.EncodeToString(addr.AsSlice())))
}

func (p place) deadline() string { return filepath.Join(string(p), "deadline") }

func (p place) side(s side) string {
	name := strconv.Itoa(s.index) + "_in"
	if s.egress {
		name = strconv.Itoa(s.index) + "_out"
	}
	return filepath.Join(string(p), name)
}

// parseSide is the inverse of side, for the last element of a path.
func parseSide(name string) (side, bool) {
	number, direction, _ := strings.Cut(name, "_")
	index, err := strconv.ParseUint(number, 10, 31)
	s := side{int(index), direction == "out"}
	return s, err == nil && (s.egress || direction == "in")
}

// parseAddr is the inverse of placeOf, for the last element of a path.
func parseAddr(name string) (netip.Addr, bool) {
	b, err := hex.DecodeString(name)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(b)
}

// sides lists what is pinned. A directory that is not there has nothing.
func (p place) sides() ([]side, error) {
	entries, err := os.ReadDir(string(p))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []side
	for _, e := range entries {
		if s, ok := parseSide(e.Name()); ok {
			all = append(all, s)
		}
	}
	return all, nil
}

// kind tells by the pins how a fence is attached; "" when nothing is pinned.
func (p place) kind() (Kind, error) {
	all, err := p.sides()
	if err != nil || len(all) == 0 {
		return "", err
	}
	k, err := kindOf(p.side(all[0]))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return k, err
}

func kindOf(path string) (Kind, error) {
	o, err := load(path)
	if err != nil {
		return "", err
	}
	defer o.Close()
	if _, ok := o.(link.Link); ok {
		return TCX, nil
	}
	return Clsact, nil
}

// load returns the link or program of ours that is pinned at path, an error that
// wraps fs.ErrNotExist, or ErrForeign.
func load(path string) (pin.Pinner, error) {
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	o, err := pin.Load(path, nil)
	if err != nil {
		if refusal := explain(err, "read the pin "+path); errors.Is(refusal, ErrRefused) {
			return nil, refusal
		}
		return nil, foreign(path, err.Error())
	}
	what := "a " + strings.TrimPrefix(fmt.Sprintf("%T", o), "*ebpf.")
	switch o := o.(type) {
	case link.Link:
		info, err := o.Info()
		if err == nil && info.TCX() != nil {
			return o, nil
		}
		what = "a link of another type"
	case *ebpf.Program:
		info, err := o.Info()
		if err == nil && (info.Name == programIn || info.Name == programOut) {
			return o, nil
		}
		what = "a program that is not the fence's"
	}
	return nil, errors.Join(foreign(path, "it is "+what), o.Close())
}

func foreign(path, why string) error {
	return fmt.Errorf("%w: %s: %s; remove it if nothing else needs it", ErrForeign, path, why)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// pinned is the end of a hook's check.
func pinned(path string) (wrong string, _ error) {
	is, err := exists(path)
	if err != nil || is {
		return "", err
	}
	return "not pinned", nil
}

// removePin removes a pin that may have gone already.
func removePin(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
