package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leasehold/internal/lab"
	"leasehold/internal/lab/labtest"
)

// limit is for what is waited for and not measured.
const limit = time.Minute

// binDir is where the binary of these tests is.
var binDir string

// binary builds leasehold once for the tests of this package, or copies what
// LEASEHOLD_BINARY names.
var binary = sync.OnceValues(func() (string, error) {
	out := filepath.Join(binDir, "leasehold")
	cmd := exec.Command("go", "build", "-o", out, "leasehold/cmd/leasehold")
	if there := os.Getenv("LEASEHOLD_BINARY"); there != "" {
		cmd = exec.Command("cp", there, out)
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build leasehold: %w\n%s", err, b)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	var err error
	if binDir, err = os.MkdirTemp("", "leasehold-demo-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(binDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// stage is one place for demos, which is empty before and after the test.
type stage struct {
	place
	bin string
}

var stages atomic.Int32 // numbers them

func newStage(t *testing.T) stage {
	t.Helper()
	labtest.Require(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	s := stage{place{fmt.Sprintf("lhdemo-%d-%02d", os.Getpid(), stages.Add(1))}, bin}
	t.Cleanup(func() {
		if out, err := exec.Command(bin, "demo", "--down", "--name", s.name).CombinedOutput(); err != nil {
			t.Errorf("demo --down: %v: %s", err, out)
		}
		if left := s.left(t); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return s
}

// left returns what there is on the machine that has the demo's name.
func (s stage) left(t *testing.T) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{"/run/netns/" + s.name + "*", s.root(), s.lockFile()} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.name) {
			left = append(left, strings.TrimSpace(line))
		}
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, proc := range procs {
		line, _ := os.ReadFile(proc + "/cmdline") // gone meanwhile: nothing
		if bytes.Contains(line, []byte(s.name)) {
			left = append(left, fmt.Sprintf("%s %q", proc, line))
		}
	}
	return left
}

// running is one leasehold demo.
type running struct {
	*exec.Cmd
	out *output
}

// output collects what is written, for several goroutines.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (s stage) start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{exec.Command(s.bin, append([]string{"demo", "--name", s.name}, args...)...), &output{}}
	r.Stdout, r.Stderr = r.out, r.out
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Process.Kill() // it has ended
		if t.Failed() {
			t.Logf("%v said:\n%s", args, r.out)
		}
	})
	return r
}

// says waits until something was said.
func (r *running) says(t *testing.T, text string) {
	t.Helper()
	err := lab.Wait(t.Context(), limit, fmt.Sprintf("%q", text), func() (bool, error) { return strings.Contains(r.out.String(), text), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// ends waits for the exit code.
func (r *running) ends(t *testing.T, want int) {
	t.Helper()
	if err := r.Wait(); err != nil && r.ProcessState == nil {
		t.Fatal(err)
	}
	if got := r.ProcessState.ExitCode(); got != want {
		t.Errorf("exit code %d, want %d\n%s", got, want, r.out)
	}
}

// on runs a command on a host of a kept demo, as the handbook says.
func (s stage) on(t *testing.T, host string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.shellFile(host), args...).CombinedOutput()
	return string(out), err
}

// holder returns who holds the VIP by the word of status; empty: nobody.
func (s stage) holder(t *testing.T) string {
	t.Helper()
	out, _ := s.on(t, hostA, "leasehold", "status") // its exit code says how HA is
	for _, host := range []string{hostA, hostB} {
		if strings.Contains(out, host+" holds the VIP") {
			return host
		}
	}
	return ""
}

func (s stage) wait(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := await(ctx, what, func() (bool, error) { return cond(), nil }); err != nil {
		t.Error(err)
	}
}

func (s stage) down(t *testing.T, want string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), s.bin, "demo", "--down", "--name", s.name).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("demo --down: %v: %s; want %q", err, out, want)
	}
}
