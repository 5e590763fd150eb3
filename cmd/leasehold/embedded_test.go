package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const goodEmbedded = `node: db20-025
etcd:
  embedded:
    members: {db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}
  tls: {ca: ca.pem, cert: node.pem, key: node.key}
services:
  mysql:
    vips: ["10.20.8.188/24 dev eth0 label eth0:1"]
`

// withEmbedded returns the good configuration with one thing replaced.
func withEmbedded(t *testing.T, old, text string) string {
	t.Helper()
	if strings.Count(goodEmbedded, old) != 1 {
		t.Fatalf("%q is not in the good configuration once", old)
	}
	return strings.Replace(goodEmbedded, old, text, 1)
}

// The own member is the first to be asked; the others follow.
func TestEmbeddedConfig(t *testing.T) {
	cfg, err := parse(goodEmbedded)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"https://10.20.8.27:2379", "https://10.20.8.50:2379", "https://10.20.8.28:2379"}
	if diff := cmp.Diff(want, cfg.Etcd.Endpoints); diff != "" {
		t.Error(diff)
	}
	e := cfg.Etcd.Embedded
	if e.Dir != "/var/lib/leasehold/etcd" || e.Heartbeat != 100*time.Millisecond || e.Election != 500*time.Millisecond ||
		e.ClientPort != 2379 || e.PeerPort != 2380 || len(e.Members) != 3 || e.own("db20-025").Addr.String() != "10.20.8.27" {
		t.Errorf("got %+v", e)
	}
	if s := cfg.Services[0]; s.TTL != 2*time.Second {
		t.Errorf("ttl %s, want 2s", s.TTL)
	}
	if len(cfg.Notes) != 1 || !strings.Contains(cfg.Notes[0].String(), "without a fence") {
		t.Errorf("notes: %v", cfg.Notes)
	}
}

// What is not written follows from what is.
func TestEmbeddedTTL(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 2 * time.Second, "\n    fence: off": 3 * time.Second, "\n    ttl: 5s": 5 * time.Second,
	} {
		cfg, err := parse(goodEmbedded + strings.TrimPrefix(text, "\n") + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Services[0].TTL; got != want {
			t.Errorf("%q: ttl %s, want %s", text, got, want)
		}
	}
	cfg, err := parse(withEmbedded(t, "    members", "    election: 1s\n    members"))
	if err != nil || cfg.Services[0].TTL != 4*time.Second {
		t.Errorf("with an election timeout of 1s: %v, %v", cfg, err)
	}
}

// A witness has no services; only where it runs a member it is one.
func TestWitnessConfig(t *testing.T) {
	text, _, _ := strings.Cut(goodEmbedded, "services:")
	for _, services := range []string{"", "services: {}\n"} {
		cfg, err := parse(text + services)
		if err != nil || len(cfg.Services) != 0 || len(cfg.Etcd.Endpoints) != 3 {
			t.Errorf("%q: %+v, %v", services, cfg, err)
		}
	}
}

func TestEmbeddedRefused(t *testing.T) {
	const members = "{db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}"
	for name, tc := range map[string]struct {
		text string
		says string
	}{
		"no members":            {withEmbedded(t, "    members: "+members, "    dir: /data"), "members is missing"},
		"this node not in it":   {withEmbedded(t, "node: db20-025", "node: db20-026"), `called db20-026 (did you mean`},
		"an address twice":      {withEmbedded(t, "10.20.8.27", "10.20.8.50"), "the same address"},
		"an address that moves": {withEmbedded(t, "10.20.8.27", "10.20.8.188"), "which moves"},
		"a host name":           {withEmbedded(t, "10.20.8.27", "db20-025"), "not the address of a host"},
		"no certificates":       {withEmbedded(t, "  tls: {ca: ca.pem, cert: node.pem, key: node.key}\n", ""), "leasehold certs"},
		"half of them":          {withEmbedded(t, "ca: ca.pem, ", ""), "need all three"},
		"insecure with them":    {withEmbedded(t, "    members", "    insecure: true\n    members"), "take one of them out"},
		"election too short":    {withEmbedded(t, "    members", "    election: 300ms\n    members"), "write election: 500ms"},
		"heartbeat too short":   {withEmbedded(t, "    members", "    heartbeat: 1ms\n    members"), "10ms or more"},
		"a ttl too short":       {goodEmbedded + "    ttl: 1s\n", "write ttl: 1.9s or more"},
		"one port for both":     {withEmbedded(t, "    members", "    peer_port: 2379\n    members"), "two different ones"},
		"an unknown key":        {withEmbedded(t, "    members", "    quota: 1\n    members"), "quota_mb"},
		"a tiny quota":          {withEmbedded(t, "    members", "    quota_mb: 1\n    members"), "16 to 8192"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tc.text)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
}

// What is allowed but should be known.
func TestEmbeddedNotes(t *testing.T) {
	for text, says := range map[string]string{
		withEmbedded(t, ", witness: 10.20.8.28", ""):                                                                                                      "2 members outlast the loss of 0",
		withEmbedded(t, "{db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}", "{db20-025: 10.0.0.1}"):                                      "one member is no cluster",
		strings.Replace(withEmbedded(t, "    members", "    insecure: true\n    members"), "  tls: {ca: ca.pem, cert: node.pem, key: node.key}\n", "", 1): "whoever reaches port 2379 or 2380",
	} {
		cfg, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var all strings.Builder
		for _, n := range cfg.Notes {
			all.WriteString(n.String() + "\n")
		}
		if !strings.Contains(all.String(), says) {
			t.Errorf("notes %s, want %q", all.String(), says)
		}
	}
}

// check says what member the node would run.
func TestCheckMember(t *testing.T) {
	text, _, _ := strings.Cut(goodEmbedded, "services:")
	for name, tc := range map[string]struct{ text, says string }{
		"a node":    {goodEmbedded, "an etcd member, one of 3, which outlast the loss of 1; data in /var/lib/leasehold/etcd"},
		"a witness": {text, "a witness, with an etcd member and no service"},
		"no member": {good, ""},
	} {
		cfg, err := parse(tc.text)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		cfg.memberSummary(&out)
		if !strings.Contains(out.String(), tc.says) || tc.says == "" && out.Len() > 0 {
			t.Errorf("%s: %q, want %q", name, out.String(), tc.says)
		}
	}
}
