package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	// restartAfter is the pause before a member that has ended is started again. A
	// restart itself takes 0.1 s; the cluster has lost a vote meanwhile.
	restartAfter = time.Second
	// stopLimit is how long a member may take to end, as in its unit. To hand
	// leadership over and to end its clients' calls it gives itself 5 s and two election
	// timeouts each (etcd's ServerConfig.ReqTimeout); 1 s is usual.
	stopLimit = 15 * time.Second
	// pollEnd is how often it is looked whether this process shall end, while a
	// member's is waited for.
	pollEnd = 100 * time.Millisecond
)

// Supervisor keeps the process of a member running, as a service manager would.
// One that is there already, because the supervisor before it was killed or has
// been replaced in place, is kept.
type Supervisor struct {
	Path   string   // of the program
	Args   []string // that have it run the member, without its name
	Dir    string   // the member's data, by which its process is found
	Output io.Writer
	Log    hclog.Logger
}

// Run keeps the member running until ctx ends, then stops it and waits for its
// end. It returns nil unless the member could not be stopped.
func (s *Supervisor) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.end() // one that was not found yet: of the process before, which was replaced in place
		case <-pause.C:
		}
		p, err := s.find()
		if err == nil && p == nil {
			p, err = s.start()
		}
		if err != nil {
			s.Log.Error("member not started, tried again", "err", err)
			pause.Reset(restartAfter)
			continue
		}
		ended, err := p.wait(ctx, 0)
		if !ended {
			return errors.Join(err, s.stop(p))
		}
		p.close()
		s.Log.Warn("member has ended, started again", "pid", p.pid, "status", p.status, "after", restartAfter)
		pause.Reset(restartAfter)
	}
}

// end stops a member that runs although nobody here has started or found it.
func (s *Supervisor) end() error {
	p, err := s.find()
	if p == nil || err != nil {
		return err
	}
	return s.stop(p)
}

// running is the process of a member; fd is what it is known by, also when its
// number has become another's.
type running struct {
	pid    int
	fd     int
	status string // how it ended, when it was our child
}

// find returns the process that has the data directory; nil when there is none.
func (s *Supervisor) find() (*running, error) {
	state, ok := ReadState(s.Dir)
	if !ok || state.PID == 0 {
		return nil, nil
	}
	p, err := open(state.PID)
	if err != nil {
		return nil, err
	}
	if again, ok := ReadState(s.Dir); !ok || again.PID != state.PID {
		p.close()
		return nil, fmt.Errorf("process %d has just ended", state.PID)
	}
	s.Log.Info("member runs already, kept", "pid", state.PID, "version", state.Version)
	return p, nil
}

func open(pid int) (*running, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &running{pid: pid, fd: fd}, nil
}

// start starts a process in a session of its own: what ends this one, an interrupt
// at a terminal included, does not reach it. It outlives a kill of this process.
func (s *Supervisor) start() (*running, error) {
	cmd := exec.Command(s.Path, s.Args...) //nolint:gosec,noctx // the own binary; it is to outlive this process
	cmd.Stdout, cmd.Stderr = s.Output, s.Output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	p, err := open(pid)
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	s.Log.Info("member started", "pid", pid)
	return p, cmd.Process.Release()
}

// wait waits for the end of the process, until ctx ends or, when it is not zero,
// for as long as limit. A child is reaped.
func (p *running) wait(ctx context.Context, limit time.Duration) (ended bool, err error) {
	var end time.Time
	if limit > 0 {
		end = time.Now().Add(limit)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(pollEnd.Milliseconds())) //nolint:gosec // a descriptor
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("wait for process %d: %w", p.pid, err)
		case n > 0:
			p.reap()
			return true, nil
		case ctx.Err() != nil, limit > 0 && time.Now().After(end):
			return false, nil //nolint:nilerr // it has not ended, and that is no error
		}
	}
}

// reap takes the exit status of a child. One that is not ours has another parent.
func (p *running) reap() {
	var ws unix.WaitStatus
	pid, err := unix.Wait4(p.pid, &ws, 0, nil)
	switch {
	case err != nil || pid != p.pid:
		p.status = "unknown, it was not this process's child"
	case ws.Signaled():
		p.status = "killed: " + ws.Signal().String()
	default:
		p.status = fmt.Sprintf("exit code %d", ws.ExitStatus())
	}
}

func (p *running) signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(p.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %v to process %d: %w", sig, p.pid, err)
	}
	return nil
}

func (p *running) close() { _ = unix.Close(p.fd) } // it was only read from

// stop asks the process to end, and makes it end when it does not.
func (s *Supervisor) stop(p *running) error {
	defer p.close()
	begin := time.Now()
	if err := p.signal(unix.SIGTERM); err != nil {
		return err
	}
	ended, err := p.wait(context.Background(), stopLimit)
	if ended || err != nil {
		s.Log.Info("member stopped", "pid", p.pid, "took", time.Since(begin).Round(time.Millisecond))
		return err
	}
	s.Log.Error("member does not end, killed: its data stand that", "pid", p.pid, "after", stopLimit)
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	if ended, err = p.wait(context.Background(), stopLimit); !ended {
		err = errors.Join(err, fmt.Errorf("process %d does not end", p.pid))
	}
	return err
}

// Child returns the process of the member when it is a child of this process, which
// has been replaced in place; 0 when there is none. It is to be left alone by what
// cleans up behind the process before.
func Child(dir string) int {
	state, ok := ReadState(dir)
	if !ok || state.PID == 0 {
		return 0
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(state.PID, &ws, unix.WNOHANG, nil); err != nil {
		return 0
	}
	return state.PID
}
