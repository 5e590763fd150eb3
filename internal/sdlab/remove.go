package sdlab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every directory, namespace and cgroup of a lab; the pid
// of the process that booted it follows.
const prefix = "sdlab-"

// sweep removes the labs of processes that are gone.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), prefix), "-")
		if _, err := strconv.Atoi(pid); err != nil {
			continue // not a lab
		}
		if _, err := os.Stat("/proc/" + pid); !errors.Is(err, fs.ErrNotExist) {
			continue // its owner lives
		}
		errs = append(errs, killCgroup(dir), remove(dir))
	}
	return errors.Join(errs...)
}

// cgroupPath is the lab's cgroup: a child of the host's unified hierarchy, which is
// mounted for the lab where the host has none.
func cgroupPath(base string) (string, error) {
	mounts, err := mountPoints("cgroup2", "")
	if err != nil {
		return "", err
	}
	if len(mounts) > 0 {
		return filepath.Join(mounts[0], filepath.Base(base)), nil
	}
	own := filepath.Join(base, "cgroup2")
	if err := os.Mkdir(own, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("cgroup2", own, "cgroup2", 0, ""); err != nil {
		return "", fmt.Errorf("mount cgroup2: %w", err)
	}
	return filepath.Join(own, filepath.Base(base)), nil
}

// openCgroup makes the lab's cgroup and opens it for clone3(2).
func openCgroup(base string) (*os.File, error) {
	path, err := cgroupPath(base)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// killCgroup kills every process in the lab's cgroup and below, and no other.
// cgroup.kill: Linux 5.14.
func killCgroup(base string) error {
	mounts, err := mountPoints("cgroup2", "")
	if err != nil {
		return err
	}
	for _, m := range mounts {
		err := os.WriteFile(filepath.Join(m, filepath.Base(base), "cgroup.kill"), []byte("1"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remove takes away what a lab without processes has left: mounts, the two network
// namespaces, cgroups, and the directory itself. What is not there is no error.
func remove(base string) error {
	var errs []error
	errs = append(errs, removeCgroups(base))
	mounts, err := mountPoints("", base+"/")
	errs = append(errs, err)
	for _, ns := range []string{filepath.Base(base), filepath.Base(base) + "-peer"} {
		mounts = append(mounts, "/run/netns/"+ns)
	}
	for _, m := range mounts {
		// Detached at once; the kernel frees it with its last user.
		err := unix.Unmount(m, unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
		}
		if strings.HasPrefix(m, "/run/netns/") {
			if err := os.Remove(m); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	// With a mount of the host's "/" still in there, RemoveAll would empty the
	// overlay, which is harmless, but hides that the unmount did not work.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, dir := range []string{"/run/systemd/nspawn/propagate/", "/run/systemd/nspawn/unix-export/"} {
		if err := os.RemoveAll(dir + filepath.Base(base)); err != nil {
			return err
		}
	}
	return os.RemoveAll(base)
}

// removeCgroups removes the lab's cgroups, the deepest first. Killed processes take
// a moment to leave.
func removeCgroups(base string) error {
	mounts, err := mountPoints("cgroup2", "")
	if err != nil {
		return err
	}
	// On a host with both hierarchies nspawn copies the name to the old one.
	old, err := mountPoints("cgroup", "")
	if err != nil {
		return err
	}
	for _, m := range append(mounts, old...) {
		top := filepath.Join(m, filepath.Base(base))
		for limit := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			err := removeTree(top)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(limit) {
				return err
			}
		}
	}
	return nil
}

// removeTree removes empty cgroups: directories only, since their files are the
// kernel's.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// mountPoints lists the mount points of a file system type ("": any) below a path,
// the newest first, which is the order to unmount them in.
func mountPoints(fstype, below string) ([]string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []string
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text()) // fs_spec fs_file fs_vfstype …, fstab(5)
		if len(fields) > 2 && (fstype == "" || fields[2] == fstype) && strings.HasPrefix(fields[1], below) {
			found = append([]string{fields[1]}, found...)
		}
	}
	return found, nil
}
