package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"leasehold/vip"
)

func testHost() (string, error) { return "db20-024", nil }

// parse reads a configuration as /etc/leasehold/leasehold.yaml.
func parse(text string) (*Config, error) {
	return ParseConfig(defaultConfigFile, []byte(text), testHost)
}

const good = `node: db20-024
etcd:
  endpoints: [https://10.20.8.50:2379, https://10.20.8.27:2379, https://10.20.8.28:2379]
  tls: {ca: ca.pem, cert: node.pem, key: node.key}
services:
  mysql:
    vips: ["10.20.8.188/24 dev eth0 label eth0:1"]
    ttl: 3s
    priority: 100
    preempt: false
    checks:
      - process: {pidfile: /run/mysqld/mysqld.pid}
      - mysql: {socket: /run/mysqld/mysqld.sock, user: leasehold, password_file: mysql.password, interval: 500ms, timeout: 1s, fall: 2, rise: 2, require: writable}
`

// with returns the good configuration with one thing replaced, which must be in it.
func with(t *testing.T, old, text string) string {
	t.Helper()
	if strings.Count(good, old) != 1 {
		t.Fatalf("%q is not in the good configuration once", old)
	}
	return strings.Replace(good, old, text, 1)
}

func TestGoodConfig(t *testing.T) {
	cfg, err := parse(good)
	if err != nil {
		t.Fatal(err)
	}
	s := cfg.Services[0]
	got := fmt.Sprint(cfg.Node, cfg.RunDir, cfg.BPFDir, cfg.Log, cfg.Etcd.Endpoints, cfg.Etcd.CA, cfg.Etcd.Cert, cfg.Etcd.Key,
		s.Name, s.VIPs[0].Spec.String(), s.TTL, s.Fence, s.Probe, s.Priority, s.Preempt, s.PreemptDelay, s.KeepLast, s.Announce.Burst, s.Announce.Refresh)
	want := fmt.Sprint("db20-024", "/run/leasehold", "/sys/fs/bpf/leasehold", LogConfig{Level: "info"},
		[]string{"https://10.20.8.50:2379", "https://10.20.8.27:2379", "https://10.20.8.28:2379"},
		"/etc/leasehold/ca.pem", "/etc/leasehold/node.pem", "/etc/leasehold/node.key",
		"mysql", "10.20.8.188/24 dev eth0 label eth0:1", 3*time.Second, vip.FenceAuto, 20*time.Millisecond, 100, false, time.Duration(0), false, defaultBurst(), defaultRefresh)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(s.Checks) != 2 {
		t.Fatalf("%d checks, want 2", len(s.Checks))
	}
	m := s.Checks[1]
	if m.Health.MySQL.User != "leasehold" || m.Health.MySQL.Require != "writable" || m.Health.Interval != 500*time.Millisecond ||
		m.Health.Timeout != time.Second || m.Health.Fall != 2 || m.Health.Rise != 2 || m.PasswordFile.Path != "/etc/leasehold/mysql.password" {
		t.Errorf("mysql check = %v, password file %v", m.Health, m.PasswordFile)
	}
}

