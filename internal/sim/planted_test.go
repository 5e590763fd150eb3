package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// edit changes one place of a file, which must be there exactly once.
type edit struct{ file, from, to string }

// planted is a bug that somebody might make, and that the simulation must find.
type planted struct {
	name  string
	edits []edit
	// seeds is within how many seeds it is found; the table in the log of the
	// test says how many it took.
	seeds int
}

const (
	tenureFile = "election/tenure.go"
	rulesFile  = "election/rules.go"
	syncFile   = "election/sync.go"
	stepFile   = "internal/node/step.go"
	setFile    = "internal/sim/operations.go" // the model of vip.Set
)

func one(file, from, to string) []edit { return []edit{{file, from, to}} }

var bugs = []planted{
	{"deadline from when the reply came", one(tenureFile, "from := r.Sent\n", "from := r.Got\n"), 3000},
	{"hedged renewal counts from its reply", one(tenureFile, "from := r.Sent\n", "from := r.Sent\nif endpoint > 0 {\nfrom = r.Got\n}\n"), 3000},
	{"take-over does not compare the holder", one(tenureFile, "Txn: Txn{If: ifs, Then: then}", "Txn: Txn{If: ifs[1:], Then: then}"), 3000},
	{"take-over does not compare the tenure", one(tenureFile, "Txn: Txn{If: ifs, Then: then}", "Txn: Txn{If: append(ifs[:1:1], ifs[2]), Then: then}"), 3000},
	{"take-over does not compare the pause", one(tenureFile, "Txn: Txn{If: ifs, Then: then}", "Txn: Txn{If: ifs[:2], Then: then}"), 3000},
	{"renewal does not compare the holder", one(tenureFile, "If:   []Cond{onLease(c.keys.Holder(), lease)},\n\t\t\tThen: []Write{put(c.keys.Holder(), c.holderValue(ttl", "Then: []Write{put(c.keys.Holder(), c.holderValue(ttl"), 3000},
	{"resign before the VIP is removed", one(stepFile,
		"	return append(do, Action{Verb: Resign, Why: why})\n",
		"	return append([]Action{{Verb: Resign, Why: why}}, do...)\n"), 3000},
	{"tenure marked released before the fence shuts", one(tenureFile,
		"	c.mine.held, c.mine.deadline = false, 0\n	c.unsync()\n", "	c.mine.held, c.mine.deadline = false, 0\n	c.wish.release, c.wish.why = c.mine.epoch, why\n	c.unsync()\n"), 3000},
	{"clock drift ignored", one(rulesFile, "return time.Duration(float64(ttl) * (1 - rho) / (1 + rho))", "return ttl"), 3000},
	{"fence not shut on release", one(setFile, "	s.shut()\n	h.pause(time.Millisecond)\n	h.kernel.remove()", "	h.pause(time.Millisecond)\n	h.kernel.remove()"), 3000},
	{"adopted tenure counts from the start", one(syncFile, "long: p.Long, deadline: p.Deadline,", "long: p.Long, deadline: Deadline(c.now, time.Duration(h.TTL), c.cfg.Margin),"), 3000},
	{"holder seen when the read was sent", one(syncFile, "		c.seen = r.Got\n", "		c.seen = r.Sent\n"), 3000},
	{"a standby that has just started does not wait", one(syncFile,
		"if !c.known || modRev(v.Holder) != modRev(old.Holder) || tenureRev(&v) != tenureRev(&old) {",
		"if c.known && (modRev(v.Holder) != modRev(old.Holder) || tenureRev(&v) != tenureRev(&old)) {"), 3000},
	{"a vanished holder key is taken for free", one(rulesFile, "return v.Holder == nil && v.Tenure != nil && v.Tenure.Bad == \"\" && v.Tenure.State == TenureReleased", "return v.Holder == nil && v.Tenure != nil"), 3000},
	{"own ttl waited, not the holder's", one(rulesFile, "return max(own, v.term)", "return own"), 3000},
	{"a renewal that a watch left out is not allowed for", one(syncFile, "e.PrevRev == 0 || e.PrevRev != modRev(c.view.Holder)", "e.PrevRev == 0"), 3000},
	{"a late store opens the fence after a claim", one(setFile, "		return vip.ErrClaimed\n", ""), 3000},
	{"a claim is answered without asking etcd", one("internal/node/claim.go", "return f.ClaimedAt < f.Renewed", "return true"), 3000},
	{"key made short before the kernel", one(stepFile, "return append([]Action{{Verb: ExtendVIP, Until: until}}, then...)", "return append(then, Action{Verb: ExtendVIP, Until: until})"), 3000},
	{"long deadline kept at the end of a pause", one(stepFile, "return append([]Action{{Verb: ExtendVIP, Until: until}}, then...)", "return then"), 3000},
	{"kernel's lateness forgotten", one("internal/node/reading.go", "f.HeldUntil = e.HeldUntil.Add(-r.Lateness)", "f.HeldUntil = e.HeldUntil"), 3000},
	{"a lifetime that was set too late stays", one(setFile, "late <= s.limit(until)", "late > 0"), 3000},
	{"pause ignored when letting go", one(stepFile, "case f.Paused, f.toShorten():", "case f.toShorten():"), 3000},
	{"epoch counted by each node for itself", one(tenureFile, "return max(c.mine.epoch, c.view.top) + 1", "return c.mine.epoch + 1"), 3000},
	{"the better host takes the VIP unasked", one(rulesFile, "m.Preempt && m.Eligible && m.Priority", "m.Eligible && m.Priority"), 3000},
	{"bind opens what a claim has shut, for ever in vain", one(stepFile, "if f.Claimed { // of an earlier run", "if false { // of an earlier run"), 3000},
}

// TestPlantedBugs shows that the simulation can fail: each of these bugs, made in
// a copy of the source, is found.
func TestPlantedBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a simulation per bug")
	}
	list := bugs
	if pattern := os.Getenv("LEASEHOLD_SIM_BUG"); pattern != "" {
		re := regexp.MustCompile(pattern)
		list = nil
		for _, b := range bugs {
			if re.MatchString(b.name) {
				list = append(list, b)
			}
		}
	}
	for _, b := range list {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			found, err := b.find(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %s", b.name, found)
		})
	}
}

// find builds the simulation with the bug and runs it until it fails.
func (b planted) find(ctx context.Context, dir string) (string, error) {
	overlay, err := b.overlay(dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	exe := filepath.Join(dir, "sim")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-overlay", overlay, "-o", exe, "./internal/sim/leasehold-sim")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build with the bug: %w\n%s", err, out)
	}
	out, err := exec.CommandContext(ctx, exe, "-seeds", fmt.Sprint(b.seeds), "-workers", "1").Output()
	if err == nil {
		return "", fmt.Errorf("not found in %d seeds\n%s", b.seeds, out)
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	_, found, _ := strings.Cut(string(out), "FAILED ")
	return strings.TrimSpace(found), nil
}

// overlay writes the changed copies, and what tells the go command of them.
func (b planted) overlay(dir string) (string, error) {
	replace := map[string]string{}
	for i, e := range b.edits {
		path, err := filepath.Abs(filepath.Join("../..", e.file))
		if err != nil {
			return "", err
		}
		from := path
		if copied, again := replace[path]; again {
			from = copied
		}
		src, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(src), e.from); n != 1 {
			return "", fmt.Errorf("%s has %d times what the bug changes, want 1: %q", e.file, n, e.from)
		}
		replace[path] = filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(src), e.from, e.to, 1)), 0o600); err != nil {
			return "", err
		}
	}
	b2, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b2, 0o600)
}
