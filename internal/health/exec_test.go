package health

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// script writes a shell script.
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "check")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// probeExec runs one round, and says how long it took.
func probeExec(t *testing.T, timeout time.Duration, command ...string) (string, time.Duration, error) {
	t.Helper()
	p := &execProbe{command: command}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	begin := time.Now()
	detail, err := p.probe(ctx)
	return detail, time.Since(begin), err
}

func TestExec(t *testing.T) {
	for name, tc := range map[string]struct{ body, ok, failure string }{
		"ok":                {"exit 0", "exit status 0", ""},
		"ok with a word":    {"echo one; echo; echo 'two  '; echo", "exit status 0: two", ""},
		"fails":             {"echo replica is 900 s behind >&2; exit 3", "", "exit status 3: replica is 900 s behind"},
		"kills itself":      {"kill -KILL $$", "", "signal: killed"},
		"arguments":         {`test "$1" = 'a b; exit 1'`, "exit status 0", ""},
		"no terminal codes": {`printf '\033[31mred\n'`, "exit status 0: ?[31mred", ""},
		"clean environment": {`test -z "$HEALTH_SECRET" && test "$PWD" = / && test -n "$PATH" && ! read x`, "exit status 0", ""},
		"leaves a child":    {"sleep 600 & exit 0", "exit status 0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HEALTH_SECRET", "x")
			detail, took, err := probeExec(t, patience, script(t, tc.body), "a b; exit 1")
			if took > patience/2 {
				t.Errorf("took %s", took)
			}
			switch {
			case tc.failure == "" && (err != nil || detail != tc.ok):
				t.Errorf("%q, %v; want %q", detail, err, tc.ok)
			case tc.failure != "" && (err == nil || err.Error() != tc.failure):
				t.Errorf("%q, %v; want failure %q", detail, err, tc.failure)
			}
		})
	}
}

func TestExecCapsOutput(t *testing.T) {
	detail, _, err := probeExec(t, patience, script(t, `head -c 3000000 /dev/zero | tr '\0' x; exit 0`))
	if want := "exit status 0: " + strings.Repeat("x", maxTail); err != nil || detail != want {
		t.Errorf("%d bytes, %v; want %d", len(detail), err, len(want))
	}
}

// At the timeout the whole group is killed and nothing of it is left.
func TestExecTimeoutKillsTheGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	path := script(t, "trap '' TERM INT\necho waiting\nsleep 600 & echo $! >"+pids+"\necho $$ >>"+pids+"\nwait\nsleep 600")
	detail, took, err := probeExec(t, 500*time.Millisecond, path)
	if err == nil || err.Error() != "not done in time, killed: waiting" {
		t.Errorf("%q, %v", detail, err)
	}
	if took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(b))
	if len(lines) != 2 {
		t.Fatalf("pids %q", b)
	}
	for _, l := range lines {
		pid, err := strconv.Atoi(l)
		if err != nil {
			t.Fatal(err)
		}
		// A grandchild is reaped by init, in its own time.
		waitUntil(t, fmt.Sprintf("pid %d is gone", pid), func() bool {
			p, err := openTarget(pid)
			if err == nil {
				p.close()
			}
			return err != nil
		})
	}
}

// A child in a session of its own outlives the kill, and must not hang the check.
func TestExecDoesNotWaitForEscapees(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	_, took, err := probeExec(t, patience, script(t, "setsid sh -c 'echo $$ >"+pid+"; exec sleep 60' &\nwhile ! test -s "+pid+"; do sleep 0.01; done"))
	if err != nil || took > patience/2 {
		t.Errorf("%v after %s", err, took)
	}
	if b, err := os.ReadFile(pid); err == nil {
		if n, err := parsePid(b); err == nil {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
}

func TestExecTrusts(t *testing.T) {
	need(t, "root, to give files away", os.Geteuid() == 0)
	fine := script(t, "exit 0")
	writable := script(t, "exit 0")
	dir := filepath.Dir(script(t, "exit 0"))
	foreign := script(t, "exit 0")
	link := filepath.Join(t.TempDir(), "link")
	for _, err := range []error{
		os.Chmod(writable, 0o777), os.Chmod(dir, 0o777), os.Chown(foreign, 65534, 65534), os.Symlink(fine, link),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		fine: "", link: "", writable: "writable for others", filepath.Join(dir, "check"): "writable for others",
		foreign: "belongs to uid 65534", filepath.Dir(fine): "not an executable file", fine + "x": "no such file",
	} {
		_, _, err := probeExec(t, patience, path)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestExecRuns(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "ok")
	r := runChecks(t, false, Config{
		Name: "exec", Exec: &Exec{Command: []string{script(t, "echo looked; test -e "+flag)}},
		Interval: 50 * time.Millisecond, Timeout: patience / 20, Fall: 2, Rise: 2,
	})
	r.sick("exec: exit status 1: looked")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.healthy()
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	r := runChecks(t, false, Config{Name: "tcp", TCP: &TCP{address}, Interval: 50 * time.Millisecond})
	r.healthy()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r.sick("tcp: " + address + ": nobody listens (connection refused)")
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	r.healthy()
	_ = l.Close()
}
