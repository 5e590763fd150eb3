package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// selfEnv has this test's binary be leasehold, for members in processes of their own.
const selfEnv = "LEASEHOLD_TEST_SELF"

// memberCluster is some nodes with an address on loopback each, their configuration,
// and the etcd members that run for them.
type memberCluster struct {
	t     *testing.T
	dir   string
	net   byte
	ports [2]int // of clients, of peers
	tls   string // the directory of the certificates; empty: insecure
	procs map[string]*exec.Cmd
}

// memberClusters gives each cluster of this test a net of its own.
var memberClusters atomic.Int32

func newMemberCluster(t *testing.T) *memberCluster {
	t.Helper()
	c := &memberCluster{t: t, dir: t.TempDir(), net: byte(memberClusters.Add(1)), procs: map[string]*exec.Cmd{}}
	c.ports = [2]int{c.freePort(), c.freePort()}
	t.Cleanup(func() {
		for name := range c.procs {
			c.kill(name)
		}
		if t.Failed() {
			logs, _ := filepath.Glob(filepath.Join(c.dir, "*.log"))
			for _, path := range logs {
				b, _ := os.ReadFile(path)
				t.Logf("--- %s\n%s", filepath.Base(path), b[max(0, len(b)-4000):])
			}
		}
	})
	return c
}

