package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
)

func TestMain(m *testing.M) {
	if os.Getenv(selfEnv) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	switch dir := os.Getenv("LEASEHOLD_TEST_EXEC"); {
	case dir != "" && os.Getenv(lockEnv) == "":
		execParent(dir)
	case dir != "":
		execChild(dir)
	}
	os.Exit(m.Run())
}

// execParent is a process that has a lock and a child, and starts itself anew.
func execParent(dir string) {
	fail := func(err error) {
		fmt.Println(err)
		os.Exit(1)
	}
	lock, err := ownLock(context.Background(), dir, func() int { return 0 }, hclog.NewNullLogger())
	if err != nil {
		fail(err)
	}
	child := exec.Command("/bin/sleep", "60")
	if err := child.Start(); err != nil {
		fail(err)
	}
	path, err := ownPath(os.Args)
	if err != nil {
		fail(err)
	}
	renew := make(chan os.Signal, 1)
	if err := replaceProcess("/nonexistent", lock, renew); err == nil || !strings.Contains(err.Error(), "/nonexistent in place") {
		fail(fmt.Errorf("a failed exec: %w", err))
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		fail(err)
	}
	<-renew // listened to again
	fmt.Println("parent", os.Getpid(), child.Process.Pid)
	fail(replaceProcess(path, lock, renew))
}

// execChild is what it becomes. It says what it found, and waits for its end.
func execChild(dir string) {
	lock, err := ownLock(context.Background(), dir, func() int { return 0 }, hclog.NewNullLogger())
	_, again := os.LookupEnv(lockEnv)
	fmt.Println("child", os.Getpid(), err, lock != nil, again)
	_, _ = io.ReadAll(os.Stdin) // ends with the test
	os.Exit(0)
}

// A process that starts itself anew keeps its pid, arguments and lock, and has no
// zombies of the life before.
func TestReplaceProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=none", "an argument")
	cmd.Env = append(os.Environ(), "LEASEHOLD_TEST_EXEC="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	var pid, sleeping int
	if _, err := fmt.Fscanf(lines, "parent %d %d\n", &pid, &sleeping); err != nil {
		rest, _ := io.ReadAll(lines)
		t.Fatalf("%v %s", err, rest)
	}
	line, err := lines.ReadString('\n')
	if want := fmt.Sprintf("child %d <nil> true false\n", cmd.Process.Pid); line != want || err != nil || pid != cmd.Process.Pid {
		t.Errorf("got %q, %v; want %q", line, err, want)
	}
	if _, err := lockRunDir(t.Context(), dir, 0); !errors.Is(err, errLocked) {
		t.Errorf("the lock is free: %v", err)
	}
	if err := syscall.Kill(sleeping, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the child of the life before: %v", err)
	}
	if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); !strings.HasSuffix(string(args), "\x00an argument\x00") {
		t.Errorf("arguments %q, %v", args, err)
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

func TestInheritNothing(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{"": "", "nonsense": "no descriptor", "1": "no descriptor", "999": "bad file descriptor"} {
		t.Setenv(lockEnv, text)
		got, err := inherit(dir, func() int { return 0 })
		if got.lock != nil || want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, %v; want %q", text, got.lock, err, want)
		}
	}
}

// Where the binary is looked for: by the path that it was started by.
func TestOwnPath(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "leasehold")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ arg, want string }{
		{self, self}, {link, link}, {"leasehold", self}, {"/bin/true", self}, {"/nonexistent", self},
	} {
		if got, err := ownPath([]string{tc.arg}); got != tc.want || err != nil {
			t.Errorf("started as %s: %s, %v; want %s", tc.arg, got, err, tc.want)
		}
	}
}
