package demo

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"leasehold/internal/lab"
)

// The whole story, as a pipe gets it.
func TestDemo(t *testing.T) {
	if err := lab.CheckMariaDB(); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	s := newStage(t)
	begin := time.Now()
	r := s.start(t)
	r.ends(t, 0)
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("it took %v, want under two minutes", took)
	}
	out := r.out.String()
	t.Log(out)
	narrow(t, out)
	for _, what := range append(steps(fencedTTL), starting(), &step{ID: "rest"}) {
		found := false
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			found = found || len(f) > 3 && f[0] == what.ID && f[len(f)-1] == "ok" && f[len(f)-2] == "0"
		}
		if !found {
			t.Errorf("the table has no row of %s that is ok and in which no two hosts answered", what.ID)
		}
	}
	if !strings.Contains(out, "Nothing is left behind.") {
		t.Error("it does not say that nothing is left behind")
	}
	if left := s.left(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A demo that is interrupted, wherever it is, removes everything.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for at, sig := range map[string]syscall.Signal{
		"leasehold demo":  syscall.SIGINT,  // before there is anything
		"first start":     syscall.SIGTERM, // in the first step
		"cable of db20-0": syscall.SIGHUP,  // in a fault
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			r := s.start(t, "--no-mysql")
			r.says(t, at)
			if err := r.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			r.ends(t, 130)
			if !strings.Contains(r.out.String(), "interrupted; everything is removed") {
				t.Error("it does not say that it was interrupted, and that everything is removed")
			}
			if left := s.left(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A reader that goes away, as head does, ends the demo, and everything is removed.
func TestReaderGoesAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(s.bin, "demo", "--name", s.name, "--no-mysql")
	cmd.Stdout, cmd.Stderr = writer, &output{}
	if err := errors.Join(cmd.Start(), writer.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(reader, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v; want exit code 1\n%s", err, cmd.Stderr)
	}
	if left := s.left(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// On a terminal, the terminal is given back as it was.
func TestInterruptedOnATerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	terminal, shell := openPTY(t)
	r := &running{exec.Command(s.bin, "demo", "--name", s.name, "--no-mysql"), &output{}}
	r.Stdin, r.Stdout, r.Stderr = shell, shell, shell
	r.Env = append(os.Environ(), "TERM=xterm", "NO_COLOR=1")
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	if err := shell.Close(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(r.out, terminal) }() // EIO at the end
	r.says(t, "cable of db20-0")
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.ends(t, 130)
	<-read
	out := r.out.String()
	if sgr.MatchString(out) {
		t.Error("colour in spite of NO_COLOR")
	}
	if n := strings.Count(out, escHome); n < 20 {
		t.Errorf("drawn %d times, want 20 or more", n)
	}
	_, after, _ := strings.Cut(out, escShowCursor+escBack)
	if !strings.Contains(after, "interrupted; everything is removed") {
		t.Errorf("after the terminal was given back it says %q", after)
	}
	if left := s.left(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What is missing is said, with the cure, before anything is made.
func TestMissing(t *testing.T) {
	s := newStage(t)
	// A mount of its own hides the server.
	hide := "for p in /usr/sbin/mariadbd /usr/bin/mariadbd; do [ ! -e $p ] || mount --bind /dev/null $p; done; exec \"$@\""
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no mariadbd": {[]string{"unshare", "--mount", "sh", "-c", hide, "sh", s.bin, "demo", "--name", s.name}, "apt-get install --no-install-recommends mariadb-server-core"},
		"no root":     {[]string{"setpriv", "--reuid=65534", "--clear-groups", s.bin, "demo", "--name", s.name}, "run it with sudo"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chmod(filepath.Dir(s.bin), 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), c.args[0], c.args[1:]...).CombinedOutput()
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), c.want) {
				t.Errorf("%v: %s; want exit code 1, and %q", err, out, c.want)
			}
			if _, err := os.Stat(s.root()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("something was made: %v", err)
			}
		})
	}
}
