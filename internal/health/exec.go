package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxTail  = 200                    // bytes of the last line that become the detail
	killWait = 500 * time.Millisecond // for the kernel to end a killed process
)

// execProbe runs a program.
type execProbe struct {
	command []string
	stuck   <-chan struct{} // open while a killed program has not ended
}

func (p *execProbe) probe(ctx context.Context) (string, error) {
	if p.stuck != nil {
		select {
		case <-p.stuck:
			p.stuck = nil
		default:
			return "", errors.New("the last run has not ended although it was killed: it hangs in the kernel, on a dead disk or NFS server")
		}
	}
	path, err := trusted(p.command[0])
	if err != nil {
		return "", err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return "", fmt.Errorf("open pipe: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, p.command[1:]...) // ended below, with its group
	cmd.Args[0] = p.command[0]
	cmd.Stdout, cmd.Stderr = in, in
	cmd.Dir = "/"
	// Not the daemon's environment: it names sockets and secrets of systemd's.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = in.Close() // the child has its own
	if err != nil {
		_ = out.Close()
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	read := make(chan string, 1)
	go func() { read <- lastLine(out) }() // ends when out is closed or at its deadline
	ended := make(chan struct{})
	var waitErr error
	go func() { // ends with the child
		defer close(ended)
		// The whole group is killed while the child is still a zombie, which
		// keeps its number, and so the group's, from being given away.
		waitErr = waitZombie(cmd.Process.Pid)
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // none may be left to kill
		if err := cmd.Wait(); waitErr == nil {
			waitErr = err
		}
	}()
	late := false
	select {
	case <-ended:
	case <-ctx.Done():
		late = true
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // it may just have ended
		timer := time.NewTimer(killWait)
		defer timer.Stop()
		select {
		case <-ended:
		case <-timer.C:
			p.stuck = ended
		}
	}
	// Whoever left the group may hold the pipe open: do not wait for it.
	_ = out.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	line := <-read
	_ = out.Close()
	switch {
	case late && p.stuck != nil:
		return "", withOutput("not done in time, and killing it has not ended it", line)
	case late:
		return "", withOutput("not done in time, killed", line)
	case waitErr != nil:
		return "", withOutput(waitErr.Error(), line)
	}
	return withOutput("exit status 0", line).Error(), nil
}

func (p *execProbe) close() {}

func withOutput(what, line string) error {
	if line == "" {
		return errors.New(what)
	}
	return fmt.Errorf("%s: %s", what, line)
}

// waitZombie waits until the child pid has ended, and leaves it to be reaped.
func waitZombie(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// lastLine reads to the end and returns the first maxTail bytes of the last line
// that is not blank. It keeps no more than that, however much it reads.
func lastLine(f *os.File) string {
	var last, line []byte
	blank := true
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		for rest := buf[:n]; len(rest) > 0; {
			part, after, eol := bytes.Cut(rest, []byte("\n"))
			blank = blank && len(bytes.TrimSpace(part)) == 0
			line = append(line, part[:min(len(part), maxTail-len(line))]...)
			if eol {
				if !blank {
					last = append(last[:0], line...)
				}
				line, blank = line[:0], true
			}
			rest = after
		}
		if err != nil { // the end, the deadline, or closed: there is no more
			break
		}
	}
	if !blank {
		last = line
	}
	return oneLine(string(last))
}

// trusted resolves path and returns where it leads, unless somebody other than
// root and the daemon's user could put another program there.
func trusted(path string) (string, error) {
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	for _, walk := range []string{path, file} { // also where the links lie
		for at := walk; ; at = filepath.Dir(at) {
			if err := trustedInode(at); err != nil {
				return "", err
			}
			if at == "/" {
				break
			}
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return "", fmt.Errorf("%s is not an executable file", file)
	}
	return file, nil
}

// trustedInode checks the owner and mode of one file or directory. A directory
// with the sticky bit may be writable: what lies in it is safe with its owner.
func trustedInode(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: owner unknown", path)
	}
	if int(sys.Uid) != 0 && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, who could have the daemon run anything: chown root it", path, sys.Uid)
	}
	mode := info.Mode()
	others := fs.FileMode(0o022)
	if sys.Gid == 0 {
		others = 0o002 // the group is root's
	}
	sticky := mode.IsDir() && mode&fs.ModeSticky != 0
	if mode&fs.ModeSymlink == 0 && mode.Perm()&others != 0 && !sticky {
		return fmt.Errorf("%s is writable for others (mode %04o), who could have the daemon run anything: chmod go-w it", path, mode.Perm())
	}
	return nil
}
