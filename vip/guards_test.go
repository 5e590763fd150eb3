package vip

import (
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// newSet returns a Set without a fence that is closed with the test.
func newSet(t testing.TB, texts ...string) *Set {
	t.Helper()
	return open(t, Config{VIPs: specs(t, texts...), ResetClients: true, Fence: FenceOff})
}

// open is New with a log, and an end.
func open(t testing.TB, c Config) *Set {
	t.Helper()
	c.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: t.Output()})
	if _, ok := t.(*testing.B); ok {
		c.Log = hclog.NewNullLogger()
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A setMaker is newSet, with or without a fence.
type setMaker func(t testing.TB, texts ...string) *Set

// eachGuard runs a test without a fence, and with one where there can be.
func eachGuard(t *testing.T, test func(*testing.T, setMaker)) {
	t.Helper()
	t.Run("lifetimes", func(t *testing.T) { test(t, newSet) })
	t.Run("fence", func(t *testing.T) { test(t, fencedSets(t)) })
}

// fencedSets returns a maker of Sets with fences in a place of their own.
func fencedSets(t testing.TB) setMaker {
	t.Helper()
	dir := bpffs(t)
	return func(t testing.TB, texts ...string) *Set {
		t.Helper()
		return fencedSet(t, dir, texts...)
	}
}

// fencedSet is newSet with a fence that is pinned in dir.
func fencedSet(t testing.TB, dir string, texts ...string) *Set {
	t.Helper()
	return open(t, Config{VIPs: specs(t, texts...), ResetClients: true, Fence: FenceRequired, BPFDir: dir})
}

// bpffs mounts one, and returns the directory on it for the fences. What they
// left is purged with the test: the network namespace lives on.
func bpffs(t testing.TB) string {
	t.Helper()
	dir, mount := lateBPFFS(t)
	mount()
	return dir
}

// lateBPFFS is bpffs for a directory on which one is mounted later.
func lateBPFFS(t testing.TB) (dir string, mount func()) {
	t.Helper()
	needKernel(t)
	at := t.TempDir()
	mounted := false
	t.Cleanup(func() {
		if !mounted {
			return
		}
		if _, err := Purge(at + "/leasehold"); err != nil {
			t.Errorf("Purge(): %v", err)
		}
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	return at + "/leasehold", func() {
		t.Helper()
		if err := unix.Mount("bpf", at, "bpf", 0, ""); err != nil {
			t.Fatalf("mount a bpffs: %v", err)
		}
		mounted = true
	}
}
