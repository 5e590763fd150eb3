package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"leasehold/vip/fence"
)

func TestFenceHere(t *testing.T) {
	refused := fenceTry{err: fmt.Errorf("%w: make a map: no bpf(2)", fence.ErrRefused)}
	for name, tc := range map[string]struct {
		keys string
		here fenceTry
		want string
		late bool
	}{
		"tcx":              {"ttl: 3s", fenceTry{kind: fence.TCX}, "tcx, pinned in /sys/fs/bpf/leasehold", false},
		"clsact":           {"ttl: 1s", fenceTry{kind: fence.Clsact}, "clsact, pinned", false},
		"refused":          {"ttl: 3s", refused, "none on this host: make a map: no bpf(2); the kernel's address lifetimes", true},
		"refused, short":   {"ttl: 1s", refused, "may not hold without: make a map", false},
		"refused, require": {"fence: required", refused, "may not hold without", false},
		"off":              {"fence: off", refused, "off: the kernel's address lifetimes alone", true},
		"no bpffs":         {"ttl: 3s", fenceTry{err: errors.New("bpf_dir /x is not on a bpffs")}, "none on this host: bpf_dir /x is not on a bpffs", true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parse(with(t, "ttl: 3s", tc.keys))
			if err != nil {
				t.Fatal(err)
			}
			text, late := cfg.Services[0].fenceHere(cfg, tc.here)
			if !strings.Contains(text, tc.want) || (late == lifetimeLateness) != tc.late {
				t.Errorf("got %q and %s, want %q", text, late, tc.want)
			}
		})
	}
}

// A bpf_dir that is on no bpffs is seen before anything is tried, and is not made.
func TestBPFDirNotOnABPFFS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	got := tryFence(dir)
	if got.err == nil || !strings.Contains(got.err.Error(), dir+" is not on a bpffs: mount -t bpf bpf /sys/fs/bpf") {
		t.Errorf("got %v", got.err)
	}
	if exists(filepath.Dir(dir)) {
		t.Error("the directory was made")
	}
}
