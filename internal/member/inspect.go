package member

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ReadRecord returns what is recorded of the data in dir; nil where nothing is.
func ReadRecord(dir string) (*Record, error) { return readRecord(dir) }

// LockFile is the file beside dir that a member's process has locked.
func LockFile(dir string) string { return lockFile(dir) }

// HasData reports whether a member has run on dir: there is a log in it.
func HasData(dir string) bool { return hasData(dir) }

// Holding is one of the things that Wipe would remove.
type Holding struct {
	Path  string
	Bytes int64 // that it takes up on the disk
}

// Holdings returns what Wipe would remove, with what that gives back. It changes
// nothing; what goes while it looks is not counted.
func Holdings(dir string) ([]Holding, error) {
	var all []Holding
	for _, path := range []string{filepath.Join(dir, "member"), recordFile(dir)} {
		h := Holding{Path: path}
		err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				h.Bytes += st.Blocks * 512 // the unit of st_blocks, whatever the filesystem's, see stat(2)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(path); err == nil {
			all = append(all, h)
		}
	}
	return all, nil
}
