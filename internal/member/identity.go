package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// identity is whose a log is, and how far it reaches.
type identity struct{ cluster, member, last uint64 }

// readIdentity reads the whole log of a data directory, which checks it, and
// returns whose it is. It changes nothing.
func readIdentity(dir string) (id identity, err error) {
	defer func() {
		if r := recover(); r != nil { // etcd's decoder panics on some records
			err = fmt.Errorf("log: %v", r)
		}
	}()
	lg := zap.NewNop()
	snaps, err := wal.ValidSnapshotEntries(lg, walDir(dir))
	if err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	if len(snaps) == 0 {
		return identity{}, errors.New("log: it has no beginning")
	}
	from := snaps[len(snaps)-1]
	w, err := wal.OpenForRead(lg, walDir(dir), from)
	if err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	metadata, _, entries, err := w.ReadAll()
	_ = w.Close() // it closes what only a log that is written to has open, and complains that it is not
	if err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	var m etcdserverpb.Metadata
	if err := proto.Unmarshal(metadata, &m); err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	id = identity{cluster: m.GetClusterID(), member: m.GetNodeID(), last: from.GetIndex()}
	if n := len(entries); n > 0 {
		id.last = entries[n-1].GetIndex()
	}
	return id, nil
}

// appliedIn is the last entry of the log that went into a database, as etcd keeps it
// there (server/v3/storage/schema/cindex.go); 0 when it is not known.
func appliedIn(tx *bolt.Tx) uint64 {
	meta := tx.Bucket([]byte("meta"))
	if meta == nil {
		return 0
	}
	v := meta.Get([]byte("consistent_index"))
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// dbLockWait is how long a database that another process has open is waited for.
const dbLockWait = time.Second

// checkDB reads the whole database, as etcd would do bit by bit, and panic at the
// first page that is not what it should be. One that is not there is fine: etcd
// makes it from the log. One that is ahead of the log, whose last entry is given,
// means that the log was cut: etcd takes garbage at some places for a write that a
// power failure has torn, drops the rest and goes on with a vote that it has no
// right to.
func checkDB(dir string, last uint64) (err error) {
	if _, err := os.Stat(dbFile(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// A page number beyond the file is a fault in the memory map, not a panic.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("database: %v", r)
		}
	}()
	db, err := bolt.Open(dbFile(dir), 0o600, &bolt.Options{ReadOnly: true, Timeout: dbLockWait})
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	err = db.View(func(tx *bolt.Tx) error {
		if at := appliedIn(tx); at > last {
			return fmt.Errorf("it is at entry %d, and the log ends at %d", at, last)
		}
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}
