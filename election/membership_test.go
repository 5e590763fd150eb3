package election

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// changes repeats what etcd takes only later.
func changes(t *testing.T, do func() error) error {
	t.Helper()
	var err error
	eventually(t, 20*time.Second, "etcd takes the change", func() bool {
		err = do()
		return !EtcdWantsPatience(err)
	})
	return err
}

// What an operator's commands do to a cluster of three, whichever endpoint they
// begin at: one that refuses connections, and followers where the leader is asked for.
func TestMembership(t *testing.T) {
	t.Parallel()
	all := startEtcd(t, 3)
	c := open(t, Options{Endpoints: append([]string{refusingEndpoint(t)}, urls(all...)...)})
	ctx := t.Context()
	list, err := Membership(ctx, c, true)
	if err != nil || len(list) != 3 || list[0].Name == "" || len(list[0].PeerURLs) != 1 || len(list[0].ClientURLs) != 1 || list[0].Learner {
		t.Fatalf("Membership = %+v, %v", list, err)
	}
	leader := func() uint64 { return Survey(ctx, c, 2*time.Second)[1].Leader }
	to := list[slices.IndexFunc(list, func(m EtcdMember) bool { return m.ID != leader() })]
	if err := MoveEtcdLeader(ctx, c, to.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "the leader has moved", func() bool { return leader() == to.ID })

	// Somebody who is not there yet; a second time, as after an answer that was lost.
	peer := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	var id uint64
	if err := changes(t, func() (err error) { id, err = AddEtcdMember(ctx, c, peer, false); return err }); err != nil {
		t.Fatal(err)
	}
	if again, err := AddEtcdMember(ctx, c, peer, false); err == nil {
		t.Errorf("added twice, as %x and %x", id, again)
	}
	list, err = Membership(ctx, c, true)
	at := slices.IndexFunc(list, func(m EtcdMember) bool { return m.ID == id })
	if err != nil || len(list) != 4 || at < 0 || list[at].Name != "" || len(list[at].ClientURLs) != 0 || !slices.Equal(list[at].PeerURLs, []string{peer}) {
		t.Errorf("with a new one: %+v, %v", list, err)
	}
	if err := changes(t, func() error { return RemoveEtcdMember(ctx, c, id) }); err != nil {
		t.Fatal(err)
	}
	if err := RemoveEtcdMember(ctx, c, id); !errors.Is(err, ErrMemberGone) {
		t.Errorf("removed twice: %v", err)
	}
}

// Without a majority the list is what one member remembers, for who asks for that.
// Servers before 3.5 answer from memory always.
func TestMembershipWithoutMajority(t *testing.T) {
	t.Parallel()
	all := startEtcd(t, 3)
	all[1].kill(t)
	all[2].kill(t)
	c := open(t, Options{Endpoints: urls(all...)})
	if list, err := Membership(t.Context(), c, false); err != nil || len(list) != 3 {
		t.Errorf("Membership = %+v, %v", list, err)
	}
	all[0].kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if list, err := Membership(ctx, c, false); err == nil {
		t.Errorf("Membership of nobody = %+v", list)
	}
}

// A node whose own member is a learner, which answers next to nothing, reads through
// the others.
func TestLearnerIsLeftAlone(t *testing.T) {
	t.Parallel()
	first := startEtcd(t, 1)[0]
	c := open(t, Options{Endpoints: urls(first)})
	second := newEtcd(t, 1)[0]
	var id uint64
	if err := changes(t, func() (err error) { id, err = AddEtcdMember(t.Context(), c, second.peer, true); return err }); err != nil {
		t.Fatal(err)
	}
	second.args = append(second.args, "--name", "m1", "--initial-cluster", "m0="+first.peer+",m1="+second.peer, "--initial-cluster-state", "existing")
	second.start(t)
	both := open(t, Options{Endpoints: urls(second, first)})
	eventually(t, 20*time.Second, "the learner answers", func() bool {
		return Survey(t.Context(), both, time.Second)[0].Learner
	})
	if list, err := Membership(t.Context(), both, true); err != nil || len(list) != 2 {
		t.Errorf("Membership = %+v, %v", list, err)
	}
	if _, err := Read(t.Context(), both, "learner"); err != nil {
		t.Errorf("Read: %v", err)
	}
	if err := changes(t, func() error { return PromoteEtcdMember(t.Context(), both, id) }); err != nil {
		t.Fatal(err)
	}
	eventually(t, soon, "it has a vote", func() bool { return !Survey(t.Context(), both, time.Second)[0].Learner })
}
