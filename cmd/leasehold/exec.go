package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockEnv hands the lock on the run_dir on to the process that this one becomes:
// the number of its descriptor. In between nobody else can have the lock.
const lockEnv = "LEASEHOLD_LOCK_FD"

// ownPath is where the binary of this process is to be looked for when it has
// been replaced: the path that it was started by, a symbolic link included, or
// else where that led.
func ownPath(args []string) (string, error) {
	resolved, err := os.Executable() // read at the start, so that it never says (deleted)
	if err != nil {
		return "", fmt.Errorf("find the own binary: %w", err)
	}
	if len(args) == 0 || !filepath.IsAbs(args[0]) {
		return resolved, nil
	}
	// argv[0] is whatever the caller wanted, so it counts only if it leads here.
	if at, err := filepath.EvalSymlinks(args[0]); err == nil && at == resolved {
		return args[0], nil
	}
	return resolved, nil
}

// replaceProcess has the kernel run the binary at path in this process's place:
// same pid, arguments and environment, and the lock on the run_dir is kept. It
// returns only when that failed, and then nothing has changed. renew gets its
// signals back.
func replaceProcess(path string, lock *os.File, renew chan<- os.Signal) error {
	// Until the new process listens to them they would end it. Ignored, they are
	// lost, and nothing is lost with them: it reads the configuration later.
	signal.Ignore(renewing...)
	defer signal.Notify(renew, renewing...)
	fd := lock.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("hand on the lock: %w", err)
	}
	defer unix.CloseOnExec(int(fd))
	env := append(os.Environ(), lockEnv+"="+strconv.Itoa(int(fd)))
	if err := syscall.Exec(path, os.Args, env); err != nil {
		return fmt.Errorf("run %s in place: %w", path, err)
	}
	return nil // not reached
}

// inherited is what a process finds that was started in place of another.
type inherited struct {
	lock *os.File // nil: it was not
}

// inherit takes over what replaceProcess handed on. The children of the process
// before, which were checks, are ended and waited for: they are this process's
// now, and it knows nothing of them. spare names one that is left alone, an etcd
// member that runs on; 0: none.
func inherit(runDir string, spare func() int) (inherited, error) {
	text := os.Getenv(lockEnv)
	if text == "" {
		return inherited{}, nil
	}
	if err := os.Unsetenv(lockEnv); err != nil { // it is not for our children
		return inherited{}, err
	}
	if err := reapOrphans(spare()); err != nil {
		return inherited{}, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd <= 2 {
		return inherited{}, fmt.Errorf("%s=%q in the environment is no descriptor", lockEnv, text)
	}
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), filepath.Join(runDir, lockName))
	if err := sameFile(f, f.Name()); err != nil {
		return inherited{}, errors.Join(fmt.Errorf("%s=%s in the environment: %w", lockEnv, text, err), f.Close())
	}
	return inherited{lock: f}, nil
}

func sameFile(f *os.File, path string) error {
	have, err := f.Stat()
	if err != nil {
		return err
	}
	want, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(have, want) {
		return fmt.Errorf("not %s", path)
	}
	return nil
}

// reapOrphans kills every child but spare with its process group, and waits for it. To be
// called before the first child of this process's own. Source of the list:
// /proc/PID/task/TID/children, proc(5), which has them all while no other thread
// has started any.
func reapOrphans(spare int) error {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			return fmt.Errorf("list the children of the process before: %w", err)
		}
		for field := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return fmt.Errorf("%s: %w", list, err)
			}
			if pid == spare {
				continue
			}
			_ = unix.Kill(-pid, unix.SIGKILL) // no group of that number
			_ = unix.Kill(pid, unix.SIGKILL)  // it has just ended
			if _, err := unix.Wait4(pid, nil, 0, nil); err != nil && !errors.Is(err, unix.ECHILD) {
				return fmt.Errorf("wait for child %d of the process before: %w", pid, err)
			}
		}
	}
	return nil
}
