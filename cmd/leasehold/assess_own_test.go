package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"testing"
	"time"

	"leasehold/internal/member"
)

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// What status says of this host's own member, and whether that makes it wrong.
func TestOwnMember(t *testing.T) {
	const why = "for the first start 2 of 3 members have to be there; missing: witness (connection refused)"
	state := func(s, why string, age time.Duration) func(*memberFacts) {
		return func(f *memberFacts) {
			f.silence(f.node)
			f.process.State, f.process.Why, f.process.Since = s, why, testNow.Add(-age)
		}
	}
	for name, tc := range map[string]struct {
		edit  func(*memberFacts)
		state string
		text  string // of the line
		wrong string // empty: nothing is
	}{
		"follower": {func(*memberFacts) {}, memberFollower, "follower, db20-024 leads, 3 of 3 members answer, db 1.2 MB of 256 MB", ""},
		"leader": {func(f *memberFacts) {
			for i := range f.answers {
				f.answers[i].Leader = f.list[1].ID
			}
		}, memberLeader, "leader, 3 of 3 members answer", ""},
		"another is down":         {func(f *memberFacts) { f.silence("witness") }, memberFollower, "2 of 3 members answer (not witness)", ""},
		"learner":                 {func(f *memberFacts) { f.list[1].Learner = true }, memberLearner, "learner, db20-024 leads, 2 of 2 members answer", ""},
		"not running":             {func(f *memberFacts) { f.silence(f.node); f.runs, f.process = false, member.State{} }, memberDown, "not running, db20-024 leads the others, 2 of 3 members answer (not db20-025)", "does not run: systemctl start leasehold"},
		"waits":                   {state(member.Waiting, why, 3*time.Minute), member.Waiting, "waiting for 3m00s, 2 of 3", "waits: " + why},
		"starts":                  {state(member.Starting, "returns to the cluster", time.Second), member.Starting, "starting for 1s: returns to the cluster", ""},
		"starts for long":         {state(member.Starting, "", time.Minute), member.Starting, "starting for 1m00s", "(pid 4711) is starting for 1m00s"},
		"stops":                   {state(member.Stopping, "asked to", time.Second), member.Stopping, "stopping for 1s: asked to", ""},
		"runs and does not tell":  {func(f *memberFacts) { f.silence(f.node) }, memberSilent, "does not answer, db20-024 leads the others", "(pid 4711) runs and does not answer: dial tcp: connect: connection refused"},
		"cut off":                 {func(f *memberFacts) { f.quorumGone() }, memberLeaderless, "knows of no leader, 1 of 3 members answer", "does not reach a majority"},
		"another program's":       {func(f *memberFacts) { f.runs, f.process = false, member.State{} }, memberFollower, "follower", "run by another program"},
		"not to be looked at":     {func(f *memberFacts) { f.runs, f.processErr = false, fs.ErrPermission }, memberFollower, "follower", ""},
		"neither seen nor heard":  {func(f *memberFacts) { f.silence(f.node); f.runs, f.processErr = false, fs.ErrPermission }, memberDown, "not running", "cannot be looked at: permission denied; sudo"},
		"an alarm of another one": {func(f *memberFacts) { f.alarm(f.list[0].ID, "NOSPACE") }, memberFollower, "alarm NOSPACE of db20-024", "etcd refuses every write"},
		"insecure":                {func(f *memberFacts) { f.secure = false }, memberFollower, "insecure: without certificates", ""},
		"disk nearly full":        {func(f *memberFacts) { f.free = 12 << 20 }, memberFollower, "disk nearly full: 12 MB free, 64 MB are kept", ""},
		"disk not known":          {func(f *memberFacts) { f.free, f.freeErr = 0, fs.ErrPermission }, memberFollower, "db 1.2 MB of 256 MB", ""},
		"nobody answers": {func(f *memberFacts) {
			f.silence("db20-024", "db20-025", "witness")
			f.list, f.listErr, f.confirmed = nil, errNoMember, false
		}, memberSilent, "does not answer, 0 of 3 members answer", "runs and does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			f := testMembers(t)
			tc.edit(&f)
			o := assessOwn(f, assessMembership(f))
			if o.State != tc.state || !strings.Contains(o.text(testNow), tc.text) {
				t.Errorf("state %q, text %q; want %q, %q", o.State, o.text(testNow), tc.state, tc.text)
			}
			if all := strings.Join(o.Wrong, "\n"); tc.wrong == "" && all != "" || !strings.Contains(all, tc.wrong) {
				t.Errorf("wrong: %q, want %q", all, tc.wrong)
			}
		})
	}
}

// A service's status has a line on the member, and goes by what is wrong with it.
func TestStatusWithMember(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		edit func(*memberFacts)
	}{
		"member": {exitFine, func(*memberFacts) {}},
		"member-waits": {exitWrong, func(f *memberFacts) {
			f.silence(f.node)
			f.process.State, f.process.Since = member.Waiting, testNow.Add(-3*time.Minute)
			f.process.Why = "the disk of /var/lib/leasehold/etcd has 12 MB free, and a member needs 96: etcd ends in the middle of a write when there is none; free some, it starts by itself then"
			f.free = 12 << 20
		}},
		"member-alarm": {exitWrong, func(f *memberFacts) { f.alarm(f.list[0].ID, "NOSPACE") }},
	} {
		t.Run(name, func(t *testing.T) {
			f, m := testFacts(t), testMembers(t)
			tc.edit(&m)
			r := statusReport{Node: f.node, At: testNow}
			r.assess(everything{services: []facts{f}, members: &m})
			if r.ExitCode != tc.code {
				t.Errorf("exit code %d, want %d", r.ExitCode, tc.code)
			}
			var out bytes.Buffer
			r.render(&out, 80)
			fits(t, out.String())
			golden(t, "status-"+name+".txt", out.String())
		})
	}
}

// A witness has a table of its own.
func TestStatusOfWitness(t *testing.T) {
	daemon := &daemonReply{PID: 812, Version: "1.0", Node: "witness", At: testNow.Add(-3 * time.Millisecond)}
	for name, tc := range map[string]struct {
		code   int
		edit   func(*memberFacts)
		daemon *daemonReply
		err    error
	}{
		"witness":      {exitFine, func(*memberFacts) {}, daemon, nil},
		"witness-down": {exitWrong, func(f *memberFacts) { f.silence(f.node); f.runs, f.process = false, member.State{} }, nil, errNoDaemon},
		"witness-cold": {exitEtcdUnreachable, func(f *memberFacts) {
			f.silence("db20-024", "db20-025", "witness")
			f.list, f.listErr, f.confirmed = nil, errNoMember, false
			f.process.State, f.process.Since = member.Starting, testNow.Add(-time.Second)
		}, daemon, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := testMembers(t)
			m.node = "witness"
			tc.edit(&m)
			r := statusReport{Node: m.node, At: testNow}
			r.assess(everything{members: &m, daemon: tc.daemon, daemonErr: tc.err})
			if r.ExitCode != tc.code {
				t.Errorf("exit code %d, want %d", r.ExitCode, tc.code)
			}
			var out bytes.Buffer
			r.render(&out, 80)
			fits(t, out.String())
			golden(t, "status-"+name+".txt", out.String())
		})
	}
	m := testMembers(t)
	m.alarm(m.list[2].ID, "CORRUPT")
	r := statusReport{Node: m.node, At: testNow}
	r.assess(everything{members: &m, daemonErr: errors.New("gone")})
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "status-witness.json", string(b)+"\n")
}
