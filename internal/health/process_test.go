package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// haveConnector reports whether the process connector works here.
func haveConnector() error {
	c, err := openConnector()
	if err != nil {
		return err
	}
	c.close()
	return nil
}

// bothWays runs a test with the process connector and with pidfds alone.
func bothWays(t *testing.T, test func(t *testing.T, connector bool)) {
	t.Run("connector", func(t *testing.T) {
		err := haveConnector()
		need(t, fmt.Sprintf("the process connector: root in the initial namespaces (%v)", err), err == nil)
		test(t, true)
	})
	t.Run("pidfd", func(t *testing.T) { test(t, false) })
}

func TestProcessKilledStoppedAndRestarted(t *testing.T) {
	bothWays(t, func(t *testing.T, connector bool) {
		s := newServer(t, "--skip-networking")
		r := runChecks(t, connector,
			Config{Name: "socket", Process: &Process{Socket: s.socket}},
			Config{Name: "pidfile", Process: &Process{Pidfile: s.pid}},
		)
		st := r.healthy()
		pid := fmt.Sprintf("mariadbd pid %d", s.cmd.Process.Pid)
		for _, res := range st.Results {
			if res.Detail != pid {
				t.Errorf("%s: detail %q, want %q", res.Name, res.Detail, pid)
			}
		}
		s.kill()
		want := pid + " exited"
		if connector {
			want += " (killed by signal 9)"
		}
		down := func(s State) bool {
			return !s.Results[0].OK && !s.Results[1].OK &&
				strings.HasPrefix(s.Results[0].Detail, want) && strings.HasPrefix(s.Results[1].Detail, want)
		}
		r.until("both say "+want, down)

		s.start() // finds the stale pidfile of the killed one, and writes it anew
		r.healthy()

		s.signal(syscall.SIGSTOP)
		r.Restart() // have it look: a stopped process is not a dead one
		if st := r.until("known", func(s State) bool { return s.Known }); !st.Healthy {
			t.Errorf("SIGSTOP: %s", st.Why)
		}
		s.signal(syscall.SIGCONT)

		s.signal(syscall.SIGTERM) // a shutdown in good order
		if err := s.cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		r.sick("exited")
	})
}

func TestProcessByName(t *testing.T) {
	bothWays(t, func(t *testing.T, connector bool) {
		name := fmt.Sprintf("lh%d", os.Getpid())
		path := filepath.Join(t.TempDir(), name)
		copyFile(t, sleepPath(t), path)
		r := runChecks(t, connector, Config{Name: "p", Process: &Process{Name: name}})
		r.sick("no process is called " + name)
		first := startProcess(t, path)
		r.detail(fmt.Sprintf("%s pid %d", name, first.Process.Pid))
		r.healthy()
		second := startProcess(t, path)
		endProcess(first) // too short a gap for State to be sure to show it
		r.detail(fmt.Sprintf("%s pid %d", name, second.Process.Pid))
		r.healthy()
	})
}

// A process that ends but is not reaped is dead.
func TestProcessZombie(t *testing.T) {
	bothWays(t, func(t *testing.T, connector bool) {
		p := startProcess(t, sleepPath(t))
		r := runChecks(t, connector, Config{Name: "p", Process: &Process{Pidfile: writePidfile(t, p.Process.Pid)}})
		r.healthy()
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		r.sick("sleep pid", "exited")
		if st, err := readStat(p.Process.Pid); err != nil || st.comm != "sleep" {
			t.Fatalf("it was reaped: %v", err)
		}
		r.Restart() // looks anew, with the zombie there
		r.sick("sleep pid", "exited")
	})
	t.Run("at the start", func(t *testing.T) {
		p := startProcess(t, sleepPath(t))
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := waitZombie(p.Process.Pid); err != nil {
			t.Fatal(err)
		}
		r := runChecks(t, false, Config{Name: "p", Process: &Process{Pidfile: writePidfile(t, p.Process.Pid)}})
		r.sick("has exited")
	})
}

