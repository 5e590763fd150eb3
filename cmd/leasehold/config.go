package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/internal/health"
	"leasehold/vip"
)

// Defaults of the configuration file; docs/reference.md gives the reasons.
const (
	defaultRunDir   = "/run/leasehold"
	defaultBPFDir   = "/sys/fs/bpf/leasehold"
	defaultTTL      = 3 * time.Second
	defaultFence    = vip.FenceAuto
	defaultProbe    = 20 * time.Millisecond
	defaultPriority = 100
	defaultRefresh  = 30 * time.Second
)

// defaultBurst is when the first announcements of a VIP go out: some switches
// and hosts miss the first one.
func defaultBurst() []time.Duration {
	return []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second}
}

// Config is the configuration file, decoded, with its defaults filled in.
type Config struct {
	File     string
	Node     string
	RunDir   string
	BPFDir   string // where the fences are pinned
	Log      LogConfig
	Etcd     EtcdConfig
	Services []Service
	Notes    []Problem // what the operator should know; nothing that refuses
}

// LogConfig is how the daemon logs.
type LogConfig struct {
	Level string // trace, debug, info, warn, error
	JSON  bool
}

// EtcdConfig is where etcd is and how to get in.
type EtcdConfig struct {
	Endpoints    []string // with their scheme
	CA           string   // paths; empty: not given
	Cert, Key    string
	User         string
	PasswordFile *SecretFile
	Embedded     *EmbeddedConfig // nil: etcd runs by itself

	line      int
	endpoints []endpoint // as written
}

// endpoint is one endpoint as it is written.
type endpoint struct {
	text string
	line int
}

// TLS reports whether there is anything in the tls section.
func (e EtcdConfig) TLS() bool { return e.CA != "" || e.Cert != "" || e.Key != "" }

// Service is one service: its VIPs, its checks and its election.
type Service struct {
	Name         string
	VIPs         []VIP
	TTL          time.Duration
	Fence        vip.FenceMode
	Probe        time.Duration // how long an answer to the duplicate probe is waited for
	Priority     int
	Preempt      bool
	PreemptDelay time.Duration
	KeepLast     bool // last_standing: keep
	Checks       []Check
	Announce     vip.Schedule
	VRRP         *VRRP // nil: none

	line, ttlLine, preemptDelayLine int
	ttlGiven                        bool
}

// VIP is one address with where it is written.
type VIP struct {
	Spec vip.Spec
	line int
}

// Check is one health check. Its password is read apart, because not every
// command may read it.
type Check struct {
	Health       health.Config
	PasswordFile *SecretFile
	line         int
}

// specs returns the VIPs as package vip takes them.
func (s *Service) specs() []vip.Spec {
	specs := make([]vip.Spec, len(s.VIPs))
	for i, v := range s.VIPs {
		specs[i] = v.Spec
	}
	return specs
}

// vipConfig is what package vip has to know of a service.
func (s *Service) vipConfig(cfg *Config, log hclog.Logger) vip.Config {
	c := vip.Config{
		VIPs: s.specs(), Announce: s.Announce, ResetClients: true,
		Fence: s.Fence, BPFDir: cfg.BPFDir, Probe: s.Probe, Log: log,
	}
	if c.Fence == vip.FenceAuto && (needsFence(s.TTL) || s.VRRP.needsFence()) {
		c.Fence = vip.FenceRequired // nothing else ends a tenure that short
	}
	return c
}

// prefixes returns the VIPs as people write them.
func (s *Service) prefixes() []string {
	out := make([]string, len(s.VIPs))
	for i, v := range s.VIPs {
		out[i] = v.Spec.Prefix.String()
	}
	return out
}

func (c *Config) serviceNames() []string {
	names := make([]string, len(c.Services))
	for i, s := range c.Services {
		names[i] = s.Name
	}
	return names
}

// LoadConfig reads and checks a configuration file. Everything that is wrong
// with it comes back at once, as Problems. It opens no other file.
func LoadConfig(file string, hostname func() (string, error)) (*Config, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrPermission) {
		return nil, Problems{{File: file, What: "is not for this user; use sudo, or join the group that owns it"}}
	}
	if err != nil {
		return nil, Problems{{File: file, What: fmt.Sprintf("%v; name another file with --config", err)}}
	}
	return ParseConfig(file, b, hostname)
}

// ParseConfig is LoadConfig for a file that has been read. The relative paths in
// it count from its folder.
func ParseConfig(file string, b []byte, hostname func() (string, error)) (*Config, error) {
	r := &report{file: file}
	cfg := &Config{File: file, RunDir: defaultRunDir, BPFDir: defaultBPFDir, Log: LogConfig{Level: "info"}}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, Problems{{File: file, What: fmt.Sprintf("its folder: %v", err)}}
	}
	configDecoder{decoder{r}, dir}.decode(b, cfg)
	// What the defaults are would be misleading while the file cannot be read.
	if len(cfg.Services) > 0 || cfg.Etcd.Embedded != nil || len(r.problems) == 0 {
		validate(r, cfg, hostname)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	cfg.Notes = r.notes
	for i := range cfg.Services {
		cfg.Services[i].placeOnVMAC()
	}
	return cfg, nil
}
