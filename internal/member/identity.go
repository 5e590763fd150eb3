package member

import (
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

// identity is whose a log is.
type identity struct{ cluster, member uint64 }

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
	w, err := wal.OpenForRead(lg, walDir(dir), snaps[len(snaps)-1])
	if err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	metadata, _, _, err := w.ReadAll()
	if err := errors.Join(err, w.Close()); err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	var m etcdserverpb.Metadata
	if err := proto.Unmarshal(metadata, &m); err != nil {
		return identity{}, fmt.Errorf("log: %w", err)
	}
	return identity{cluster: m.GetClusterID(), member: m.GetNodeID()}, nil
}

// dbLockWait is how long a database that another process has open is waited for.
const dbLockWait = time.Second

// checkDB reads the whole database, as etcd would do bit by bit, and panic at the
// first page that is not what it should be. One that is not there is fine: etcd
// makes it from the log.
func checkDB(dir string) (err error) {
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
		return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}
