package main

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"leasehold/vip"
)

// configDecoder turns the syntax tree into a Config. What stands in one place
// only is checked here; what has to agree with something else, in validate.
type configDecoder struct {
	decoder
	dir string // what relative paths count from
}

// path sets a path. A systemd credential stays as it is until it is read.
func (d configDecoder) path(key string, set func(string, int)) func(ast.Node) {
	return d.text(key, func(s string, at int) {
		if !filepath.IsAbs(s) && !strings.HasPrefix(s, credentialsDir+"/") {
			s = filepath.Join(d.dir, s)
		}
		set(s, at)
	})
}

func (d configDecoder) secretFile(key string, set func(*SecretFile)) func(ast.Node) {
	return d.path(key, func(s string, at int) { set(&SecretFile{Path: s, Line: at}) })
}

// secretItself refuses a password in the configuration file.
func (d configDecoder) secretItself(n ast.Node) {
	d.problem(line(n), "password: a password in this file ends up in backups and tickets; write it to a file of its own and name that with password_file")
}

func (d configDecoder) decode(b []byte, cfg *Config) {
	seen := map[string]bool{}
	once := func(key string, set func(ast.Node)) func(ast.Node) {
		return func(n ast.Node) { seen[key] = true; set(n) }
	}
	before := len(d.problems)
	d.document(b, keys{
		"node":     d.text("node", func(s string, at int) { cfg.Node = s; d.name("node", s, at) }),
		"run_dir":  d.path("run_dir", func(s string, _ int) { cfg.RunDir = s }),
		"bpf_dir":  d.text("bpf_dir", func(s string, at int) { d.bpfDir(s, at, cfg) }),
		"log":      func(n ast.Node) { d.log(n, &cfg.Log) },
		"etcd":     once("etcd", func(n ast.Node) { d.etcd(n, &cfg.Etcd) }),
		"services": once("services", func(n ast.Node) { d.services(n, cfg) }),
	})
	if len(d.problems) > before && len(seen) == 0 {
		return // it is no configuration at all; what is missing would be noise
	}
	if !seen["etcd"] {
		d.problem(0, "etcd is missing, and without etcd nobody can hold a VIP; write etcd: {endpoints: [http://10.20.8.50:2379]}, or embedded: where this node shall run a member of its own")
	}
	if !seen["services"] && cfg.Etcd.Embedded == nil { // without one it is a witness
		d.problem(0, "services is missing, and there is nothing to do without one; see docs/reference.md for an example")
	}
}

// bpfDir takes no path that counts from the file's folder: that is on no bpffs.
func (d configDecoder) bpfDir(s string, at int, cfg *Config) {
	if !filepath.IsAbs(s) {
		d.problem(at, "bpf_dir: %q is not an absolute path, and the fence is pinned on a bpffs, which is mounted somewhere else; write bpf_dir: %s", s, defaultBPFDir)
		return
	}
	cfg.BPFDir = filepath.Clean(s)
}

func (d configDecoder) log(n ast.Node, out *LogConfig) {
	d.mapping(n, "log", keys{
		"level":  d.word("log.level", []string{"trace", "debug", "info", "warn", "error"}, func(s string) { out.Level = s }),
		"format": d.word("log.format", []string{"text", "json"}, func(s string) { out.JSON = s == "json" }),
	})
}

func (d configDecoder) etcd(n ast.Node, out *EtcdConfig) {
	out.line = line(n)
	d.mapping(n, "etcd", keys{
		"endpoints": d.list("etcd.endpoints", "[http://10.20.8.50:2379]",
			d.text("etcd.endpoints", func(s string, at int) { out.endpoints = append(out.endpoints, endpoint{s, at}) })),
		"tls": func(n ast.Node) {
			d.mapping(n, "etcd.tls", keys{
				"ca":   d.path("etcd.tls.ca", func(s string, _ int) { out.CA = s }),
				"cert": d.path("etcd.tls.cert", func(s string, _ int) { out.Cert = s }),
				"key":  d.path("etcd.tls.key", func(s string, _ int) { out.Key = s }),
			})
		},
		"user":          d.text("etcd.user", func(s string, _ int) { out.User = s }),
		"password_file": d.secretFile("etcd.password_file", func(f *SecretFile) { out.PasswordFile = f }),
		"!password":     d.secretItself,
		"embedded":      func(n ast.Node) { d.embedded(n, out) },
	})
}

func (d configDecoder) services(n ast.Node, cfg *Config) {
	found := false
	d.pairs(n, "services", func(name string, at int, value ast.Node) {
		found = true
		s := Service{
			Name: name, Fence: defaultFence, Probe: defaultProbe, Priority: defaultPriority, line: at, ttlLine: at,
			Announce: vip.Schedule{Burst: defaultBurst(), Refresh: defaultRefresh},
		}
		d.name("service", name, at)
		d.service(value, &s)
		cfg.Services = append(cfg.Services, s)
	})
	if _, ok := entries(n); ok && !found && cfg.Etcd.Embedded == nil {
		d.problem(line(n), "services is empty, and there is nothing to do without one; see docs/reference.md for an example")
	}
}

