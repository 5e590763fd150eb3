package lab

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// EtcdConfig says how to run etcd. The zero EtcdConfig is three members with
// etcd's own timing.
type EtcdConfig struct {
	Binary string // default: etcd, as installed
	// Leasehold is a leasehold binary whose own members are run instead, each as the
	// unit does: "leasehold etcd". ExtraArgs and TLS do not go with it.
	Leasehold string
	Hosts     []string      // default A, B, C
	Heartbeat time.Duration // default 100ms, etcd's own
	Election  time.Duration // default 1s, etcd's own
	// ExtraArgs are added to each member's command line, and win over the
	// lab's; Env is added to its environment.
	ExtraArgs, Env []string
	// TLS is how the lab asks the members; with it their client URLs are https,
	// and ExtraArgs must say with which files. CtlArgs are then etcdctl's.
	TLS     *tls.Config
	CtlArgs []string
}

// Etcd is one etcd cluster in the lab.
type Etcd struct {
	lab     *Lab
	cfg     EtcdConfig
	cluster string // the value of --initial-cluster

	mu      sync.Mutex
	members map[string]*Process
	daemon  func(host string) *Process // whose members they are; nil: processes of the lab's
}

// OwnEtcd returns the cluster whose members the daemons on hosts A, B and C run. It
// starts nothing; daemon returns the one on a host, nil before there is one.
func (l *Lab) OwnEtcd(daemon func(host string) *Process) *Etcd {
	return &Etcd{lab: l, cfg: EtcdConfig{Hosts: []string{A, B, C}}, daemon: daemon}
}

// StartEtcd starts the members and waits until they have a leader and answer,
// at most 20 s. They run until they are stopped or the lab closes; on error
// they may run until then too.
func (l *Lab) StartEtcd(ctx context.Context, cfg EtcdConfig) (*Etcd, error) {
	if cfg.Binary == "" && cfg.Leasehold == "" {
		path, err := findProgram("etcd")
		if err != nil {
			return nil, err
		}
		cfg.Binary = path
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = []string{A, B, C}
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 100 * time.Millisecond
	}
	if cfg.Election == 0 {
		cfg.Election = time.Second
	}
	e := &Etcd{lab: l, cfg: cfg, members: map[string]*Process{}}
	var peers []string
	for _, key := range cfg.Hosts {
		h, err := l.Host(key)
		if err != nil {
			return nil, err
		}
		peers = append(peers, fmt.Sprintf("%s=http://%s:2380", key, h.Addr.Addr()))
	}
	e.cluster = strings.Join(peers, ",")
	for _, key := range cfg.Hosts {
		if err := e.Start(key); err != nil {
			return nil, err
		}
	}
	return e, e.WaitReady(ctx)
}

// Start starts a member, at first or again, and does not wait for it.
func (e *Etcd) Start(host string) error {
	h, err := e.lab.Host(host)
	if err != nil {
		return err
	}
	dir, err := e.lab.HostDir(host)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "etcd")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return fmt.Errorf("make the data directory of etcd on host %s: %w", host, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.members[host]; p != nil && p.Running() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	if e.cfg.Leasehold != "" {
		p, err := e.startOwn(h, dir)
		e.members[host] = p
		return err
	}
	peer := fmt.Sprintf("http://%s:2380", h.Addr.Addr())
	listen := strings.Replace(e.url(h), h.Addr.Addr().String(), "0.0.0.0", 1)
	args := []string{
		"--name", host, "--data-dir", data,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--listen-client-urls", listen, "--advertise-client-urls", e.url(h),
		"--initial-cluster", e.cluster, "--initial-cluster-state", "new", "--initial-cluster-token", e.lab.name,
		"--heartbeat-interval", fmt.Sprint(e.cfg.Heartbeat.Milliseconds()),
		"--election-timeout", fmt.Sprint(e.cfg.Election.Milliseconds()),
		"--logger", "zap", "--log-outputs", "stderr",
	}
	p, err := e.lab.Start(host, "etcd", e.cfg.Env, e.cfg.Binary, append(args, e.cfg.ExtraArgs...)...)
	if err != nil {
		return err
	}
	e.members[host] = p
	return nil
}

// startOwn starts a member of Leasehold's own, with a config file of its own.
func (e *Etcd) startOwn(h Host, dir string) (*Process, error) {
	embedded, err := e.lab.Embedded(h.Key, e.cfg)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "etcd.yaml")
	text := fmt.Sprintf("node: %s\nrun_dir: %s\netcd:\n  embedded: %s\nservices: {}\n", h.Name, e.lab.RunDir(h.Key), embedded)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write the config of the member on host %s: %w", h.Key, err)
	}
	return e.lab.Start(h.Key, "etcd", e.cfg.Env, e.cfg.Leasehold, "etcd", "--config", file)
}

// Embedded is the section etcd.embedded of a host's config, on one line, for
// members without certificates on the hosts of cfg.
func (l *Lab) Embedded(host string, cfg EtcdConfig) (string, error) {
	dir, err := l.HostDir(host)
	if err != nil {
		return "", err
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = []string{A, B, C}
	}
	var members []string
	for _, key := range cfg.Hosts {
		h, err := l.Host(key)
		if err != nil {
			return "", err
		}
		members = append(members, fmt.Sprintf("%s: %s", h.Name, h.Addr.Addr()))
	}
	return fmt.Sprintf("{dir: %s, insecure: true, heartbeat: %s, election: %s, members: {%s}}", filepath.Join(dir, "etcd"),
		cmp.Or(cfg.Heartbeat, 100*time.Millisecond), cmp.Or(cfg.Election, 500*time.Millisecond), strings.Join(members, ", ")), nil
}

// Own reports whether the members are Leasehold's own.
func (e *Etcd) Own() bool { return e.cfg.Leasehold != "" || e.daemon != nil }

func (e *Etcd) url(h Host) string {
	scheme := "http"
	if e.cfg.TLS != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:2379", scheme, h.Addr.Addr())
}

// Endpoints returns the client URLs of all members, in the order of the hosts.
func (e *Etcd) Endpoints() []string {
	var urls []string
	for _, key := range e.cfg.Hosts {
		if h, err := e.lab.Host(key); err == nil {
			urls = append(urls, e.url(h))
		}
	}
	return urls
}

// Process returns the member's process, the latest one: Kill, Freeze, Thaw and
// Stop it there, Start it again here. It is nil on a host without a member.
func (e *Etcd) Process(host string) *Process {
	if e.daemon != nil {
		return e.daemon(host)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.members[host]
}

// running returns the hosts whose members run, in the order of the hosts.
func (e *Etcd) running() []string {
	var keys []string
	for _, key := range e.cfg.Hosts {
		if p := e.Process(key); p != nil && p.Running() {
			keys = append(keys, key)
		}
	}
	return keys
}

// WaitReady waits until all running members agree on a leader and each answers
// a linearizable read, at most 20 s. Members that were started again have to
// run at the time of the call.
func (e *Etcd) WaitReady(ctx context.Context) error {
	keys := e.running()
	if len(keys) == 0 {
		return errors.New("wait for etcd: no member runs")
	}
	err := Wait(ctx, 20*time.Second, "etcd to have a leader", func() (bool, error) {
		if _, err := e.Leader(ctx); err != nil {
			return false, err
		}
		for _, key := range keys {
			if err := e.call(ctx, key, "/v3/kv/range", map[string]string{"key": "AA=="}, nil); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	if err != nil {
		for _, key := range e.cfg.Hosts {
			err = fmt.Errorf("%w\n%s:\n%s", err, key, e.Process(key).Tail(5))
		}
	}
	return err
}
