package fence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// needs is what a fence asks of the kernel: bpf_ktime_get_boot_ns is of 5.8,
// bpf-helpers(7).
const needs = "the fence needs Linux 5.8 with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF"

// explain makes an ErrRefused of an errno that means that bpf(2) or tc is not to
// be had at all, and says why. Other errors get only the operation.
func explain(err error, op string) error {
	var cause string
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		cause = denied()
		if errno, ok := errors.AsType[unix.Errno](err); ok {
			err = errno // the library guesses at RLIMIT_MEMLOCK
		}
	case errors.Is(err, unix.ENOSYS):
		cause = "the kernel has no bpf(2), or a seccomp filter hides it; " + needs
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.E2BIG), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, ebpf.ErrNotSupported):
		cause = "this is Linux " + release() + "; " + needs
	case errors.Is(err, unix.ENOMEM):
		cause = "out of memory; before Linux 5.11 set LimitMEMLOCK=infinity in the unit"
	default:
		return fmt.Errorf("%s: %w", op, err)
	}
	return fmt.Errorf("%w: %s: %w (%s)", ErrRefused, op, err, cause)
}

// denied says what an EPERM is due to.
func denied() string {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return "and /proc/thread-self/status cannot be read: " + err.Error()
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return "and /proc/self/uid_map cannot be read: " + err.Error()
	}
	return why(string(status), string(ids))
}

func why(status, ids string) string {
	var lacks []string
	caps, err := strconv.ParseUint(field(status, "CapEff:"), 16, 64)
	if err != nil {
		return "and /proc/thread-self/status shows no capabilities"
	}
	has := func(c int) bool { return caps&(1<<c) != 0 }
	if !has(unix.CAP_BPF) && !has(unix.CAP_SYS_ADMIN) {
		lacks = append(lacks, "CAP_BPF")
	}
	if !has(unix.CAP_NET_ADMIN) {
		lacks = append(lacks, "CAP_NET_ADMIN")
	}
	switch {
	case len(lacks) > 0:
		return "missing " + strings.Join(lacks, " and ") + ": run as root, or add to AmbientCapabilities= and CapabilityBoundingSet= in the unit"
	case strings.Join(strings.Fields(ids), " ") != "0 0 4294967295":
		return "this is a user namespace, whose capabilities do not reach bpf(2): run outside"
	case field(status, "Seccomp:") == "2":
		return "a seccomp filter refuses bpf(2): allow it, in the unit by SystemCallFilter=bpf"
	}
	return "all capabilities are there: a security module, kernel lockdown, file permissions or RLIMIT_MEMLOCK (before Linux 5.11) refuse it"
}

func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// makeDir makes dir, with mode 0700, when it or what it is to be in is a bpffs.
func makeDir(dir string) error {
	existing := filepath.Clean(dir)
	for {
		_, err := os.Stat(existing)
		if err == nil {
			break
		}
		if up := filepath.Dir(existing); errors.Is(err, fs.ErrNotExist) && up != existing {
			existing = up
			continue
		}
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(existing, &s); err != nil {
		return fmt.Errorf("%w: statfs %s: %w", ErrRefused, existing, err)
	}
	if s.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%w: %s is not on a bpffs, where alone it can be pinned to survive this process: mount -t bpf bpf /sys/fs/bpf, or set bpf_dir to a directory on one", ErrRefused, dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w: let the service's user write there", ErrRefused, err)
	}
	return nil
}
