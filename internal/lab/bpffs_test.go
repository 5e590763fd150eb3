package lab_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

func mounted(t *testing.T, below string) int {
	t.Helper()
	return bytes.Count(must2(os.ReadFile("/proc/self/mountinfo"))(t), []byte(" "+below))
}

func TestBPFDir(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	a, b := must2(l.BPFDir(lab.A))(t), must2(l.BPFDir(lab.B))(t)
	if again := must2(l.BPFDir(lab.A))(t); a == b || again != a {
		t.Errorf("host a has %s, then %s, host b %s; want one for each", a, again, b)
	}
	for _, dir := range []string{a, b} {
		var fs unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(dir), &fs); err != nil || fs.Type != unix.BPF_FS_MAGIC {
			t.Errorf("%s is on a file system of type %#x, %v; want a bpffs", dir, fs.Type, err)
		}
		check(t, os.MkdirAll(filepath.Join(dir, "0a1408bc"), 0o700))
	}
	check(t, l.Close())
	if n := mounted(t, l.Dir()); n != 0 {
		t.Errorf("%d file systems are mounted in the directory of a lab that was closed", n)
	}
	if _, err := l.BPFDir(lab.A); err == nil {
		t.Error("a lab that is closed mounts a bpffs")
	}
}

// TestLeftoverBPFFS: the bpffs of a test run that was killed goes with its
// directory.
func TestLeftoverBPFFS(t *testing.T) {
	labtest.Require(t)
	gone := exec.CommandContext(t.Context(), "true")
	check(t, gone.Run())
	t.Setenv("TMPDIR", t.TempDir())
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("lh%d-1-", gone.ProcessState.Pid()))
	at := filepath.Join(dir, "a", "bpf")
	check(t, os.MkdirAll(at, 0o700))
	check(t, unix.Mount("bpf", at, "bpf", 0, ""))
	removed := must2(lab.CleanLeftovers())(t)
	if _, err := os.Stat(dir); err == nil || !slices.Contains(removed, dir) || mounted(t, dir) != 0 {
		t.Errorf("removed %v; want %s gone, with what is mounted there", removed, dir)
	}
}
