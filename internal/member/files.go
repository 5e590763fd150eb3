package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Reserve is how much of its filesystem a member leaves free, in bytes: a log
// segment and a database that grows once. With less it stops, in order, before
// etcd would end its process in the middle of a write.
const Reserve = 64 << 20

// StartReserve is what must be free to start, in bytes: a member that was stopped for want of
// space does not start and stop again over the same megabyte.
const StartReserve = Reserve + 32<<20

// Free returns how many bytes a process without privileges may still write where
// dir is, or will be: its nearest folder that exists is asked.
func Free(dir string) (uint64, error) {
	for {
		var st unix.Statfs_t
		err := unix.Statfs(dir, &st)
		if err == nil {
			return st.Bavail * uint64(st.Bsize), nil //nolint:gosec // a block size is positive
		}
		up := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || up == dir {
			return 0, fmt.Errorf("free space of %s: %w", dir, err)
		}
		dir = up
	}
}

// Record says what the data directory has, and stands beside it: a directory that
// is gone, while its record is not, has been lost.
type Record struct {
	Node    string `json:"node"`
	Cluster string `json:"cluster_id"` // hexadecimal, as etcdctl shows it
	Member  string `json:"member_id"`
	Etcd    string `json:"etcd"` // the newest version that wrote there
}

func recordFile(dir string) string { return filepath.Clean(dir) + ".json" }

// LockFile is the file beside dir that a member's process has locked.
func LockFile(dir string) string { return filepath.Clean(dir) + ".lock" }

// ReadRecord returns what is recorded of the data in dir; nil where nothing is.
func ReadRecord(dir string) (*Record, error) {
	b, err := os.ReadFile(recordFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordFile(dir), err)
	}
	return &r, nil
}

// write replaces the record in one step.
func (r *Record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next := recordFile(dir) + ".new"
	if err := os.WriteFile(next, append(b, '\n'), 0o640); err != nil { //nolint:gosec // nothing secret, and the group reads status
		return err
	}
	return os.Rename(next, recordFile(dir))
}

// State is what a member's process says of itself.
type State struct {
	PID     int       `json:"pid"`
	State   string    `json:"state"` // waiting, starting, running, stopping
	Why     string    `json:"why,omitempty"`
	Since   time.Time `json:"since"`
	Version string    `json:"version,omitempty"`
}

// The states of a member's process.
const (
	Waiting  = "waiting" // for what Why says
	Starting = "starting"
	Running  = "running"
	Stopping = "stopping"
)

// ReadState returns what the process says that has the data directory; false when
// there is none.
func ReadState(dir string) (State, bool) {
	f, err := os.Open(LockFile(dir))
	if err != nil {
		return State{}, false
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return State{}, false // nobody has it; closing gives it back
	}
	var s State
	b := make([]byte, stateSize)
	n, _ := f.ReadAt(b, 0) // shorter than b: io.EOF
	if err := json.Unmarshal([]byte(strings.TrimSpace(string(b[:n]))), &s); err != nil || s.PID <= 0 {
		return State{State: Starting}, true // it has just taken the lock
	}
	return s, true
}

// stateSize is what the state takes up in the lock file, always: it is written in
// place, so that a full disk does not keep it from being said.
const stateSize = 1024

// lock is the lock on a data directory, with the state in it.
type lock struct {
	f     *os.File
	state State
}

// errInUse says that another process has the data directory.
var errInUse = errors.New("another member runs on it")

// takeLock takes the lock on a data directory, which ends with the process.
func takeLock(dir, version string) (*lock, error) {
	if err := os.MkdirAll(filepath.Dir(LockFile(dir)), 0o750); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(LockFile(dir), os.O_RDWR|os.O_CREATE, 0o640) //nolint:gosec // as the record
	if err != nil {
		return nil, err
	}
	if err := exclusive(f); err != nil {
		s, _ := ReadState(dir)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w, pid %d", errInUse, s.PID)
		}
		return nil, errors.Join(err, f.Close())
	}
	l := &lock{f: f, state: State{PID: os.Getpid(), Version: version}}
	if err := l.say(Starting, ""); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// exclusive locks a file. Who only looks whether it is locked has it for a moment,
// which is waited out.
func exclusive(f *os.File) error {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for range 20 {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		<-again.C
	}
	return unix.EWOULDBLOCK
}

// say writes what the process does now.
func (l *lock) say(state, why string) error {
	if state != l.state.State {
		l.state.Since = time.Now().UTC().Truncate(time.Millisecond)
	}
	l.state.State, l.state.Why = state, why
	b, err := json.Marshal(l.state)
	if err == nil && len(b) > stateSize {
		short := l.state
		short.Why = short.Why[:max(0, len(short.Why)-(len(b)-stateSize)-8)] + "…"
		b, err = json.Marshal(short)
	}
	if err != nil {
		return err
	}
	_, err = l.f.WriteAt(fmt.Appendf(nil, "%-*s\n", stateSize-1, b), 0)
	return err
}

func (l *lock) close() error { return l.f.Close() }

// HasData reports whether a member has run on dir: there is a log in it.
func HasData(dir string) bool {
	names, err := filepath.Glob(filepath.Join(walDir(dir), "*.wal"))
	return err == nil && len(names) > 0
}

func walDir(dir string) string { return filepath.Join(dir, "member", "wal") }
func dbFile(dir string) string { return filepath.Join(dir, "member", "snap", "db") }

// wiped are what Wipe removes.
func wiped(dir string) []string { return []string{filepath.Join(dir, "member"), recordFile(dir)} }

// Wipe removes the data of the member on this host, with its record, and returns
// what it removed. It fails while a member's process has the directory, and then
// nothing is removed. The cluster still has the member: see etcd's member remove.
func Wipe(dir string) (removed []string, err error) {
	l, err := takeLock(dir, "")
	if err != nil {
		return nil, fmt.Errorf("wipe %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, l.close()) }()
	for _, path := range wiped(dir) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return removed, fmt.Errorf("wipe: %w", err)
		}
		removed = append(removed, path)
	}
	return removed, nil
}
