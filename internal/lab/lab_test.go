package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must returns v or ends the test.
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespaces returns the names of this process's namespaces under /run/netns.
func namespaces(t *testing.T) []string {
	t.Helper()
	all := must2(filepath.Glob("/run/netns/lh*"))(t)
	return all
}

func must2[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		return must(t, v, err)
	}
}

// reaches reports whether a TCP connection from one host to another gets an
// answer, be it a refusal, within 300 ms.
func reaches(t *testing.T, l *lab.Lab, from, to string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	h := must2(l.Host(to))(t)
	conn, err := l.Dial(ctx, from, "tcp", h.Addr.Addr().String()+":9")
	if err == nil {
		conn.Close()
	}
	return err == nil || strings.Contains(err.Error(), "refused")
}

func TestCloseLeavesNothing(t *testing.T) {
	labtest.Require(t)
	start := time.Now()
	l := must2(lab.New(t.Context(), lab.Config{IPv6: true}))(t)
	t.Logf("up in %v", time.Since(start))
	mine := filepath.Base(l.Dir())[:strings.LastIndex(filepath.Base(l.Dir()), "-")+1]
	count := func() (n int) {
		for _, name := range namespaces(t) {
			if strings.HasPrefix(filepath.Base(name), mine) {
				n++
			}
		}
		return n
	}
	if named(t) && count() != 6 {
		t.Errorf("%d namespaces named %s…, want 4 hosts, an observer and a switch", count(), mine)
	}
	// A process that is told to go and one that left its group's leader behind.
	p := must2(l.Start(lab.A, "sh", nil, "sh", "-c", "sleep 1000 & echo $!; wait"))(t)
	check(t, lab.Wait(t.Context(), 5*time.Second, "the child's number", func() (bool, error) { return p.Tail(1) != "", nil }))
	child := p.Tail(1)
	check(t, p.Kill())
	if !lives(child) {
		t.Fatal("the child did not outlive its parent")
	}
	start = time.Now()
	check(t, l.Close())
	t.Logf("closed in %v", time.Since(start))
	check(t, l.Close())
	if count() != 0 {
		t.Errorf("namespaces left: %v", namespaces(t))
	}
	if _, err := os.Stat(l.Dir()); !os.IsNotExist(err) {
		t.Errorf("directory left: %v", err)
	}
	check(t, lab.Wait(t.Context(), 5*time.Second, "the orphan's end", func() (bool, error) { return !lives(child), nil }))
}

// lives reports whether a process has not ended; a zombie has, and has no exe.
func lives(pid string) bool {
	_, err := os.Readlink("/proc/" + pid + "/exe")
	return err == nil
}

// named reports whether namespaces can have names here: not in a user
// namespace, where /run/netns belongs to somebody else.
func named(t *testing.T) bool {
	t.Helper()
	return strings.Join(strings.Fields(string(must2(os.ReadFile("/proc/self/uid_map"))(t))), " ") == "0 0 4294967295"
}