// The reference configuration of the packages is what people start from.
func TestReferenceConfig(t *testing.T) {
	if _, err := LoadConfig("../../deploy/leasehold.yaml", testHost); err != nil {
		t.Error(err)
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := parse("etcd: {endpoints: [\"10.0.0.1:2379\", \"10.0.0.2:2379\"]}\nservices: {s: {vips: [\"10.20.8.188/24 dev eth0\"], ttl: 4s}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Node != "db20-024" || cfg.Etcd.Endpoints[0] != "http://10.0.0.1:2379" || cfg.Services[0].Priority != defaultPriority {
		t.Errorf("got %+v", cfg)
	}
	if len(cfg.Notes) != 2 { // one for each endpoint that was written without a scheme
		t.Errorf("notes: %v", cfg.Notes)
	}
}

// off is a word here and no flag: YAML 1.2, unlike 1.1, has true and false only.
func TestFenceKeys(t *testing.T) {
	cfg, err := parse(strings.Replace(with(t, "ttl: 3s", "fence: off\n    probe: 50ms"), "node:", "bpf_dir: /run/bpf/lh/\nnode:", 1))
	if err != nil {
		t.Fatal(err)
	}
	if s := cfg.Services[0]; s.Fence != vip.FenceOff || s.Probe != 50*time.Millisecond || cfg.BPFDir != "/run/bpf/lh" {
		t.Errorf("fence %q, probe %s, bpf_dir %q", s.Fence, s.Probe, cfg.BPFDir)
	}
}

// A ttl that lifetimes cannot guard makes auto a must.
func TestFenceOfTheVIPs(t *testing.T) {
	for text, want := range map[string]vip.FenceMode{
		"ttl: 3s": vip.FenceAuto, "ttl: 2999ms": vip.FenceRequired, "ttl: 3s\n    fence: off": vip.FenceOff, "ttl: 1h\n    fence: required": vip.FenceRequired,
	} {
		cfg, err := parse(with(t, "ttl: 3s", text))
		if err != nil {
			t.Fatal(err)
		}
		if c := cfg.Services[0].vipConfig(cfg, nil); c.Fence != want || c.BPFDir != defaultBPFDir || c.Probe != defaultProbe {
			t.Errorf("%s: fence %s, dir %s, probe %s; want %s", text, c.Fence, c.BPFDir, c.Probe, want)
		}
	}
}

// Each bad configuration is refused with its line, and the message says what to do.
func TestRefused(t *testing.T) {
	const vips = `    vips: ["10.20.8.188/24 dev eth0 label eth0:1"]`
	const mysql = `      - mysql: {socket: /run/mysqld/mysqld.sock, user: leasehold, password_file: mysql.password, interval: 500ms, timeout: 1s, fall: 2, rise: 2, require: writable}`
	second := func(body string) string { return good + "  other:\n" + body }
	for name, tc := range map[string]struct {
		text string
		line int
		want []string
	}{
		"VIP without prefix length": {with(t, "10.20.8.188/24", "10.20.8.188"), 7, []string{"no prefix length", "write 10.20.8.188/24"}},
		"IPv6 VIP with a label":     {with(t, "10.20.8.188/24", "fd00::188/64"), 7, []string{"IPv6 addresses have no label", "leave the label out"}},
		"label too long":            {with(t, "label eth0:1", "label eth0:mysql-primary"), 7, []string{"at most 15", "shorten it"}},
		"label of another device":   {with(t, "label eth0:1", "label eth1:1"), 7, []string{"not one of device eth0", "write label eth0:1"}},
		"VIP without device":        {with(t, " dev eth0 label eth0:1", ""), 7, []string{"no device", "dev eth0"}},
		"no VIPs":                   {with(t, vips+"\n", ""), 6, []string{"has no vips", "write vips:"}},
		"VIPs not a list":           {with(t, `["10.20.8.188/24 dev eth0 label eth0:1"]`, `"10.20.8.188/24 dev eth0"`), 7, []string{"write a list"}},

		"unknown key at the top":  {with(t, "node: db20-024", "nodes: db20-024"), 1, []string{`unknown key "nodes"`, `did you mean "node"?`}},
		"unknown key in etcd":     {with(t, "endpoints:", "endpoint:"), 3, []string{`unknown key "endpoint" in etcd`, `did you mean "endpoints"?`}},
		"unknown key in service":  {with(t, "preempt:", "pre_empt:"), 10, []string{`unknown key "pre_empt" in services.mysql`, `did you mean "preempt"?`}},
		"key cut short":           {with(t, "priority:", "prio:"), 9, []string{`did you mean "priority"?`}},
		"unknown key in a check":  {with(t, "timeout: 1s", "time_out: 1s"), 13, []string{`unknown key "time_out" in checks.mysql`, `did you mean "timeout"?`}},
		"unknown kind of check":   {with(t, "- process:", "- proc:"), 12, []string{`unknown key "proc"`, `did you mean "process"?`}},
		"key like nothing at all": {with(t, "node: db20-024", "xyzzyplugh: 1"), 1, []string{`unknown key "xyzzyplugh" in the file; it takes bpf_dir, etcd, log, node, run_dir, services`}},

		"ttl that leaves no room": {with(t, "ttl: 3s", "ttl: 2s\n    fence: off"), 8, []string{
			"2s × 0.99/1.01", "50ms", "1s (the kernel removes an address up to that late) = 910ms", "less 400ms", "leaves 510ms", "write ttl: 3s or more, or fence: auto",
		}},
		"ttl just under":        {with(t, "ttl: 3s", "fence: off\n    ttl: 2999ms"), 9, []string{"write ttl: 3s or more"}},
		"ttl under all":         {with(t, "ttl: 3s", "ttl: 499ms"), 8, []string{"even behind a fence", "write ttl: 500ms or more"}},
		"ttl too long":          {with(t, "ttl: 3s", "ttl: 2h"), 8, []string{"over 1h0m0s", "leasehold pause"}},
		"ttl without unit":      {with(t, "ttl: 3s", "ttl: 3"), 8, []string{"has no unit", "write 3s"}},
		"ttl that is no time":   {with(t, "ttl: 3s", "ttl: fast"), 8, []string{`"fast" is not a length of time`, "500ms"}},
		"ttl negative":          {with(t, "ttl: 3s", "ttl: -3s"), 8, []string{"not a length of time"}},
		"ttl empty":             {with(t, "ttl: 3s", "ttl:"), 8, []string{"ttl has no value"}},
		"fence unknown":         {with(t, "ttl: 3s", "fence: always"), 8, []string{`fence: "always"`, "write one of auto, off, required"}},
		"fence misspelt":        {with(t, "ttl: 3s", "fence: require"), 8, []string{`did you mean "required"?`}},
		"fence a flag":          {with(t, "ttl: 3s", "fence: false"), 8, []string{"fence is the value \"false\""}},
		"probe of nothing":      {with(t, "ttl: 3s", "probe: 0s"), 8, []string{"0s is not over 0s", "write probe: 20ms"}},
		"probe for long":        {with(t, "ttl: 3s", "probe: 1001ms"), 8, []string{"1.001s", "up to 1s", "write probe: 20ms"}},
		"probe without unit":    {with(t, "ttl: 3s", "probe: 20"), 8, []string{"probe: 20 has no unit", "20ms"}},
		"bpf_dir relative":      {with(t, "node: db20-024", "bpf_dir: bpf"), 1, []string{`"bpf" is not an absolute path`, "write bpf_dir: /sys/fs/bpf/leasehold"}},
		"priority 0":            {with(t, "priority: 100", "priority: 0"), 9, []string{"0 is not from 1 to 254", "RFC 9568"}},
		"priority huge":         {with(t, "priority: 100", "priority: 99999999999999999999"), 9, []string{"priority"}},
		"priority a word":       {with(t, "priority: 100", "priority: high"), 9, []string{"whole number from 1 to 254"}},
		"preempt not a flag":    {with(t, "preempt: false", "preempt: maybe"), 10, []string{"write true or false"}},
		"preempt_delay alone":   {with(t, "preempt: false", "preempt_delay: 10s"), 10, []string{"without preempt: true"}},
		"last_standing unknown": {with(t, "preempt: false", "last_standing: kep"), 10, []string{`did you mean "keep"?`, "release, keep"}},
		"announce flood":        {with(t, "preempt: false", "announce: {refresh: 1ms}"), 10, []string{"flood", "1s or more"}},
		"announce late":         {with(t, "preempt: false", "announce: {burst: [1s]}"), 10, []string{"begin with 0s"}},
		"announce falling":      {with(t, "preempt: false", "announce: {burst: [0s, 2s, 1s]}"), 10, []string{"rising order"}},

		"two services with one VIP":        {second(vips + "\n"), 15, []string{"10.20.8.188/24 is a VIP of services.mysql already (line 7)", "take one out"}},
		"two services, one VIP, two sizes": {second("    vips: [10.20.8.188/32 dev eth0]\n"), 15, []string{"services.mysql as 10.20.8.188/24 already (line 7)"}},
		"one VIP twice":                    {with(t, `eth0:1"]`, `eth0:1", "10.20.8.188/25 dev eth1"]`), 7, []string{"services.mysql as 10.20.8.188/24 already"}},
		"two services of one name":         {good + "  mysql:\n" + vips + "\n", 14, []string{`"mysql" is in services twice (first on line 6)`, "take one out"}},
		"key twice":                        {with(t, "    ttl: 3s\n", "    ttl: 3s\n    ttl: 4s\n"), 9, []string{`"ttl" is in services.mysql twice (first on line 8)`}},
		"service with a bad name":          {with(t, "  mysql:\n", "  my/sql:\n"), 6, []string{`service "my/sql" has the character '/'`}},
		"node with a bad name":             {with(t, "db20-024", "db 20"), 1, []string{"has the character ' '", "etcd key"}},
		"node named ..":                    {with(t, "db20-024", `".."`), 1, []string{"is a folder"}},
		"name too long":                    {with(t, "db20-024", strings.Repeat("n", 64)), 1, []string{"64 characters, and 1 to 63"}},
		"no services":                      {good[:strings.Index(good, "services:")], 0, []string{"services is missing"}},
		"services empty":                   {good[:strings.Index(good, "  mysql:")], 5, []string{"services has no value"}},
		"no etcd":                          {"node: a\n" + good[strings.Index(good, "services:"):], 0, []string{"etcd is missing"}},
		"embedded beside endpoints":        {with(t, "  tls:", "  embedded: {members: {db20-024: 10.20.8.50}}\n  tls:"), 4, []string{"both endpoints and embedded"}},
		"etcd behind the VIP":              {with(t, "10.20.8.27", "10.20.8.188"), 3, []string{"is a VIP of services.mysql (line 7)", "own addresses"}},
		"check by way of the VIP":          {with(t, "- process: {pidfile: /run/mysqld/mysqld.pid}", "- tcp: {address: \"10.20.8.188:3306\"}"), 12, []string{"no standby could pass it"}},
		"no endpoints":                     {with(t, "  endpoints: [https://10.20.8.50:2379, https://10.20.8.27:2379, https://10.20.8.28:2379]\n", ""), 3, []string{"etcd.endpoints is missing"}},
		"endpoint twice":                   {with(t, "10.20.8.27", "10.20.8.50"), 3, []string{"is there twice (first on line 3)"}},
		"endpoint without port":            {with(t, "10.20.8.27:2379", "10.20.8.27"), 3, []string{"has no port", "write https://10.20.8.27:2379"}},
		"http endpoint beside tls":         {with(t, "https://10.20.8.27", "http://10.20.8.27"), 3, []string{"http while there is a tls section", "https://10.20.8.27:2379"}},
		"endpoint with password":           {with(t, "https://10.20.8.27", "https://u:geheim@10.20.8.27"), 3, []string{"user or password in it", "etcd.password_file"}},
		"endpoint with a path":             {with(t, "10.20.8.27:2379", "10.20.8.27:2379/v3"), 3, []string{"something after the port"}},
		"cert without key":                 {with(t, ", key: node.key", ""), 3, []string{"cert without its key"}},
		"user without password file":       {with(t, "  tls:", "  user: x\n  tls:"), 3, []string{"without etcd.password_file"}},
		"password in the file":             {with(t, "  tls:", "  password: geheim\n  tls:"), 4, []string{"password_file"}},
		"password of a check in the file":  {with(t, "password_file: mysql.password", "password: geheim"), 13, []string{"password_file"}},

		"two kinds in a check":     {with(t, "- process: {pidfile: /run/mysqld/mysqld.pid}", "- {process: {name: a}, tcp: {address: \"a:1\"}}"), 12, []string{"has 2 checks"}},
		"two ways to a process":    {with(t, "{pidfile: /run/mysqld/mysqld.pid}", "{pidfile: /run/mysqld/mysqld.pid, name: mysqld}"), 12, []string{"exactly one"}},
		"fall of a process":        {with(t, "{pidfile: /run/mysqld/mysqld.pid}", "{pidfile: /run/mysqld/mysqld.pid, fall: 3}"), 12, []string{"mean nothing for a process"}},
		"timeout against interval": {with(t, "timeout: 1s", "timeout: 1m"), 13, []string{"timeout (1m0s)"}},
		"mysql without user":       {with(t, "user: leasehold, password_file: mysql.password, ", ""), 13, []string{"mysql.user is missing"}},
		"require of another world": {with(t, "require: writable", "require: primary"), 13, []string{`write one of writable`}},
		"checks that are no list":  {with(t, "    checks:\n      - process: {pidfile: /run/mysqld/mysqld.pid}\n"+mysql+"\n", "    checks: {tcp: {}}\n"), 11, []string{"write a list"}},
		"not YAML":                 {"node: [a\n", 1, []string{"not YAML"}},
		"no mapping":               {"- a\n", 1, []string{"write key: value lines"}},
		"empty file":               {"", 0, []string{"is empty"}},
		"two documents":            {good + "---\nnode: b\n", 15, []string{"second YAML document"}},
		"an anchor":                {with(t, "node: db20-024", "node: &n db20-024"), 1, []string{"anchor or alias"}},
		"log level":                {with(t, "node: db20-024", "log: {level: verbose}"), 1, []string{"log.level", "trace, debug, info, warn, error"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tc.text)
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want problems", err)
			}
			for _, p := range ps {
				if p.Line == tc.line && containsAll(p.String(), tc.want) {
					if strings.Contains(p.String(), "geheim") {
						t.Errorf("%s: shows the password", p)
					}
					return
				}
			}
			t.Errorf("no problem in line %d with %q in:\n%v", tc.line, tc.want, ps)
		})
	}
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