func (c *memberCluster) freePort() int {
	c.t.Helper()
	l, err := net.Listen("tcp", c.addr("m1")+":0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// addr is that of a node: m2's ends with 2.
func (c *memberCluster) addr(name string) string {
	return netip.AddrFrom4([4]byte{127, byte(os.Getpid()%200 + 2), c.net, name[1] - '0'}).String()
}

// configure writes the configuration of one node, with the members that it is to
// name.
func (c *memberCluster) configure(node string, members ...string) {
	c.t.Helper()
	var all []string
	for _, m := range members {
		all = append(all, m+": "+c.addr(m))
	}
	insecure, tls := "insecure: true", ""
	if c.tls != "" {
		insecure = "insecure: false"
		tls = fmt.Sprintf("  tls: {ca: %[1]s/ca.pem, cert: %[1]s/%[2]s.pem, key: %[1]s/%[2]s.key}\n", c.tls, node)
	}
	text := fmt.Sprintf("node: %s\nrun_dir: %s/run\netcd:\n  embedded:\n    dir: %s\n    %s\n    client_port: %d\n    peer_port: %d\n    heartbeat: 20ms\n    election: 200ms\n    quota_mb: 64\n    members: {%s}\n%s",
		node, c.dir, c.data(node), insecure, c.ports[0], c.ports[1], strings.Join(all, ", "), tls)
	if err := os.WriteFile(c.file(node), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *memberCluster) file(node string) string { return filepath.Join(c.dir, node+".yaml") }
func (c *memberCluster) data(node string) string { return filepath.Join(c.dir, node, "etcd") }

// start runs the member of a node, with the configuration that it has now.
func (c *memberCluster) start(nodes ...string) {
	c.t.Helper()
	for _, node := range nodes {
		log, err := os.OpenFile(filepath.Join(c.dir, node+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			c.t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "etcd", "-c", c.file(node))
		cmd.Env = append(os.Environ(), selfEnv+"=1")
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		log.Close()
		c.procs[node] = cmd
	}
}

// kill ends a member as a power cut does.
func (c *memberCluster) kill(node string) {
	_ = c.procs[node].Process.Kill()
	_ = c.procs[node].Wait() // killed: an error by design
	delete(c.procs, node)
}

// on types a command on a node; typed is what the operator answers.
func (c *memberCluster) on(node, typed string, args ...string) (code int, out string) {
	c.t.Helper()
	var b bytes.Buffer
	code = run(c.t.Context(), append(args, "-c", c.file(node)), strings.NewReader(typed), &b, &b)
	return code, b.String()
}

// says types a command, and holds it to its exit code and its words.
func (c *memberCluster) says(node, typed string, want int, words []string, args ...string) string {
	c.t.Helper()
	code, out := c.on(node, typed, args...)
	flat := strings.Join(strings.Fields(out), " ")
	if code != want {
		c.t.Errorf("on %s, %v: exit code %d, want %d:\n%s", node, args, code, want, out)
	}
	for _, w := range words {
		if !strings.Contains(flat, w) {
			c.t.Errorf("on %s, %v does not say %q:\n%s", node, args, w, out)
		}
	}
	c.t.Logf("%s# leasehold %s\n%s", node, strings.Join(args, " "), out)
	return out
}

// list is what member list says on a node, as JSON.
func (c *memberCluster) list(node string) (MembersStatus, int) {
	c.t.Helper()
	code, out := c.on(node, "", "member", "list", "-f", "json", "--timeout", "1s")
	var s MembersStatus
	if code != exitRuntime {
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			c.t.Fatalf("%v in %s", err, out)
		}
	}
	return s, code
}

// states waits until a node sees the members in these states; a leader counts as
// a follower.
func (c *memberCluster) states(node string, want map[string]string) MembersStatus {
	c.t.Helper()
	var s MembersStatus
	var got map[string]string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		s, _ = c.list(node)
		got = map[string]string{}
		for _, m := range s.Members {
			got[m.Name] = strings.Replace(m.State, memberLeader, memberFollower, 1)
		}
		if maps.Equal(got, want) && (s.Leader != "" || !slices.Contains(slices.Collect(maps.Values(want)), memberFollower)) {
			return s
		}
	}
	c.t.Fatalf("on %s the members are %v, want %v", node, got, want)
	return s
}

// well are the states of members that all do their part.
func well(names ...string) map[string]string {
	states := map[string]string{}
	for _, n := range names {
		states[n] = memberFollower
	}
	return states
}

// The life of a cluster, by the commands alone: three members start, a fourth comes,
// the leader goes, one is lost and replaced.
func TestMemberLife(t *testing.T) {
	t.Parallel()
	c := newMemberCluster(t)
	three := []string{"m1", "m2", "m3"}
	for _, m := range three {
		c.configure(m, three...)
	}
	c.says("m1", "", exitRuntime, []string{"no etcd member answers", "the one here is not running"}, "member", "list", "--timeout", "1s")
	c.start("m1")
	c.waits("m1", "for the first start 2 of 3 members have to be there")
	c.says("m1", "", exitRuntime, []string{"is waiting: for the first start 2 of 3"}, "member", "list", "--timeout", "1s")
	c.says("m1", "", exitWrong, []string{"Witness: m1", "this host's etcd member waits: for the first start"}, "status", "--timeout", "1s")
	c.start("m2", "m3")
	c.states("m1", well(three...))
	c.says("m1", "", exitFine, []string{"3 of 3 members answer"}, "member", "list")
	c.says("m2", "", exitFine, []string{"3 of 3 members answer", "insecure"}, "status")

	c.fourthComes()
	leader := c.leaderGoes()
	c.oneIsLost(slices.DeleteFunc([]string{"m1", "m2", "m3", "m4"}, func(m string) bool { return m == leader }))
}

// waits waits until the member's process of a node waits for something.
func (c *memberCluster) waits(node, what string) {
	c.t.Helper()
	var out string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
		p, _, _ := readProcess(c.data(node))
		if out = p.State + ": " + p.Why; strings.HasPrefix(out, "waiting: ") && strings.Contains(out, what) {
			return
		}
	}
	c.t.Fatalf("the member of %s is %s, want it to wait for %q", node, out, what)
}

func (c *memberCluster) fourthComes() {
	c.t.Helper()
	four := []string{"m1", "m2", "m3", "m4"}
	add := []string{"member", "add", "m4", c.addr("m4"), "--timeout", "20s"}
	c.says("m1", "", exitRuntime, []string{"is m3's address already"}, "member", "add", "m4", c.addr("m3"))
	c.says("m1", "", exitFine, []string{"m4 is member", "one of 4", "m4: " + c.addr("m4"), "4 members outlast the loss of 1"}, add...)
	c.says("m1", "", exitRuntime, []string{c.addr("m4") + " was added before and is not started yet"}, "member", "add", "m5", c.addr("m5"))
	c.says("m1", "", exitWrong, []string{"not started yet", "a new member at " + c.addr("m4") + " is in the cluster, and not in"}, "member", "list")
	c.configure("m4", four...)
	c.start("m4")
	c.states("m4", well(four...))
	c.says("m4", "", exitFine, nil, "member", "list")
	c.says("m1", "", exitWrong, []string{"m4 (" + c.addr("m4") + ") is in the cluster, and not in etcd.embedded.members"}, "member", "list")
	for _, m := range four {
		c.configure(m, four...)
	}
	c.says("m1", "", exitFine, nil, "member", "list")
	c.says("m1", "", exitRuntime, []string{"m4 is a member already"}, add...)
}

// leaderGoes removes the leader, from another node.
func (c *memberCluster) leaderGoes() string {
	c.t.Helper()
	s, _ := c.list("m1")
	leader, from := s.Leader, "m1"
	if leader == from {
		from = "m2"
	}
	c.says(from, "no\n", exitRuntime, []string{"loses its place in the cluster for good", "not confirmed, nothing was changed"}, "member", "remove", leader)
	c.says(from, leader+"\n", exitFine, []string{leader + " (", "is no member any more; members left: 3"}, "member", "remove", leader, "--timeout", "20s")
	left := slices.DeleteFunc([]string{"m1", "m2", "m3", "m4"}, func(m string) bool { return m == leader })
	c.states(from, well(left...))
	c.says(from, "", exitWrong, []string{leader + " is in etcd.embedded.members", "and not in the cluster"}, "member", "list")
	for _, m := range left {
		c.configure(m, left...)
	}
	c.says(from, "", exitFine, nil, "member", "list")
	c.says(from, "", exitRuntime, []string{"has no member \"" + leader + "\""}, "member", "remove", leader, "--yes")
	return leader
}

// oneIsLost loses a member of three with its data, and has it replaced.
func (c *memberCluster) oneIsLost(three []string) {
	c.t.Helper()
	a, b, lost := three[0], three[1], three[2]
	c.says(lost, "", exitRuntime, []string{"pid " + fmt.Sprint(c.procs[lost].Process.Pid), "systemctl stop leasehold"}, "member", "wipe", "--yes")
	c.says(a, "", exitRuntime, []string{"it answers", "replace is for a member that is lost"}, "member", "replace", lost, "--yes")
	c.kill(lost)
	c.says(a, "", exitWrong, []string{lost + " does not answer", "2 of 3 members answer", "the loss of one more stops etcd"}, "member", "list")
	c.says(a, "", exitRuntime, []string{"of the 2 members that stay 1 would answer", "repair " + lost + " first"}, "member", "remove", b, "--yes")
	c.says(a, "", exitRuntime, []string{"repair " + lost + " first"}, "member", "add", "m9", c.addr("m9"))
	c.says(lost, "no\n", exitRuntime, []string{"The cluster still has " + lost + " as a member", "not confirmed, nothing was changed"}, "member", "wipe")
	c.start(lost)
	c.states(a, well(three...))

	// It hangs, is replaced, and thaws: it learns that it is no member, and ends.
	frozen := c.procs[lost]
	if err := frozen.Process.Signal(syscall.SIGSTOP); err != nil {
		c.t.Fatal(err)
	}
	c.says(a, "", exitWrong, []string{lost + " does not answer", "2 of 3 members answer"}, "member", "list", "--timeout", "1s")
	c.says(a, lost+"\n", exitFine, []string{lost + " is member", "not started yet", "leasehold member wipe"}, "member", "replace", lost, "--timeout", "20s")
	c.says(lost, "", exitRuntime, []string{"systemctl stop leasehold-etcd"}, "member", "wipe", "--yes")
	if err := frozen.Process.Signal(syscall.SIGCONT); err != nil {
		c.t.Fatal(err)
	}
	limit := time.AfterFunc(60*time.Second, func() { _ = frozen.Process.Kill() })
	_ = frozen.Wait() // with an error, which it ends with
	if delete(c.procs, lost); !limit.Stop() {
		c.t.Errorf("%s goes on after it was replaced", lost)
	}
	c.says(a, "", exitRuntime, []string{"was added already, and is not started yet"}, "member", "replace", lost, "--yes")
	c.says(lost, lost+"\n", exitFine, []string{"The cluster has a new place for " + lost, "removed " + c.data(lost)}, "member", "wipe")
	c.says(lost, "", exitFine, []string{"no data of a member"}, "member", "wipe", "--yes")
	c.start(lost)
	c.states(a, well(three...))
	c.says(a, "", exitFine, nil, "member", "list")

	c.kill(b)
	c.kill(lost)
	c.says(a, "", exitWrong, []string{"no majority"}, "member", "list", "--timeout", "1s")
	for _, args := range [][]string{{"remove", b}, {"replace", b}, {"remove", a}} {
		c.says(a, "", exitRuntime, []string{"1 of 3 members answer, and 2 have to agree to any change"}, "member", args[0], args[1], "--yes", "--timeout", "1s")
	}
	c.says(a, "", exitWrong, []string{"knows of no leader"}, "status", "--timeout", "1s")
	c.says(b, "", exitRuntime, []string{"these data may be what brings the cluster back", "not confirmed"}, "member", "wipe", "--timeout", "1s")
	c.start(b)
	c.states(a, map[string]string{a: memberFollower, b: memberFollower, lost: memberSilent})
}

// A cluster of one grows to three without a moment in which it has no majority,
// and goes back to one.
func TestMemberGrowsFromOne(t *testing.T) {
	t.Parallel()
	c := newMemberCluster(t)
	c.configure("m1", "m1")
	c.start("m1")
	c.states("m1", well("m1"))
	c.says("m1", "", exitRuntime, []string{"is the last member"}, "member", "remove", "m1", "--yes")
	add := func(name string) []string { return []string{"member", "add", name, c.addr(name), "--timeout", "30s"} }
	c.says("m1", "", exitFine, []string{"It is a learner", "leasehold member add m2"}, add("m2")...)
	c.states("m1", map[string]string{"m1": memberFollower, c.addr("m2"): memberNew}) // it still leads
	c.says("m1", "", exitRuntime, []string{"it is a learner, and not started yet"}, add("m2")...)
	for _, m := range []string{"m1", "m2"} {
		c.configure(m, "m1", "m2")
	}
	c.start("m2")
	c.states("m1", map[string]string{"m1": memberFollower, "m2": memberLearner})
	c.says("m2", "", exitWrong, []string{"m2 is a learner, and has no vote"}, "member", "list")
	c.says("m1", "", exitFine, []string{"m2 has a vote now: 2 members", "2 members outlast the loss of 0"}, add("m2")...)
	c.states("m2", well("m1", "m2"))
	c.says("m2", "", exitFine, []string{"m3 is member", "one of 3"}, add("m3")...)
	for _, m := range []string{"m1", "m2", "m3"} {
		c.configure(m, "m1", "m2", "m3")
	}
	c.start("m3")
	c.states("m3", well("m1", "m2", "m3"))
	for _, m := range []string{"m3", "m2"} {
		c.says("m1", "", exitFine, []string{m + " ("}, "member", "remove", m, "--yes", "--timeout", "30s")
	}
	c.states("m1", well("m1"))
}

// With certificates: the list, the status and what doctor has to say of a member.
func TestMemberWithCertificates(t *testing.T) {
	t.Parallel()
	c := newMemberCluster(t)
	c.tls = filepath.Join(c.dir, "certs")
	two := []string{"m1", "m2"}
	if code, out, errs := leasehold(t, "certs", "--out", c.tls, "m1="+c.addr("m1"), "m2="+c.addr("m2")); code != exitFine {
		t.Fatalf("certs: %s%s", out, errs)
	}
	for _, m := range two {
		c.configure(m, two...)
	}
	c.start(two...)
	c.states("m1", well(two...))
	c.says("m1", "", exitFine, []string{"2 of 2 members answer"}, "member", "list")
	c.says("m1", "", exitFine, []string{"Witness: m1", "db "}, "status")
	out := c.says("m1", "", exitFine, []string{"2 of 2 members answer", "name the same 2 members", "its certificate is good until", "the clocks of m2 agree", "etcd is on"}, "doctor")
	if strings.Contains(out, "insecure") || strings.Contains(out, "CAP_NET_ADMIN") {
		t.Errorf("doctor says:\n%s", out)
	}
	c.kill("m2")
	c.says("m1", "", exitRuntime, []string{"knows of no leader"}, "doctor", "--timeout", "1s")
}
