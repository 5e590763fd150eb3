package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/member"
)

// testMembers is a cluster in the best of states: db20-025, this host, follows
// db20-024, and the witness follows as well.
func testMembers(t *testing.T) memberFacts {
	t.Helper()
	cfg, err := parse(goodEmbedded)
	if err != nil {
		t.Fatal(err)
	}
	f := memberFacts{
		now: testNow, node: cfg.Node, file: "leasehold.yaml", secure: true, embedded: cfg.Etcd.Embedded, confirmed: true,
		process: member.State{PID: 4711, State: member.Running, Since: testNow.Add(-time.Hour), Version: "1.0"}, runs: true, free: 20 << 30,
	}
	for i, c := range f.embedded.Members {
		client, peer := f.urls(c.Addr)
		id := uint64(0x8e9e05c52164694d) + uint64(i)
		f.list = append(f.list, election.EtcdMember{ID: id, Name: c.Name, PeerURLs: []string{peer}, ClientURLs: []string{client}})
		f.answers = append(f.answers, election.Endpoint{
			URL: client, Took: time.Millisecond, Version: "3.7.3", Cluster: 1, Member: id, Leader: 0x8e9e05c52164694d,
			Term: 5, Index: 120040 - uint64(i), DBSize: 1260000, DBInUse: 400000, Quota: 256 << 20,
		})
	}
	return f
}

// silence has a member give no answer.
func (f *memberFacts) silence(names ...string) {
	for i, m := range f.list {
		if !slices.Contains(names, m.Name) {
			continue
		}
		for j := range f.answers {
			if f.answers[j].Member == m.ID {
				f.answers[j] = election.Endpoint{URL: f.answers[j].URL, Err: errors.New("etcd " + f.answers[j].URL + ": rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp: connect: connection refused\"")}
			}
		}
		f.list[i].Name = m.Name
	}
}

// fresh has a member be one that was added and never started.
func (f *memberFacts) fresh(name string) {
	f.silence(name)
	for i := range f.list {
		if f.list[i].Name == name {
			f.list[i].Name, f.list[i].ClientURLs = "", nil
		}
	}
}

// Every state is drawn into 80 columns, and has its exit code.
func TestMemberListTable(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		edit func(*memberFacts)
		want []string // of what is wrong
	}{
		"fine":      {exitFine, func(*memberFacts) {}, nil},
		"down":      {exitWrong, func(f *memberFacts) { f.silence("witness") }, []string{"witness does not answer"}},
		"new":       {exitWrong, func(f *memberFacts) { f.fresh("witness") }, []string{"witness was added and is not started yet"}},
		"learner":   {exitWrong, func(f *memberFacts) { f.list[2].Learner = true }, []string{"leasehold member add witness 10.20.8.28"}},
		"alarm":     {exitWrong, func(f *memberFacts) { f.alarm(f.list[0].ID, "NOSPACE") }, []string{"alarm NOSPACE of db20-024"}},
		"no-quorum": {exitWrong, func(f *memberFacts) { f.quorumGone() }, []string{"no majority", "db20-024 does not answer", "witness does not answer", "db20-025 knows of no leader"}},
		"differ": {exitWrong, func(f *memberFacts) {
			f.list[2].Name, f.list[2].PeerURLs = "etcd3", []string{"https://10.20.8.29:2380"}
		}, []string{"witness is in etcd.embedded.members", "etcd3 (10.20.8.29) is in the cluster"}},
		"insecure": {exitFine, func(f *memberFacts) {
			f.secure = false
			for i := range f.list {
				f.list[i].PeerURLs = []string{strings.Replace(f.list[i].PeerURLs[0], "https", "http", 1)}
				f.list[i].ClientURLs = []string{strings.Replace(f.list[i].ClientURLs[0], "https", "http", 1)}
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := testMembers(t)
			tc.edit(&f)
			s := assessMembership(f)
			if s.ExitCode != tc.code || len(s.Wrong) != len(tc.want) || !containsAll(strings.Join(s.Wrong, "\n"), tc.want) {
				t.Errorf("exit code %d, wrong %q; want %d, %q", s.ExitCode, s.Wrong, tc.code, tc.want)
			}
			var out bytes.Buffer
			s.render(&out, 80)
			fits(t, out.String())
			golden(t, "members-"+name+".txt", out.String())
		})
	}
}

