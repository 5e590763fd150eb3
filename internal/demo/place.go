package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
)

// DefaultName is what the network is called, and all of it that has a name on the
// machine.
const DefaultName = "leasehold-demo"

// place is where a demo of one name is on the machine.
type place struct{ name string }

// CheckName takes names that are good for a file, a namespace, and a person's eye.
func CheckName(name string) error {
	if !regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`).MatchString(name) {
		return fmt.Errorf("name %q: write 1 to 32 of a-z, 0-9 and -, a letter first, as in %s", name, DefaultName)
	}
	return nil
}

// root is a file system of its own, in memory, with everything that the demo
// writes: nothing of it is on a disk, and one unmount takes it away.
func (p place) root() string { return filepath.Join("/run", p.name) }

// hosts has a directory for each host: config, logs, data.
func (p place) hosts() string { return filepath.Join(p.root(), "hosts") }

func (p place) lockFile() string { return p.root() + ".lock" }

func (p place) lab() lab.Config {
	return lab.Config{Name: p.name, Dir: p.hosts(), Hosts: seats()}
}

// errBusy says that a demo of this name runs or is kept.
var errBusy = errors.New("busy")

// lock takes the place for this process. It ends with the process or with Close;
// the file in it has the pid. It fails with errBusy when another has it.
func (p place) lock() (*os.File, error) {
	for {
		f, err := os.OpenFile(p.lockFile(), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(errBusy, f.Close())
		case err != nil:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", p.lockFile(), err), f.Close())
		}
		if p.current(f) {
			err := f.Truncate(0)
			if err == nil {
				_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
			}
			if err != nil {
				return nil, errors.Join(fmt.Errorf("lock %s: %w", p.lockFile(), err), f.Close())
			}
			return f, nil
		}
		// It was removed between opening and locking: the demo before has ended.
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
	}
}

// current reports whether the open file is still the one that others will find.
func (p place) current(f *os.File) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(p.lockFile())
	return err == nil && os.SameFile(mine, there)
}

// owner returns the process that has the place; 0 when none is named.
func (p place) owner() int {
	b, err := os.ReadFile(p.lockFile())
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// mount makes the file system for the demo. What is there from one that was killed
// has to be cleared before.
func (p place) mount() error {
	if err := os.Mkdir(p.root(), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", p.root(), err)
	}
	if err := unix.Mount("tmpfs", p.root(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1g,mode=0700"); err != nil {
		return errors.Join(fmt.Errorf("mount a tmpfs on %s: %w", p.root(), err), os.Remove(p.root()))
	}
	return nil
}

// clear removes all that a demo has made, running or killed, but for the lock, and
// reports whether something was there. The caller has the lock.
func (p place) clear() (found bool, err error) {
	err = lab.Reclaim(p.lab())
	if _, serr := os.Lstat(p.root()); errors.Is(serr, fs.ErrNotExist) {
		return false, err
	}
	// EINVAL: nothing is mounted there.
	if uerr := unix.Unmount(p.root(), unix.MNT_DETACH); uerr != nil && !errors.Is(uerr, unix.EINVAL) {
		return true, errors.Join(err, fmt.Errorf("unmount %s: %w", p.root(), uerr))
	}
	// Not RemoveAll: what is in there now is not ours.
	if rerr := os.Remove(p.root()); rerr != nil {
		return true, errors.Join(err, fmt.Errorf("remove the place of the demo: %w", rerr))
	}
	return true, err
}

// unlock gives the place back and leaves no file behind.
func (p place) unlock(f *os.File) error {
	return errors.Join(os.Remove(p.lockFile()), f.Close())
}