func (d configDecoder) service(n ast.Node, s *Service) {
	where := "services." + s.Name
	before := len(d.problems)
	hasVIPs := false
	d.mapping(n, where, keys{
		"vips": func(n ast.Node) {
			hasVIPs = true
			d.list("vips", `["10.20.8.188/24 dev eth0 label eth0:1"]`, d.text("vips", func(text string, at int) { d.vip(text, at, s) }))(n)
		},
		"ttl":   d.duration("ttl", func(v time.Duration, at int) { s.TTL, s.ttlLine, s.ttlGiven = v, at, true }),
		"fence": d.word("fence", fenceWords(), func(v string) { s.Fence = fenceModes()[slices.Index(fenceWords(), v)] }),
		"probe": d.duration("probe", func(v time.Duration, at int) { d.probe(v, at, s) }),
		"priority": d.number("priority", 1, 254, "the best eligible node is the one with the highest; 0 and 255 mean something else in VRRP, see RFC 9568 section 5.2.4",
			func(v int) { s.Priority = v }),
		"preempt":       d.flag("preempt", func(v bool, _ int) { s.Preempt = v }),
		"preempt_delay": d.duration("preempt_delay", func(v time.Duration, at int) { s.PreemptDelay, s.preemptDelayLine = v, at }),
		"last_standing": d.word("last_standing", []string{"release", "keep"}, func(v string) { s.KeepLast = v == "keep" }),
		"checks": d.list("checks", "- process: {pidfile: /run/mysqld/mysqld.pid}; take the key out for no checks",
			func(n ast.Node) { d.check(n, s) }),
		"announce": func(n ast.Node) { d.announce(n, &s.Announce) },
		"vrrp":     func(n ast.Node) { d.vrrp(n, s) },
	})
	if !hasVIPs && len(d.problems) == before {
		d.problem(s.line, `%s has no vips, and there is nothing to hold without one; write vips: ["10.20.8.188/24 dev eth0"]`, where)
	}
}

func fenceModes() []vip.FenceMode {
	return []vip.FenceMode{vip.FenceAuto, vip.FenceOff, vip.FenceRequired}
}

// fenceWords are the words for fenceModes.
func fenceWords() []string {
	var words []string
	for _, m := range fenceModes() {
		words = append(words, m.String())
	}
	return words
}

// probe bounds the wait for a duplicate: it comes before the VIP answers.
func (d configDecoder) probe(v time.Duration, at int, s *Service) {
	const longest = time.Second
	if v <= 0 || v > longest {
		d.problem(at, "services.%s.probe: %s is not over 0s and up to %s: every take-over after an unclean end waits that long for the answer of a host that has the VIP as well; "+
			"write probe: %s (a neighbour answers in under 1ms)", s.Name, v, longest, defaultProbe)
		return
	}
	s.Probe = v
}

func (d configDecoder) vip(text string, at int, s *Service) {
	spec, err := vip.ParseSpec(text)
	if err != nil {
		d.problem(at, "services.%s.vips: %v", s.Name, err)
		return
	}
	s.VIPs = append(s.VIPs, VIP{spec, at})
}

// announce bounds what may be asked for: announcements are broadcasts that every
// host in the network has to look at.
func (d configDecoder) announce(n ast.Node, out *vip.Schedule) {
	const most, longest = 10, time.Minute
	d.mapping(n, "announce", keys{
		"burst": func(n ast.Node) {
			out.Burst = nil
			d.list("announce.burst", "[0s, 50ms, 200ms, 1s]", d.duration("announce.burst", func(v time.Duration, at int) {
				last := len(out.Burst) - 1
				if last < 0 && v != 0 {
					d.problem(at, "announce.burst begins at %s: clients would go on to the old host until then; begin with 0s", v)
				}
				if last >= 0 && v <= out.Burst[last] {
					d.problem(at, "announce.burst: %s comes after %s; write the times since the take-over in rising order", v, out.Burst[last])
				}
				if v > longest {
					d.problem(at, "announce.burst: %s is over %s; what comes that late belongs into announce.refresh", v, longest)
				}
				out.Burst = append(out.Burst, v)
			}))(n)
			if len(out.Burst) > most {
				d.problem(line(n), "announce.burst: %d announcements are over %d; every host in the network has to look at each", len(out.Burst), most)
			}
		},
		"refresh": d.duration("announce.refresh", func(v time.Duration, at int) {
			if v < time.Second {
				d.problem(at, "announce.refresh: %s is under 1s, and would flood the network; write 1s or more, 30s is the default", v)
			}
			out.Refresh = v
		}),
	})
}
