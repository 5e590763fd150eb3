package health

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// child is what the test binary does when TestAsAnotherUser starts it: it checks
// the process that a pidfile names, and prints each State, until its input ends.
func child() int {
	c, err := New([]Config{{Name: "p", Process: &Process{Pidfile: os.Getenv("HEALTH_TEST_CHILD")}}}, hclog.New(&hclog.LoggerOptions{Output: os.Stdout}))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // returns when the test is over
		cancel()
	}()
	for {
		select {
		case <-c.Changed():
			fmt.Println("state", c.State().Healthy, c.State().Why, c.State().Results[0].Detail)
		case err := <-done:
			if err != nil {
				fmt.Println(err)
				return 1
			}
			return 0
		}
	}
}

// The daemon runs as a user of its own, with CAP_NET_ADMIN and no right to signal
// or trace anybody. That must suffice to see another user's process die.
func TestAsAnotherUser(t *testing.T) {
	need(t, "root, to become another user", os.Geteuid() == 0)
	for name, caps := range map[string][]uintptr{"CAP_NET_ADMIN": {unix.CAP_NET_ADMIN}, "no capability": nil} {
		t.Run(name, func(t *testing.T) {
			dir := shortTempDir(t)
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			bin := filepath.Join(dir, "health.test") // go test's own folder is root's
			copyFile(t, exe, bin)
			p := startProcess(t, sleepPath(t))
			pidfile := filepath.Join(dir, "pid")
			if err := os.WriteFile(pidfile, fmt.Appendf(nil, "%d\n", p.Process.Pid), 0o600); err != nil {
				t.Fatal(err)
			}
			for path, mode := range map[string]os.FileMode{bin: 0o755, pidfile: 0o644} {
				if err := os.Chmod(path, mode); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), bin)
			cmd.Env = append(os.Environ(), "HEALTH_TEST_CHILD="+pidfile)
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
				AmbientCaps: caps, Pdeathsig: syscall.SIGKILL,
			}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			next := func(want string) {
				t.Helper()
				for lines.Scan() {
					t.Log(lines.Text())
					if strings.HasPrefix(lines.Text(), want) {
						return
					}
				}
				t.Errorf("the child ended without a line %q", want)
			}
			next("state true")
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if caps != nil {
				next(fmt.Sprintf("state false p: sleep pid %d exited (killed by signal 9)", p.Process.Pid))
			} else {
				next(fmt.Sprintf("state false p: sleep pid %d exited", p.Process.Pid))
			}
			_ = in.Close()
			for lines.Scan() {
				t.Log(lines.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
