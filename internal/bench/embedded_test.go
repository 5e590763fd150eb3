package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
	"leasehold/internal/member"
)

// TestEmbeddedQuick holds that the measurement works: what has to move moves, what
// has to stay stays, and nobody sees two hosts.
func TestEmbeddedQuick(t *testing.T) {
	t.Parallel() // it mostly waits, and quotes no times
	labtest.Require(t, slices.Concat(lab.NeedsNetwork, lab.NeedsEtcd)...)
	r, err := Embedded(t.Context(), EmbeddedOptions{Binary: labtest.Binary(t), Rounds: 1, Quiet: time.Second, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if r.cost.rss == 0 {
		t.Error("a witness without memory")
	}
}

// memberOf is the process of the member on a host.
func (n *nodes) memberOf(t *testing.T, host string) (member.State, bool) {
	t.Helper()
	dir, err := n.HostDir(host)
	if err != nil {
		t.Fatal(err)
	}
	return member.ReadState(filepath.Join(dir, "etcd"))
}

func (n *nodes) await(t *testing.T, what string, cond func() (bool, error)) {
	t.Helper()
	if err := lab.Wait(t.Context(), generous, what, cond); err != nil {
		t.Fatalf("%v\n%s", err, n.Logs(20))
	}
}

// TestNodesWithMembers walks a daemon with a member of its own through its life:
// what happens to the one does not happen to the other.
func TestNodesWithMembers(t *testing.T) {
	t.Parallel()
	l := labtest.Start(t, lab.Config{}, lab.NeedsEtcd)
	dir, err := l.HostDir(lab.A)
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "etcd") // a disk of its own, to be filled
	if err := errors.Join(os.MkdirAll(disk, 0o700), unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256m")); err != nil {
		t.Fatal(err)
	}
	n, err := openNodes(t.Context(), l, EmbeddedOptions{Binary: labtest.Binary(t), TTL: 4 * time.Second})
	if err != nil {
		t.Fatalf("%v\n%s", err, l.Logs(20))
	}
	settle := func(leader string) {
		t.Helper()
		if err := n.settle(t.Context(), leader); err != nil {
			t.Fatalf("%v\n%s", err, l.Logs(20))
		}
	}
	stays := func(t *testing.T, do func() error) {
		t.Helper()
		from := time.Now()
		err := errors.Join(do(), n.obs.Prober.Watch(t.Context(), time.Second))
		to := time.Now()
		if err := errors.Join(err, n.obs.Prober.Watch(t.Context(), 100*time.Millisecond)); err != nil { // for what is on its way
			t.Fatal(err)
		}
		if r := n.obs.Report(from, to); r.Path() != lab.A || r.Lost > 0 {
			t.Errorf("%v, want a and no probe lost\n%s", r, n.daemons[lab.A].Tail(20))
		}
	}
	settle(lab.B)

	t.Run("the daemon is killed and started again", func(t *testing.T) {
		before, _ := n.memberOf(t, lab.A)
		stays(t, func() error { return errors.Join(n.daemons[lab.A].Kill(), n.start(lab.A)) })
		if after, ok := n.memberOf(t, lab.A); !ok || after.PID != before.PID {
			t.Errorf("the member is %+v, was %+v", after, before)
		}
	})
	t.Run("the daemon becomes a new one in place", func(t *testing.T) {
		before, _ := n.memberOf(t, lab.A)
		stays(t, func() error {
			err := n.daemons[lab.A].Signal(syscall.SIGUSR2)
			return errors.Join(err, lab.Wait(t.Context(), generous, "the new process", func() (bool, error) {
				return strings.Contains(n.daemons[lab.A].Tail(40), "member runs already, kept"), nil
			}))
		})
		if after, ok := n.memberOf(t, lab.A); !ok || after.PID != before.PID {
			t.Errorf("the member is %+v, was %+v", after, before)
		}
	})
	t.Run("the member is killed", func(t *testing.T) {
		before, _ := n.memberOf(t, lab.A)
		stays(t, func() error { return syscall.Kill(before.PID, syscall.SIGKILL) })
		n.await(t, "another member", func() (bool, error) {
			s, ok := n.memberOf(t, lab.A)
			return ok && s.State == member.Running && s.PID != before.PID, nil
		})
	})
	t.Run("etcd's leadership does not stay with the holder", func(t *testing.T) {
		settle(lab.A)
		n.await(t, "the leader to leave host a", func() (bool, error) {
			leader, err := n.etcd.Leader(t.Context())
			return leader != "" && leader != lab.A, err
		})
	})
	t.Run("the disk is full", func(t *testing.T) { n.diskFull(t, disk) })
	t.Run("all stop", func(t *testing.T) {
		for _, h := range memberHosts() {
			if err := n.daemons[h].Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s, ok := n.memberOf(t, h); ok {
				t.Errorf("the member on %s outlives the stop of its daemon: %+v", h, s)
			}
		}
	})
}

// diskFull: the VIP goes to the host that can have it, before the member ends; when
// there is space again the member comes back, and the node may hold again.
func (n *nodes) diskFull(t *testing.T, disk string) {
	if err := n.settle(t.Context(), lab.B); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 190<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := n.obs.Prober.WaitAnswer(t.Context(), lab.B, generous); err != nil {
		t.Fatal(err)
	}
	if r := n.obs.Report(from, time.Now()); len(r.Duals) > 0 || r.Gap.Length() > time.Second {
		t.Errorf("with a full disk: %v, want a hand-over", r)
	}
	n.await(t, "the member to wait for space", func() (bool, error) {
		s, ok := n.memberOf(t, lab.A)
		return ok && s.State == member.Waiting && strings.Contains(s.Why, "MB free"), nil
	})
	a, err := n.Host(lab.A)
	if err != nil {
		t.Fatal(err)
	}
	says := func(ctx context.Context, what string) func() (bool, error) {
		return func() (bool, error) {
			out, err := n.etcd.CtlAt(ctx, lab.Client, []string{lab.B, lab.C}, "get", "--print-value-only", "/leasehold/mysql/members/"+a.Name)
			return strings.Contains(out, what), err
		}
	}
	n.await(t, "the node to say that its disk is full", says(t.Context(), "is full ("))
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n.await(t, "the member to come back", func() (bool, error) {
		s, ok := n.memberOf(t, lab.A)
		return ok && s.State == member.Running, nil
	})
	n.await(t, "the node to be eligible", says(t.Context(), `"eligible":true`))
}
