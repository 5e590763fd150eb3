package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// BPFDir returns a directory for the pins of the daemon on a host, on a bpffs of
// its own: daemons that share one would have each other's fences. The bpffs is
// mounted at the first call, by this process for the whole machine, and goes
// with the lab. It needs CAP_SYS_ADMIN in the machine's own user namespace.
func (l *Lab) BPFDir(host string) (string, error) {
	dir, err := l.HostDir(host)
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, "bpf")
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return "", errors.New("mount a bpffs: the lab is closed")
	case slices.Contains(l.mounts, at):
		return filepath.Join(at, "leasehold"), nil
	}
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", fmt.Errorf("make the place of the bpffs of host %s: %w", host, err)
	}
	if err := unix.Mount("bpf", at, "bpf", 0, "mode=0700"); err != nil {
		return "", fmt.Errorf("mount the bpffs of host %s on %s: %w", host, at, err)
	}
	l.mounts = append(l.mounts, at)
	return filepath.Join(at, "leasehold"), nil
}

// unmountBelow unmounts, lazily, all that is mounted below dir: what is pinned
// there goes with the last process that uses it.
func unmountBelow(dir string) error {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read what is mounted: %w", err)
	}
	var errs []error
	for line := range bytes.Lines(table) {
		fields := strings.Fields(string(line)) // the fifth is the mount point, see proc_pid_mountinfo(5)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", fields[4], err))
		}
	}
	return errors.Join(errs...)
}

// removeDir removes a lab's directory with what is mounted in it.
func removeDir(dir string) error { return errors.Join(unmountBelow(dir), os.RemoveAll(dir)) }
