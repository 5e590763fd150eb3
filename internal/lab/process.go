package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Cmd is an exec.Cmd that starts inside a host's network namespace, with no
// process in between: its pid is the command's own. It is killed when this
// process ends, however that ends.
type Cmd struct {
	*exec.Cmd
	ns *namespace
}

func command(ctx context.Context, ns *namespace, name string, args ...string) *Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true, // so that its children can be ended with it
		Pdeathsig: syscall.SIGKILL,
	}
	cmd.WaitDelay = time.Second // a child of a killed command may hold the pipes
	return &Cmd{Cmd: cmd, ns: ns}
}

// Command prepares a command on a host. The command is killed when ctx ends.
func (l *Lab) Command(ctx context.Context, host, name string, args ...string) (*Cmd, error) {
	s, err := l.net.seat(host)
	if err != nil {
		return nil, err
	}
	return command(ctx, s.ns, name, args...), nil
}

// Start starts the command in the namespace and does not wait for it.
func (c *Cmd) Start() error { return c.ns.onThread(c.Cmd.Start) }

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns what it wrote on standard output.
func (c *Cmd) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the command and returns all that it wrote.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}

// Exec runs a command on a host and returns all that it wrote. On error that
// is in the error as well.
func (l *Lab) Exec(ctx context.Context, host, name string, args ...string) (string, error) {
	cmd, err := l.Command(ctx, host, name, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s on host %s: %w: %s", strings.Join(cmd.Args, " "), host, err, bytes.TrimSpace(out))
	}
	return string(out), err
}

// Process is a process that the lab started and will end.
type Process struct {
	Name string // what it is, for messages: "etcd on a"
	Host string
	Log  string // the file with all that it wrote; a restart appends
	cmd  *Cmd
	done chan struct{} // closed when it was waited for
	err  error         // valid once done is closed
}

// Start starts a long-running command on a host, in a process group of its own,
// with its output in a file of the host's directory called tag.log. It runs
// until it is killed or the lab closes; env is added to this process's own.
func (l *Lab) Start(host, tag string, env []string, name string, args ...string) (*Process, error) {
	s, err := l.net.seat(host)
	if err != nil {
		return nil, err
	}
	return l.start(s.ns, host, tag, env, name, args...)
}

func (l *Lab) start(ns *namespace, host, tag string, env []string, name string, args ...string) (*Process, error) {
	dir := filepath.Join(l.dir, host)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the directory of host %s: %w", host, err)
	}
	log := filepath.Join(dir, tag+".log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s on host %s: %w", tag, host, err)
	}
	defer out.Close()
	cmd := command(context.Background(), ns, name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = dir
	p := &Process{Name: tag + " on " + host, Host: host, Log: log, cmd: cmd, done: make(chan struct{})}

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("start %s: the lab is closed", p.Name)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	l.procs = append(l.procs, p)
	go func() { // ends with the process, which Close kills
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid returns the process id, which stays the process's own until Done.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process, not to its children. It fails with
// os.ErrProcessDone when the process has ended.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to %s: %w", sig, p.Name, err)
	}
	return nil
}

// SignalGroup sends a signal to the process and the children that stayed in its
// process group: keepalived's VRRP child does what its parent is killed for.
func (p *Process) SignalGroup(sig syscall.Signal) error {
	if !p.Running() {
		return fmt.Errorf("send %v to %s: %w", sig, p.Name, os.ErrProcessDone)
	}
	if err := syscall.Kill(-p.Pid(), sig); err != nil {
		return fmt.Errorf("send %v to the group of %s: %w", sig, p.Name, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Freeze stops the process with SIGSTOP and returns when the kernel shows it
// stopped, at most a second later.
func (p *Process) Freeze(ctx context.Context) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return Wait(ctx, time.Second, p.Name+" to stop", func() (bool, error) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		// The state is the field after the name, see proc_pid_stat(5).
		_, rest, _ := strings.Cut(string(stat), ") ")
		return strings.HasPrefix(rest, "T"), err
	})
}

// Thaw continues a frozen process.
func (p *Process) Thaw() error { return p.Signal(syscall.SIGCONT) }

// Term asks the process to end with SIGTERM and does not wait.
func (p *Process) Term() error { return p.Signal(syscall.SIGTERM) }

// Stop sends SIGTERM and waits until the process is gone. It returns ctx's
// error when ctx ends first, and nil whatever the exit status was.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Term(); err != nil {
		return err
	}
	if err := p.Wait(ctx); ctx.Err() != nil {
		return err
	}
	return nil
}

// Wait waits for the end of the process and returns its exit status as
// exec.Cmd.Wait does, or the error of ctx.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w", p.Name, context.Cause(ctx))
	}
}

// Tail returns the last n lines of the log.
func (p *Process) Tail(n int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// waitReady polls ready as Wait does, and gives up at once when the process
// ends, with the tail of its log.
func (p *Process) waitReady(ctx context.Context, limit time.Duration, ready func() (bool, error)) error {
	err := Wait(ctx, limit, p.Name+" to be ready", func() (bool, error) {
		if !p.Running() {
			return true, fmt.Errorf("%s ended: %w", p.Name, orEnded(p.err))
		}
		return ready()
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, p.Tail(15))
	}
	return err
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// end kills the process and its group. The group is signalled before the
// process is waited for: until then its number cannot be somebody else's.
func (p *Process) end() {
	if p.Running() {
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // ESRCH: it just ended
	}
	<-p.done
}

// Logs returns the last n lines of the log of every process that the lab
// started, for a test that failed.
func (l *Lab) Logs(n int) string {
	l.mu.Lock()
	procs := slices.Clone(l.procs)
	l.mu.Unlock()
	var b strings.Builder
	seen := map[string]bool{}
	for _, p := range procs {
		if !seen[p.Log] {
			seen[p.Log] = true
			fmt.Fprintf(&b, "--- %s (%s)\n%s\n", p.Name, p.Log, p.Tail(n))
		}
	}
	return b.String()
}
