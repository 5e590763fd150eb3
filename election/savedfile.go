package election

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// savedLimit is the most that a state file may have: it has under 1 KB, and a
// few dozen bytes more with each VIP.
const savedLimit = 64 << 10

// readPrivate reads a regular file that only the given user and root can have
// written. It follows no symbolic link, and does not hang on a FIFO.
func readPrivate(path string, uid int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: is a symbolic link", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the last run: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s: is not a regular file", path)
	case st.Uid != 0 && int(st.Uid) != uid:
		return nil, fmt.Errorf("%s: belongs to user %d, neither root nor this daemon's user (%d)", path, st.Uid, uid)
	case st.Mode&0o022 != 0:
		return nil, fmt.Errorf("%s: others may write it (mode %04o)", path, st.Mode&0o7777)
	case st.Size > savedLimit:
		return nil, fmt.Errorf("%s: has %d bytes, a state file has %d at most", path, st.Size, savedLimit)
	}
	b, err := io.ReadAll(io.LimitReader(f, savedLimit))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return b, nil
}

// writeSaved replaces the state file, or removes it when s is nil. It is not
// synced to disk: it is of no use after a reboot.
func writeSaved(path string, s *Saved) error {
	if s == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the state file: %w", err)
		}
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the state file: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := replaceFile(tmp, path, b); err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	return nil
}

// replaceFile puts a file in the place of another at once, by way of tmp. What
// is there under that name, left over or laid out by somebody, is not written to.
func replaceFile(tmp, path string, b []byte) error {
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
