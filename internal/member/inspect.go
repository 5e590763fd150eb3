package member

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Holding is one of the things that Wipe would remove.
type Holding struct {
	Path  string
	Bytes int64 // that it takes up on the disk
}

// Holdings returns what Wipe would remove, with what that gives back. It changes
// nothing; what goes while it looks is not counted.
func Holdings(dir string) ([]Holding, error) {
	var all []Holding
	for _, path := range wiped(dir) {
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