func TestPidfile(t *testing.T) {
	pidfile := func(t *testing.T, content string) string {
		path := filepath.Join(t.TempDir(), "pid")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		path func(t *testing.T) string
		want string
	}{
		"missing":   {func(t *testing.T) string { return filepath.Join(t.TempDir(), "pid") }, "no such file"},
		"empty":     {func(t *testing.T) string { return pidfile(t, "") }, "not a process number"},
		"garbage":   {func(t *testing.T) string { return pidfile(t, "secret\x1b[2J") }, "not a process number"},
		"zero":      {func(t *testing.T) string { return pidfile(t, "0\n") }, "not a process number"},
		"negative":  {func(t *testing.T) string { return pidfile(t, "-1\n") }, "not a process number"},
		"huge":      {func(t *testing.T) string { return pidfile(t, "99999999999999999999\n") }, "not a process number"},
		"unused":    {func(t *testing.T) string { return pidfile(t, "2147483647\n") }, "does not exist"},
		"directory": {func(t *testing.T) string { return t.TempDir() }, "not a regular file"},
		"fifo": {func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "pid")
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}, "not a regular file"},
		"a thread": {func(t *testing.T) string { return pidfile(t, fmt.Sprintln(otherThread(t))) }, "is a thread"},
		// What reuse of a number looks like: a process that began after.
		"reused number": {func(t *testing.T) string {
			path := pidfile(t, fmt.Sprintln(startProcess(t, sleepPath(t)).Process.Pid))
			before := time.Now().Add(-time.Hour)
			if err := os.Chtimes(path, before, before); err != nil {
				t.Fatal(err)
			}
			return path
		}, "whose number is a used one"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := findByPidfile(tc.path(t))
			if err == nil {
				p.close()
				t.Fatal("found one")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q, want one with %q", err, tc.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b") || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q repeats the file", err)
			}
		})
	}
}

// A clock set forward makes every pidfile look older than its process.
func TestPidfileOfMysqldOutlivesAClockStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mysqld")
	copyFile(t, sleepPath(t), path)
	pidfile := writePidfile(t, startProcess(t, path).Process.Pid)
	before := time.Now().Add(-time.Hour)
	if err := os.Chtimes(pidfile, before, before); err != nil {
		t.Fatal(err)
	}
	p, err := findByPidfile(pidfile)
	if err != nil {
		t.Fatal(err)
	}
	p.close()
}

// otherThread returns the number of a thread that is not its process's leader.
func otherThread(t *testing.T) int {
	t.Helper()
	ids := make(chan int)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	for range 2 { // of two threads at least one is not the leader
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ids <- unix.Gettid()
			<-done
		}()
	}
	return max(<-ids, <-ids)
}

