package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux
// that Go runs on.
const tick = 10 * time.Millisecond

// usage is what a daemon with all its processes has used.
type usage struct {
	cpu time.Duration // user and system, of children that have ended too
	rss int64         // bytes; pages that parent and child share count twice
}

// usageOf reads what a process and its living descendants have used.
func usageOf(pid int) (usage, error) {
	u, err := ownUsage(pid)
	if err != nil {
		return u, err
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return u, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(text)) {
			id, err := strconv.Atoi(child)
			if err != nil {
				return u, fmt.Errorf("read %s: %w", f, err)
			}
			// A child that has just ended is among its parent's ended children.
			if c, err := usageOf(id); err == nil {
				u.cpu, u.rss = u.cpu+c.cpu, u.rss+c.rss
			}
		}
	}
	return u, nil
}

func ownUsage(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read the times of process %d: %w", pid, err)
	}
	cpu, err := parseStat(string(stat))
	if err != nil {
		return usage{}, fmt.Errorf("read the times of process %d: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return usage{cpu: cpu, rss: parseRSS(string(status))}, nil
}

// parseStat returns utime + stime + cutime + cstime of a line of
// proc_pid_stat(5): fields 14 to 17; the name, field 2, may hold anything.
func parseStat(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const first = 14 - 3 // the first field after the name is number 3
	if len(fields) < first+4 {
		return 0, errors.New("too few fields")
	}
	var sum int64
	for _, f := range fields[first : first+4] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * tick, nil
}

// parseRSS returns VmRSS of proc_pid_status(5) in bytes; a process that is
// ending has none.
func parseRSS(status string) int64 {
	_, rest, _ := strings.Cut(status, "VmRSS:")
	if f := strings.Fields(rest); len(f) > 0 {
		if kb, err := strconv.ParseInt(f[0], 10, 64); err == nil {
			return kb << 10
		}
	}
	return 0
}
