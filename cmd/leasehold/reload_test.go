package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
	"leasehold/vip"
)

func TestRehearse(t *testing.T) {
	if err := vip.CheckCapabilities(); err != nil {
		t.Skip(err)
	}
	file := configFile(t)
	code, stdout, stderr := leasehold(t, "run", "-c", file, "--rehearse")
	var r rehearsal
	if err := json.Unmarshal([]byte(stdout), &r); err != nil || code != exitFine {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	if r.Layout != election.SavedLayout || r.Node != "db20-024" || !slices.Equal(r.Services["mysql"], []string{"10.20.8.188/24 dev lhtest0"}) {
		t.Errorf("got %s", stdout)
	}
	bad := writeFile(t, "bad.yaml", "nonsense: [", 0o600)
	if code, stdout, _ := leasehold(t, "run", "-c", bad, "--rehearse"); code != exitUsage || stdout != "" {
		t.Errorf("a bad file: exit code %d: %s", code, stdout)
	}
}

// The binary on disk is asked first, and has to be one that can take over.
func TestAskRehearsal(t *testing.T) {
	for script, want := range map[string]string{
		`echo '{"leasehold": "9", "layout": 1, "services": {"mysql": ["a", "b"]}, "of later": 1}'`: "",
		"echo nonsense":          "not a leasehold that can take over in place",
		"exit 0":                 "not a leasehold that can take over in place",
		"echo oops >&2; exit 3":  "exit status 3: oops",
		"test $# = 4 || exit 4":  "not a leasehold",
		"test -z $NOTIFY_SOCKET": "not a leasehold",
		"head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit 5": "exit status 5",
	} {
		t.Setenv("NOTIFY_SOCKET", "/run/notify")
		path := writeFile(t, "leasehold", "#!/bin/sh\n"+script+"\n", 0o755)
		r, err := askRehearsal(t.Context(), path, []string{"leasehold", "run", "-c", "x.yaml"})
		if want == "" && (err != nil || len(r.Services["mysql"]) != 2) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %+v, %v; want %q", script, r, err, want)
		}
	}
	if _, err := askRehearsal(t.Context(), "/nonexistent", []string{"leasehold"}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no binary: %v", err)
	}
}

// What the next process will not have is let go of by this one.
func TestDropped(t *testing.T) {
	cfg, err := LoadConfig(configFile(t, "  other:\n    vips: [10.20.8.189/24 dev lhtest0]\n    ttl: 4s\n"), testHost)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := openEtcd(cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	again := &rerun{cfg: cfg}
	for _, name := range cfg.serviceNames() {
		c := election.New(election.Config{Service: name, Node: cfg.Node, TTL: defaultTTL}, cluster, hclog.NewNullLogger())
		again.units = append(again.units, &unit{name: name, candidate: c, leave: newDismissal()})
	}
	for name, tc := range map[string]struct {
		change func(*rehearsal)
		drop   string
		err    string
	}{
		"nothing":    {func(*rehearsal) {}, "", ""},
		"a service":  {func(r *rehearsal) { delete(r.Services, "other") }, "other", ""},
		"VIPs only":  {func(r *rehearsal) { r.Services["other"] = nil }, "", ""},
		"the node":   {func(r *rehearsal) { r.Node = "another" }, "mysql other", ""},
		"run_dir":    {func(r *rehearsal) { r.RunDir = "/x" }, "", "run_dir is /x now"},
		"bpf_dir":    {func(r *rehearsal) { r.BPFDir = "/x" }, "", "bpf_dir is /x now"},
		"the layout": {func(r *rehearsal) { r.Layout++ }, "", "in another layout"},
	} {
		next := rehearsalOf(cfg)
		tc.change(&next)
		units, err := again.dropped(next)
		var names []string
		for _, u := range units {
			names = append(names, u.name)
		}
		slices.Sort(names)
		if strings.Join(names, " ") != tc.drop || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: drops %v, %v", name, names, err)
		}
	}
}