// TestKilledRun is a run that is killed while its lab is up: nothing of it may
// go on, and the next one can clear away what it left.
func TestKilledRun(t *testing.T) {
	const marker = "LEASEHOLD_LAB_KILLED_RUN"
	if os.Getenv(marker) != "" {
		l := must2(lab.New(t.Context(), lab.Config{}))(t)
		p := must2(l.Start(lab.A, "sleep", nil, "sleep", "1000"))(t)
		fmt.Println("pid", p.Pid(), l.Dir())
		check(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	}
	labtest.Require(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledRun$")
	cmd.Env = append(os.Environ(), marker+"=1")
	out, err := cmd.Output()
	if err == nil {
		t.Fatalf("the run was not killed: %s", out)
	}
	var pid, dir string
	if _, err := fmt.Sscanf(string(out), "pid %s %s", &pid, &dir); err != nil {
		t.Fatalf("%v: %q", err, out)
	}
	check(t, lab.Wait(t.Context(), 5*time.Second, "the process's end", func() (bool, error) { return !lives(pid), nil }))
	removed := must2(lab.CleanLeftovers())(t)
	if named(t) && len(removed) < 7 {
		t.Errorf("removed %v, want six namespaces and a directory", removed)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("directory left: %v", err)
	}
}

func TestProcessRunsOnHost(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	out := must2(l.Exec(t.Context(), lab.B, "ip", "-4", "-o", "addr", "show", "dev", "eth0"))(t)
	if !strings.Contains(out, "10.20.8.27/24") {
		t.Errorf("addresses of host b: %q, want 10.20.8.27/24", out)
	}
	p := must2(l.Start(lab.B, "sleep", nil, "sleep", "1000"))(t)
	comm := must2(os.ReadFile(filepath.Join("/proc", itoa(p.Pid()), "comm")))(t)
	if string(comm) != "sleep\n" {
		t.Errorf("process %d is %q, want sleep itself", p.Pid(), comm)
	}
	check(t, p.Freeze(t.Context()))
	check(t, p.Thaw())
	check(t, p.Stop(t.Context()))
	if p.Running() {
		t.Error("runs after Stop")
	}
	if err := p.Kill(); err == nil {
		t.Error("Kill of an ended process: no error")
	}
}

func TestFaults(t *testing.T) {
	l := labtest.Start(t, lab.Config{})
	ctx := t.Context()
	all := func(when string, want map[string]bool) {
		t.Helper()
		for way, ok := range want {
			from, to, _ := strings.Cut(way, ">")
			// A way that was cut is only used again after some tries.
			err := lab.Wait(ctx, 5*time.Second, way, func() (bool, error) { return reaches(t, l, from, to) == ok, nil })
			if err != nil {
				t.Errorf("%s: %s reaches %s: %t, want %t", when, from, to, !ok, ok)
			}
		}
	}
	all("at first", map[string]bool{"a>b": true, "b>client": true})
	check(t, l.Cut(ctx, lab.A, lab.B))
	all("a|b", map[string]bool{"a>b": false, "a>c": true, "client>b": true})
	check(t, l.HealBetween(ctx, lab.A, lab.B))
	check(t, l.CutAll(ctx, lab.A))
	all("a alone", map[string]bool{"a>c": false, "client>b": true})
	check(t, l.Heal(ctx))
	check(t, l.CutGroups(ctx, []string{lab.A, lab.Client}, []string{lab.B, lab.C}))
	all("a,client|b,c", map[string]bool{"a>client": true, "a>b": false, "c>client": false, "b>c": true})
	check(t, l.CutOneWay(ctx, lab.A, lab.B))
	all("a-x->b", map[string]bool{"b>a": false, "c>b": true})
	check(t, l.Heal(ctx))
	check(t, l.Lose(ctx, lab.A, 100))
	all("a loses all", map[string]bool{"b>a": false, "c>b": true})
	check(t, l.Heal(ctx))
	check(t, l.Isolate(lab.A, lab.B))
	all("a and b isolated", map[string]bool{"a>b": false, "b>a": false, "a>c": true, "client>b": true})
	check(t, l.Join(lab.A, lab.B))
	all("joined", map[string]bool{"a>b": true, "b>a": true})
	check(t, l.CablePull(lab.B))
	all("b's cable out", map[string]bool{"a>b": false, "a>c": true})
	if out := must2(l.Exec(ctx, lab.B, "ip", "link", "show", "eth0"))(t); !strings.Contains(out, "NO-CARRIER") {
		t.Errorf("eth0 of host b has carrier without its cable: %s", out)
	}
	check(t, l.CablePlug(lab.B))
	all("b's cable in", map[string]bool{"a>b": true})
	check(t, l.DropInput(ctx, lab.A, lab.B))
	all("a drops b's input", map[string]bool{"b>a": false, "c>a": true})
	check(t, l.RestoreInput(ctx, lab.A))
	all("healed", map[string]bool{"a>b": true, "b>a": true, "c>a": true})
}

func TestCleanLeftovers(t *testing.T) {
	labtest.Require(t)
	// Process 2^22 is above the largest process id, see proc_sys_kernel(5).
	dir := filepath.Join(t.TempDir(), "lh4194304-1-x")
	t.Setenv("TMPDIR", filepath.Dir(dir))
	l := labtest.Start(t, lab.Config{}) // which cleans up as well
	check(t, os.Mkdir(dir, 0o700))
	removed := must2(lab.CleanLeftovers())(t)
	if len(removed) == 0 || removed[len(removed)-1] != dir {
		t.Errorf("removed %v, want %s", removed, dir)
	}
	if _, err := os.Stat(l.Dir()); err != nil {
		t.Errorf("a living lab was removed: %v", err)
	}
}

// What a killed lab with a name leaves: names, files, and processes that did not
// end with it. Shells that people opened in a living one end with it.
func TestReclaim(t *testing.T) {
	labtest.Require(t)
	cfg := lab.Config{Name: "lhtest-" + strconv.Itoa(os.Getpid()), Dir: filepath.Join(t.TempDir(), "lab"), Hosts: lab.DefaultHosts()}
	check(t, lab.Reclaim(cfg)) // nothing is there
	l := must2(lab.New(t.Context(), cfg))(t)
	t.Cleanup(func() { check(t, l.Close()) })
	if l.Dir() != cfg.Dir {
		t.Errorf("the lab is in %s, want %s", l.Dir(), cfg.Dir)
	}
	shell := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/"+cfg.Name+"-a", "sleep", "60")
	check(t, shell.Start())
	check(t, lab.Wait(t.Context(), 5*time.Second, "the shell to be there", func() (bool, error) {
		there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", shell.Process.Pid))
		own, _ := os.Readlink("/proc/self/ns/net")
		return there != "" && there != own, err
	}))
	check(t, lab.Reclaim(cfg))
	if err := shell.Wait(); err == nil {
		t.Error("the shell ended by itself, want it killed")
	}
	left := must2(filepath.Glob("/run/netns/" + cfg.Name + "*"))(t)
	if _, err := os.Stat(cfg.Dir); len(left) > 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v, and the directory: %v", left, err)
	}
}

func writeScript(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(text), 0o700))
}
