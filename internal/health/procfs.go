package health

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// stat is what we use of /proc/PID/stat, proc_pid_stat(5). Any user may read
// these fields of any process.
type stat struct {
	comm  string // field 2, without the parentheses
	flags uint64 // field 9, PF_* of linux/sched.h, of the thread-group leader
	start uint64 // field 22, clock ticks since boot: with the pid it names one process
}

// The flags that a leader on its way out has. PF_EXITING is set before the
// address space is torn down, and so long before the pidfd fires (70 ms per GiB).
// PF_POSTCOREDUMP (5.16 and later) and PF_DUMPCORE cover the time of a core dump,
// which comes before and can take as long as writing all that memory to a disk.
const (
	pfExiting      = 0x4
	pfPostCoredump = 0x8
	pfDumpCore     = 0x200
)

// dying reports whether the process will never again do anything useful. It is
// also true for a leader that ended alone with pthread_exit while its threads go
// on, which no server does.
func (s stat) dying() bool { return s.flags&(pfExiting|pfPostCoredump|pfDumpCore) != 0 }

// parseStat reads a line of /proc/PID/stat. The comm may contain anything, spaces
// and parentheses included, so the fields are counted from the last parenthesis.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("no name in parentheses")
	}
	fields := bytes.Fields(b[end+1:])
	const third = 3 // the number of the field after the name
	if len(fields) <= 22-third {
		return stat{}, fmt.Errorf("%d fields after the name, want 20 or more", len(fields))
	}
	s := stat{comm: string(b[open+1 : end])}
	var err error
	if s.flags, err = strconv.ParseUint(string(fields[9-third]), 10, 64); err != nil {
		return stat{}, fmt.Errorf("flags: %w", err)
	}
	if s.start, err = strconv.ParseUint(string(fields[22-third]), 10, 64); err != nil {
		return stat{}, fmt.Errorf("start time: %w", err)
	}
	return s, nil
}

// readStat reads /proc/PID/stat. The error wraps fs.ErrNotExist where there is no
// such process, or where /proc hides it (hidepid, ProtectProc=invisible).
func readStat(pid int) (stat, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := readSmall(path, 4096)
	if err != nil {
		return stat{}, err
	}
	s, err := parseStat(b)
	if err != nil {
		return stat{}, fmt.Errorf("parse %s: %w", path, err)
	}
	return s, nil
}

// readSmall reads at most limit bytes of a file.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing can be lost
	return io.ReadAll(io.LimitReader(f, limit))
}

// parsePid reads the content of a pidfile: a positive decimal number, with white
// space around it.
func parsePid(b []byte) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("its content is not a process number")
	}
	return int(n), nil
}

// pidsByName returns the numbers of all processes whose comm is name.
func pidsByName(name string) ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // opened for reading: nothing can be lost
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list /proc: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e)
		if err != nil {
			continue // not a process
		}
		comm, err := readSmall("/proc/"+e+"/comm", 64)
		if err == nil && strings.TrimSuffix(string(comm), "\n") == name {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
