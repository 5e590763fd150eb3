package demo

import (
	"strings"
	"syscall"
	"testing"
)

// What a killed demo leaves, the next one removes; one that is kept can be used,
// mends itself, lets no second one in, and goes when it is told to.
func TestKeptAndDown(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	r := s.start(t, "--no-mysql")
	r.says(t, "cable of db20-0")
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.Wait()
	if len(s.left(t)) == 0 {
		t.Fatal("a killed demo has left nothing, so nothing is tried")
	}

	r = s.start(t, "--no-mysql", "--keep", "--no-story")
	r.ends(t, 0)
	r.says(t, s.bin+" demo --down --name "+s.name)
	second := s.start(t, "--no-mysql")
	second.ends(t, 1)
	second.says(t, "demo --down --name "+s.name)

	holder := s.holder(t)
	if out, err := s.on(t, holder, "sh", "-c", "kill -9 $(cat mysqld.pid)"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.wait(t, "the VIP to move", func() bool { return s.holder(t) == other(holder) })
	s.wait(t, "the stand-in to be back", func() bool {
		_, err := s.on(t, holder, "sh", "-c", "kill -0 $(cat mysqld.pid)")
		return err == nil
	})
	if out, err := s.on(t, holder, "ip", "-o", "link", "show", "eth0"); err != nil || !strings.Contains(out, "state UP") {
		t.Errorf("eth0 on %s: %v: %s", holder, err, out)
	}

	s.down(t, "removed: "+s.name)
	if left := s.left(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	s.down(t, "nothing to remove")
}

// A story is interrupted by the end of the process that was called, too.
func TestKeptIsInterrupted(t *testing.T) {
	t.Parallel()
	for name, sig := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			r := s.start(t, "--no-mysql", "--keep")
			r.says(t, "first start")
			if err := r.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGKILL {
				_ = r.Process.Release() // its output is the keeper's, too
			} else {
				r.ends(t, 130)
			}
			s.wait(t, "everything to be removed", func() bool { return len(s.left(t)) == 0 })
		})
	}
}
