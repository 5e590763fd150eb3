package member

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	// segment is the size of a file of etcd's log, which is allocated at once, two of
	// them at the start. etcd's own 64 MB are for hundreds of writes a second; a
	// service makes ten at the shortest ttl, 11 MB an hour.
	segment = 8 << 20
	// keepFiles is how many log segments and snapshots are kept; etcd's own is 5.
	keepFiles = 3
	// keepRevisions is how many revisions stay readable. A watch that is further
	// behind reads everything anew.
	keepRevisions = 1000
	// batch is how often the database is written to its file. What came since is in the
	// log, which is synced with each entry, and is read from there after a crash; etcd's
	// own 100 ms is a commit of some 30 kB for every renewal.
	batch = time.Second
	// token goes into the ids of a new cluster.
	token = "leasehold"
)

// setSegment is how etcd is told: by a variable, which is read without a lock.
var setSegment = sync.OnceFunc(func() { wal.SegmentSizeBytes = segment }) //nolint:gochecknoglobals // as etcd's own

// embed is the configuration of etcd for a decision to start.
func (c *Config) embed(d decision, log *zap.Logger) (*embed.Config, error) {
	setSegment()
	e := embed.NewConfig()
	own := c.own()
	peer, client := c.url(own.Addr, c.PeerPort), c.url(own.Addr, c.ClientPort)
	e.Name, e.Dir = c.Name, c.Dir
	e.TickMs, e.ElectionMs = uint(c.Heartbeat.Milliseconds()), uint(c.Election.Milliseconds()) //nolint:gosec // validated
	e.ListenPeerUrls, e.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	e.ListenClientUrls, e.AdvertiseClientUrls = c.listenClients(), []url.URL{client}
	e.InitialClusterToken = token
	e.ClusterState = embed.ClusterStateFlagNew
	if d.move == join {
		e.ClusterState = embed.ClusterStateFlagExisting
	}
	peers := d.peers
	if peers == nil { // it has data, and goes by them
		peers = map[string]string{c.Name: peer.String()}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(peers)) {
		all = append(all, name+"="+peers[name])
	}
	e.InitialCluster = strings.Join(all, ",")
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModeRevision, fmt.Sprint(keepRevisions)
	e.QuotaBackendBytes = c.Quota
	e.MaxWalFiles, e.BackendBatchInterval = keepFiles, batch
	if c.TLS.on() {
		info := transport.TLSInfo{CertFile: c.TLS.Cert, KeyFile: c.TLS.Key, TrustedCAFile: c.TLS.CA, ClientCertAuth: true}
		e.ClientTLSInfo, e.PeerTLSInfo = info, info
	}
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("etcd refuses its configuration: %w", err)
	}
	return e, nil
}
