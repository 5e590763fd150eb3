package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
)

// Pinned reports whether anything is pinned below dir for a VIP, of whatever
// version. It needs no capability, but the right to look.
func Pinned(dir string, addr netip.Addr) bool {
	if dir == "" {
		return false
	}
	_, err := os.Lstat(string(placeOf(dir, addr.Unmap().WithZone(""))))
	return err == nil
}

// Remove takes away the fence of one VIP below dir, like Purge. The caller has
// deleted the address. There is nothing to do where none is pinned.
func Remove(dir string, addr netip.Addr) (removed []string, err error) {
	addr = addr.Unmap().WithZone("")
	removed, err = purgeVIP(placeOf(dir, addr), addr)
	if errors.Is(err, fs.ErrNotExist) {
		return removed, nil
	}
	if err != nil {
		return removed, fmt.Errorf("remove the fence of %s: %w", addr, err)
	}
	return removed, nil
}
