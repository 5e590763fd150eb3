package main

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// listing returns the names and sizes of what is in a directory.
func listing(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int64{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = info.Size()
	}
	return all
}

// The commands of an operator with three nodes, one after the other.
func TestCertsCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	step := func(want string, args ...string) {
		t.Helper()
		code, stdout, stderr := leasehold(t, append([]string{"certs"}, args...)...)
		got := regexp.MustCompile(`\d{4}-\d\d-\d\d`).ReplaceAllString(stdout, "DATE")
		if code != exitFine || got != want || stderr != "" {
			t.Errorf("certs %v: exit code %d, stderr %q, stdout:\n%s\nwant:\n%s", args, code, stderr, got, want)
		}
	}
	step(`made  leasehold-certs/ca.key
made  leasehold-certs/ca.pem, until DATE
made  leasehold-certs/db20-024.key
made  leasehold-certs/db20-024.pem, until DATE, for db20-024 localhost 10.20.8.50 127.0.0.1 ::1
made  leasehold-certs/witness.key
made  leasehold-certs/witness.pem, until DATE, for witness localhost 10.20.8.28 10.20.9.28 127.0.0.1 ::1

copy ca.pem, db20-024.pem as node.pem and db20-024.key as node.key to db20-024:/etc/leasehold/
copy ca.pem, witness.pem as node.pem and witness.key as node.key to witness:/etc/leasehold/
`+certsAfterwards, "db20-024=10.20.8.50", "witness=10.20.8.28,10.20.9.28")
	before := listing(t, defaultCertsDir)
	step(`left  leasehold-certs/ca.pem, until DATE: it is there
left  leasehold-certs/db20-024.pem, until DATE, for db20-024 localhost 10.20.8.50 127.0.0.1 ::1: it is there
`+certsWarning, "db20-024=10.20.8.50")
	if after := listing(t, defaultCertsDir); !maps.Equal(before, after) {
		t.Errorf("%v, then %v", before, after)
	}
	step(`left  leasehold-certs/ca.pem, until DATE: it is there
note: ca.pem was there, and --ca-days is for a new one
left  leasehold-certs/db20-024.pem, until DATE, for db20-024 localhost 10.20.8.50 127.0.0.1 ::1: it is there
note: db20-024.pem is not for 10.20.8.51: peers and clients of that address refuse it; --renew makes one that is
made  leasehold-certs/db20-025.key
made  leasehold-certs/db20-025.pem, until DATE, for db20-025 localhost 10.20.8.27 127.0.0.1 ::1

copy ca.pem, db20-025.pem as node.pem and db20-025.key as node.key to db20-025:/etc/leasehold/
`+certsAfterwards, "--ca-days", "30", "db20-024=10.20.8.51", "db20-025=10.20.8.27")
	step(`left  leasehold-certs/ca.pem, until DATE: it is there
made  leasehold-certs/db20-024.pem, until DATE, for db20-024 localhost 10.20.8.51 127.0.0.1 ::1: the key stays

copy db20-024.pem as node.pem to db20-024:/etc/leasehold/
`+certsAfterwards, "--renew", "db20-024=10.20.8.51")

	// The CA is given a new term, and its key then taken away.
	if err := os.Remove(filepath.Join(defaultCertsDir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	step(`made  leasehold-certs/ca.pem, until DATE: its key was there, and what it has signed stays good
left  leasehold-certs/db20-024.pem, until DATE, for db20-024 localhost 10.20.8.51 127.0.0.1 ::1: it is there

copy ca.pem to db20-024:/etc/leasehold/
`+certsAfterwards, "db20-024=10.20.8.51")
	if err := os.Remove(filepath.Join(defaultCertsDir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	step(`left  leasehold-certs/ca.pem, until DATE: it is there
left  leasehold-certs/db20-024.pem, until DATE, for db20-024 localhost 10.20.8.51 127.0.0.1 ::1: it is there
`, "db20-024=10.20.8.51")
}

const (
	certsWarning = `
warning: leasehold-certs/ca.key is the secret: whoever has it can make himself a certificate, write to etcd, and give the VIP to any host; keep it off the hosts
`
	certsAfterwards = `
There they belong to root:leasehold, node.key with mode 0640:
  cd /etc/leasehold && chown root:leasehold ca.pem node.pem node.key && chmod 0640 node.key
and in leasehold.yaml of every host stands:
  etcd:
    tls: {ca: ca.pem, cert: node.pem, key: node.key}
` + certsWarning
)

// What is refused leaves nothing behind, and says on one line what to do.
func TestCertsRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	config := configFile(t)
	for _, dir := range []string{"held", "world"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod("world", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("held/db20-024.pem", []byte("call Bob"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args string
		code int
		want string
	}{
		"no nodes, no configuration":         {"-c none.yaml", exitUsage, "none.yaml, which could tell, is not there; name them"},
		"no nodes in the configuration":      {"-c " + config, exitUsage, "has no etcd.embedded.members; name them"},
		"a configuration that is none":       {"-c held/db20-024.pem", exitUsage, "held/db20-024.pem:1: "},
		"no address":                         {"db20-024", exitUsage, `"db20-024" has no address; write NODE=ADDRESS`},
		"an empty address":                   {"db20-024=", exitUsage, `"" is not an IP address`},
		"a name in the place of an address":  {"db20-024=db20-024.example.com", exitUsage, "is not an IP address"},
		"an address with its length":         {"db20-024=10.20.8.50/24", exitUsage, "is not an IP address"},
		"an address with a port":             {"db20-024=10.20.8.50:2380", exitUsage, "is not an IP address"},
		"a comma too many":                   {"db20-024=10.20.8.50,", exitUsage, `"" is not an IP address`},
		"an address with a zone":             {"db20-024=fe80::1%eth0", exitUsage, "has a zone"},
		"nobody's address":                   {"db20-024=0.0.0.0", exitUsage, "no host's address"},
		"everybody's address":                {"db20-024=224.0.0.18", exitUsage, "no host's address"},
		"no name":                            {"=10.20.8.50", exitUsage, "has 0 characters"},
		"a path for a name":                  {"../db20-024=10.20.8.50", exitUsage, "becomes a file name"},
		"the CA's name":                      {"ca=10.20.8.50", exitUsage, "would have the files of the CA"},
		"a name twice":                       {"db20-024=10.20.8.50 db20-024=10.20.9.50", exitUsage, "db20-024 is named twice"},
		"an address twice":                   {"db20-024=10.20.8.50 db20-025=10.20.8.50", exitUsage, "10.20.8.50 is an address of db20-024 already"},
		"an address twice in disguise":       {"db20-024=10.20.8.50 db20-025=::ffff:10.20.8.50", exitUsage, "is an address of db20-024 already"},
		"no days":                            {"--days 0 db20-024=10.20.8.50", exitUsage, "--days 0 is not from 1 to"},
		"too many days":                      {"--ca-days 100000 db20-024=10.20.8.50", exitUsage, "--ca-days 100000 is not from 1 to"},
		"no directory":                       {"--out= db20-024=10.20.8.50", exitUsage, "--out is empty"},
		"an unknown flag":                    {"--day 3 db20-024=10.20.8.50", exitUsage, "unknown flag"},
		"a file in the way":                  {"--out held db20-025=10.20.8.27 db20-024=10.20.8.50", exitRuntime, "held/db20-024.pem is in the way"},
		"a directory that cannot be written": {"--out /sys db20-024=10.20.8.50", exitRuntime, "nothing was changed"},
		"a directory that cannot be made":    {"--out a/b/c db20-024=10.20.8.50", exitRuntime, "no such file or directory"},
		"everybody's directory":              {"--out world db20-024=10.20.8.50", exitRuntime, "everybody on this host could put"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := leasehold(t, append([]string{"certs"}, strings.Fields(c.args)...)...)
			if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr:\n%s\nwant %d and %q on one line", code, stdout, stderr, c.code, c.want)
			}
			if here, held, world := listing(t, "."), listing(t, "held"), listing(t, "world"); len(here) != 2 || len(held) != 1 || len(world) != 0 {
				t.Errorf("left behind: %v, %v, %v", here, held, world)
			}
		})
	}
}

// Without arguments the members of the configuration are the nodes.
func TestCertNodes(t *testing.T) {
	cfg := &Config{Etcd: EtcdConfig{Embedded: &EmbeddedConfig{Members: []EmbeddedMember{
		{Name: "db20-024", Addr: netip.MustParseAddr("10.20.8.50")}, {Name: "witness", Addr: netip.MustParseAddr("fd00::28")},
	}}}}
	for name, c := range map[string]struct {
		cfg  *Config
		args []string
		want string
	}{
		"the members":       {cfg, nil, "db20-024 [10.20.8.50], witness [fd00::28]"},
		"arguments instead": {cfg, []string{"x=::1,::ffff:10.0.0.1"}, "x [::1 10.0.0.1]"},
		"and no need of it": {nil, []string{"a=127.0.0.1", "b=127.0.0.1"}, "a [127.0.0.1], b [127.0.0.1]"},
	} {
		nodes, err := certNodes(c.cfg, c.args)
		var got []string
		for _, n := range nodes {
			got = append(got, fmt.Sprintf("%s %v", n.Name, n.Addrs))
		}
		if text := strings.Join(got, ", "); err != nil || text != c.want {
			t.Errorf("%s: %q, %v; want %q", name, text, err, c.want)
		}
	}
	// Those of a configuration are held to the same.
	cfg.Etcd.Embedded.Members[1].Addr = netip.MustParseAddr("10.20.8.50")
	if _, err := certNodes(cfg, nil); err == nil || !strings.Contains(err.Error(), "is an address of db20-024 already") {
		t.Errorf("an address twice: %v", err)
	}
}

// What certs makes is what check, and every client of etcd, is content with.
func TestCertsAreGood(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := leasehold(t, "certs", "--out", dir, "node=10.20.8.50"); code != exitFine {
		t.Fatal(stderr)
	}
	text := strings.NewReplacer("endpoints: [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]",
		`endpoints: ["10.20.8.50:2379", "10.20.8.27:2379"], tls: {ca: ca.pem, cert: node.pem, key: node.key}`).Replace(string(mustRead(t, configFile(t))))
	file := filepath.Join(dir, "leasehold.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := leasehold(t, "check", "-c", file)
	if code != exitFine || !strings.Contains(stdout, "https://10.20.8.50:2379") || strings.Contains(stdout, "tls") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