func TestSocketFound(t *testing.T) {
	dir := shortTempDir(t)
	path := filepath.Join(dir, "s")
	if _, err := findBySocket(t.Context(), path); err == nil || !errors.Is(err, unix.ENOENT) {
		t.Errorf("missing: %v", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if _, err := findBySocket(t.Context(), path); err == nil || !strings.Contains(err.Error(), "nobody listens") {
		t.Errorf("not listening: %v", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	p, err := findBySocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if p.pid != os.Getpid() || p.ended() || p.alive() != nil {
		t.Errorf("found %v, ended %t, alive %v; want this process", p, p.ended(), p.alive())
	}
}

// inject runs a process check on pidfile whose connector's events come from the test.
func inject(t *testing.T, pidfile string) (*running, chan<- procEvent) {
	t.Helper()
	c, err := newChecks([]Config{{Name: "p", Process: &Process{Pidfile: pidfile}}}, testLog(t), false)
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan procEvent)
	w := &watch{Checks: c, ck: c.checks[0], events: events}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return &running{c, t}, events
}

func TestConnectorEvents(t *testing.T) {
	p := startProcess(t, sleepPath(t))
	pid := p.Process.Pid
	r, events := inject(t, writePidfile(t, pid))
	r.healthy()
	events <- procEvent{lost: true} // ENOBUFS: it looks for itself
	events <- procEvent{what: procExit, pid: pid + 1, tgid: pid + 1, code: 9}
	events <- procEvent{what: procExit, pid: pid + 1, tgid: pid}
	if st := r.State(); !st.Healthy {
		t.Errorf("%+v", st)
	}
	events <- procEvent{what: procCoredump, pid: pid + 1, tgid: pid}
	st := r.sick(fmt.Sprintf("p: sleep pid %d exited (crashed, dumping core)", pid))
	if r.healthy().Results[0].Since.Sub(st.Results[0].Since) < doubt { // it was only a thread
		t.Error("found again while the connector says it is dying")
	}
	close(events) // the connector fails: the pidfd goes on alone
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.sick("exited")
}

// A number that is used again must not bring a dead process back.
func TestPidIsUsedAgain(t *testing.T) {
	const next = "/proc/sys/kernel/ns_last_pid"
	f, err := os.OpenFile(next, os.O_WRONLY, 0)
	need(t, "CAP_SYS_ADMIN, to choose process numbers", err == nil)
	_ = f.Close()
	for range 50 {
		p := startProcess(t, sleepPath(t))
		pid := p.Process.Pid
		held, err := openTarget(pid)
		if err != nil {
			t.Fatal(err)
		}
		endProcess(p)
		if err := os.WriteFile(next, fmt.Append(nil, pid-1), 0); err != nil {
			t.Fatal(err)
		}
		again := startProcess(t, sleepPath(t))
		same := again.Process.Pid == pid
		alive := held.alive()
		held.close()
		if !same {
			continue // another program of the host was faster
		}
		if alive == nil {
			t.Error("the new process passes for the old one")
		}
		return
	}
	need(t, "a quieter host: no number could be used again in 50 tries", false)
}

// In a network namespace of its own there is no connector, and it says so at once.
func TestConnectorElsewhere(t *testing.T) {
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread takes the namespace along
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			errs <- nil
			return
		}
		c, err := openConnector()
		if err == nil {
			c.close()
			err = errors.New("it works")
		}
		errs <- err
	}()
	err := <-errs
	need(t, "CAP_SYS_ADMIN, for a network namespace", err != nil)
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("openConnector: %v, want ECONNREFUSED", err)
	}
}

// The latency of the news that mysqld was killed, from before the kill to the
// changed State. -v prints it. The bound is generous: the host may be busy.
func TestKillLatency(t *testing.T) {
	bothWays(t, func(t *testing.T, connector bool) {
		n := 3
		if os.Getenv("HEALTH_MEASURE") != "" {
			n = 20
		}
		s := newServer(t, "--skip-networking")
		r := runChecks(t, connector, Config{Name: "process", Process: &Process{Socket: s.socket}})
		var took []time.Duration
		for range n {
			r.healthy()
			select {
			case <-r.Changed():
			default:
			}
			begin := time.Now()
			s.signal(syscall.SIGKILL)
			<-r.Changed()
			took = append(took, time.Since(begin))
			if st := r.State(); st.Healthy {
				t.Fatalf("changed to %+v", st)
			}
			_ = s.cmd.Wait()
			s.start()
		}
		slices.Sort(took)
		t.Logf("n=%d median %s, range %s to %s", n, took[n/2], took[0], took[n-1])
		if took[n/2] > 2*time.Second {
			t.Errorf("median %s", took[n/2])
		}
	})
}

func sleepPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("sleep")
	need(t, "sleep", err == nil)
	return path
}

// startProcess runs a copy of sleep.
func startProcess(t *testing.T, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path, "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endProcess(cmd) })
	return cmd
}

func endProcess(cmd *exec.Cmd) {
	_ = cmd.Process.Kill() // it may be gone
	_ = cmd.Wait()
}

func writePidfile(t *testing.T, pid int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", pid), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o700); err != nil {
		t.Fatal(err)
	}
}