// fits holds lines to 80 columns.
func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// alarm has a member raise one; all tell it.
func (f *memberFacts) alarm(id uint64, what string) {
	for i := range f.answers {
		f.answers[i].Alarms = append(f.answers[i].Alarms, "memberID:"+decimal(id)+"  alarm:"+what+" ")
	}
}

// quorumGone leaves this host's member alone.
func (f *memberFacts) quorumGone() {
	f.silence("db20-024", "witness")
	f.confirmed = false
	f.answers[1].Leader, f.answers[1].ReadErr = 0, errors.New("no answer in time")
}

// What the configuration and the cluster do not have in common is found, and
// nothing where they agree.
func TestMemberDifferences(t *testing.T) {
	for name, tc := range map[string]struct {
		edit func(*memberFacts)
		want []string
	}{
		"the same":            {func(*memberFacts) {}, nil},
		"not started yet":     {func(f *memberFacts) { f.fresh("witness") }, nil},
		"nobody tells":        {func(f *memberFacts) { f.list = nil }, nil},
		"only configured":     {func(f *memberFacts) { f.list = f.list[:2] }, []string{"witness is in etcd.embedded.members of leasehold.yaml, and not in the cluster; leasehold member add witness 10.20.8.28"}},
		"only in the cluster": {func(f *memberFacts) { f.embedded.Members = f.embedded.Members[:2] }, []string{"witness (10.20.8.28) is in the cluster, and not in etcd.embedded.members of leasehold.yaml; write it there, on every node, or leasehold member remove witness"}},
		"moved":               {func(f *memberFacts) { f.list[2].PeerURLs = []string{"https://10.20.8.29:2380"} }, []string{"witness is at https://10.20.8.29:2380 in the cluster, and at https://10.20.8.28:2380 in etcd.embedded of leasehold.yaml; write what the cluster has"}},
		"another port":        {func(f *memberFacts) { f.embedded.PeerPort = 12380 }, []string{"db20-024 is at", "db20-025 is at", "witness is at"}},
		"renamed":             {func(f *memberFacts) { f.list[2].Name = "etcd3" }, []string{"the member at https://10.20.8.28:2380 is etcd3 in the cluster, and witness in etcd.embedded.members"}},
		"new at another address": {func(f *memberFacts) {
			f.fresh("witness")
			f.list[2].PeerURLs = []string{"https://10.20.8.29:2380"}
		}, []string{"witness is in etcd.embedded.members", "a new member at 10.20.8.29 is in the cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := testMembers(t)
			tc.edit(&f)
			var got []string
			for _, d := range f.differences() {
				got = append(got, d.text())
			}
			if len(got) != len(tc.want) || !containsAll(strings.Join(got, "\n"), tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// Who answers at a member's address is not that member by it: a data directory of
// another cluster, an address that another host has taken.
func TestMemberRowOfAnother(t *testing.T) {
	f := testMembers(t)
	f.answers[2].Member = 0x99
	s := assessMembership(f)
	if m := s.Members[2]; m.State != memberSilent || !strings.Contains(m.Why, "another member answers, 99") {
		t.Errorf("got %+v", m)
	}
	f = testMembers(t)
	f.answers[2].Index -= farBehind + 1
	if s := assessMembership(f); len(s.Wrong) != 1 || !strings.Contains(s.Wrong[0], "witness is 1003 entries behind") {
		t.Errorf("got %q", s.Wrong)
	}
}

// The JSON is a public interface: its keys do not change by accident.
func TestMemberListJSON(t *testing.T) {
	f := testMembers(t)
	f.silence("witness")
	f.alarm(f.list[0].ID, "NOSPACE")
	b, err := json.MarshalIndent(assessMembership(f), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "members.json", string(b)+"\n")
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1260000: "1.2 MB", 256 << 20: "256 MB", 8 << 30: "8.0 GB", 10 << 10: "10 kB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
}