// All that is wrong is listed at once, in the order of the lines.
func TestAllProblemsAreListed(t *testing.T) {
	text := strings.NewReplacer("node: db20-024", "nod: x", "10.20.8.188/24", "10.20.8.188", "ttl: 3s", "ttl: 100ms", "fall: 2", "fal: 2").Replace(good)
	_, err := parse(text)
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatal(err)
	}
	var lines []int
	for _, p := range ps {
		lines = append(lines, p.Line)
	}
	if diff := cmp.Diff([]int{1, 7, 8, 13}, lines); diff != "" {
		t.Errorf("%s\n%v", diff, ps)
	}
	if want := defaultConfigFile + ":1: unknown key"; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want it to begin with %q", err, want)
	}
}

func TestNodeNameFromHost(t *testing.T) {
	text := strings.Replace(good, "node: db20-024\n", "", 1)
	for name, tc := range map[string]struct {
		host string
		err  error
		want string
	}{
		"good":      {"db1.example.com", nil, ""},
		"localhost": {"localhost", nil, "write node: NAME"},
		"odd":       {"db_1 (old)", nil, "write node: NAME"},
		"none":      {"", errors.New("no name"), "write node: NAME"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := ParseConfig("x.yaml", []byte(text), func() (string, error) { return tc.host, tc.err })
			if tc.want == "" {
				if err != nil || cfg.Node != tc.host {
					t.Fatalf("got %v, %v", cfg, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestLoadConfigMissing(t *testing.T) {
	_, err := LoadConfig(filepath.Join(t.TempDir(), "none.yaml"), testHost)
	if err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("got %v, want a word on --config", err)
	}
}

// Relative paths count from the folder of the file, wherever the command is typed.
func TestRelativePaths(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "leasehold.yaml")
	if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	cfg, err := LoadConfig(filepath.Join(filepath.Base(dir), "leasehold.yaml"), testHost)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "ca.pem"); cfg.Etcd.CA != want {
		t.Errorf("ca = %s, want %s", cfg.Etcd.CA, want)
	}
}

// FuzzParseConfig: whatever the file, there is a configuration or a list of
// problems, never a panic.
func FuzzParseConfig(f *testing.F) {
	f.Add(good)
	f.Add("a: &x [*x]\n<<: *x\n? {b: c}\n: !!str 1\n")
	f.Add("services: {mysql: {vips: [1, {}, [2]], checks: [{mysql: []}, 1], announce: {burst: {}}}}\netcd: []\n")
	f.Add("etcd: {endpoints: [a:1]}\nservices: {a: {vips: [10.0.0.1/8 dev e, fd00::1/8 dev f], vrrp: {router_id: 1, down_timer_adverts: 1, unicast: [], multicast: {}, auth: 1, excluded: [10.0.0.1, fd00::1]}}}\n")
	f.Add("services:\n  a:\n    ttl: .inf\n    priority: 0x7fffffffffffffff\n    vips: |\n      x\n")
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := parse(text)
		if err == nil && (len(cfg.Services) == 0 || len(cfg.Etcd.Endpoints) == 0 || cfg.Node == "") {
			t.Errorf("accepted, and has no services, endpoints or node: %+v", cfg)
		}
		var ps Problems
		if err != nil && (!errors.As(err, &ps) || len(ps) == 0) {
			t.Errorf("refused without a problem: %v", err)
		}
	})
}
