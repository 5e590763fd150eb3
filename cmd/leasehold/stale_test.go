package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
	"leasehold/internal/boottime"
	"leasehold/vip"
)

// writeState writes what an earlier run has left about a service.
func writeState(t *testing.T, cfg *Config, file, service string, mode os.FileMode, vips ...string) string {
	t.Helper()
	boot, err := boottime.ID()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(election.Saved{Layout: election.SavedLayout, Boot: boot, Service: service, Node: cfg.Node, VIPs: vips})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.RunDir, file+".json")
	if err := errors.Join(os.MkdirAll(cfg.RunDir, 0o700), os.WriteFile(path, b, 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestForgetStale(t *testing.T) {
	cfg, err := LoadConfig(configFile(t), testHost)
	if err != nil {
		t.Fatal(err)
	}
	// mysql keeps 10.20.8.188, on another device and with another length than now.
	mysql := writeState(t, cfg, "mysql", "mysql", 0o600, "10.20.8.188/32 dev eth7", "10.20.8.189/24 dev eth0 label eth0:2")
	old := writeState(t, cfg, "old", "old", 0o600, "10.20.8.190/24 dev eth0")
	forged := writeState(t, cfg, "forged", "forged", 0o666, "10.20.8.191/24 dev eth0")
	renamed := writeState(t, cfg, "renamed", "another", 0o600, "10.20.8.192/24 dev eth0")
	garbled := writeState(t, cfg, "garbled", "garbled", 0o600, "rm -rf")
	var gone []string
	refuse := ""
	forget := func(_ context.Context, dir string, specs []vip.Spec, _ hclog.Logger) error {
		if dir != cfg.BPFDir {
			t.Errorf("fences in %s", dir)
		}
		if refuse != "" && strings.Contains(specTexts(specs)[0], refuse) {
			return errors.New("busy")
		}
		gone = append(gone, specTexts(specs)...)
		return nil
	}
	var said strings.Builder
	log := hclog.New(&hclog.LoggerOptions{Output: &said})

	refuse = "10.20.8.189"
	left := forgetStale(t.Context(), cfg, forget, log)
	if want := []string{"10.20.8.190/24 dev eth0"}; !slices.Equal(gone, want) {
		t.Errorf("forgot %v, want %v", gone, want)
	}
	if want := []string{"10.20.8.189/24 dev eth0 label eth0:2"}; !slices.Equal(left["mysql"], want) || len(left) != 1 {
		t.Errorf("left %v", left)
	}
	for _, word := range []string{"others may write it", "about service", "garbled.json", "busy", "tried again at the next start"} {
		if !strings.Contains(said.String(), word) {
			t.Errorf("the log does not say %q:\n%s", word, said.String())
		}
	}
	for path, want := range map[string]bool{mysql: true, old: false, forged: true, renamed: true, garbled: true} {
		if got := exists(path); got != want {
			t.Errorf("%s there: %v, want %v", path, got, want)
		}
	}

	refuse, gone = "", nil
	if left := forgetStale(t.Context(), cfg, forget, log); len(left) != 0 || !slices.Equal(gone, []string{"10.20.8.189/24 dev eth0 label eth0:2"}) {
		t.Errorf("second time: forgot %v, left %v", gone, left)
	}
}
