package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// KeeperFlag is the flag by which Keep starts the process that the demo stays in.
const KeeperFlag = "keeper"

// Keep shows the demo in a process of its own, which is in no session with the
// caller's terminal, and returns when the story is over and everything stays. It fails with ErrFailed, and
// everything stays, when a step did not hold what it must; with ErrInterrupted when
// ctx ends before the end of the story.
func Keep(ctx context.Context, o Options) error {
	told, tells, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the keeper: %w", err)
	}
	defer told.Close()
	alive, mine, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("start the keeper: %w", err), tells.Close())
	}
	defer mine.Close()                               // ends the keeper, unless it was dismissed
	cmd := exec.Command(o.Binary, o.keeperArgs()...) //nolint:noctx // it may outlive ctx, and is asked to end below
	cmd.Stdout, cmd.Stderr = o.Out, o.Err
	cmd.ExtraFiles = []*os.File{tells, alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err = errors.Join(err, tells.Close(), alive.Close()); err != nil {
		return fmt.Errorf("start the keeper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) // it has ended: told says so
	defer stop()
	var verdict [1]byte
	_, err = io.ReadFull(told, verdict[:])
	switch {
	case err == nil && verdict[0] == 0:
		return nil
	case err == nil:
		return ErrFailed
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return ExitError(exit.ExitCode())
	}
	return fmt.Errorf("the keeper ended: %w", err)
}

// keeperArgs is the command line of the keeper.
func (o Options) keeperArgs() []string {
	return []string{
		"demo", "--" + KeeperFlag, "--name", o.Name,
		fmt.Sprintf("--no-mysql=%t", o.NoMySQL), fmt.Sprintf("--no-story=%t", o.NoStory),
	}
}

// ExitError is the exit code of the keeper, which has said why.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// parent is who started this process to keep a demo.
type parent struct {
	told  *os.File // gets the verdict when everything stays
	alive *os.File // ends with the parent
}

// RunKeeper is the process that Keep starts. It ends with ctx, after all has been
// removed.
func RunKeeper(ctx context.Context, o Options) error {
	p := &parent{told: inherited(3, "told"), alive: inherited(4, "alive")}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go p.watch(cancel) // ends when the parent does
	k := keeper{place: place{o.Name}, o: o, parent: p}
	return run(ctx, o, k.keep)
}

// inherited returns a file that exec.Cmd.ExtraFiles has handed on.
func inherited(fd int, name string) *os.File {
	unix.CloseOnExec(fd)           // it is not for the nodes
	_ = unix.SetNonblock(fd, true) // so that Close ends a Read; EBADF shows at the first use
	return os.NewFile(uintptr(fd), name)
}

// errParentGone ends a demo that nobody watches, before it is kept.
var errParentGone = errors.New("the demo's first process was killed")

// watch waits for the end of the parent. Once it was told the verdict it may go.
func (p *parent) watch(gone func(error)) {
	if _, err := p.alive.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		gone(errParentGone)
	}
}

// dismiss lets the parent go, with the verdict.
func (p *parent) dismiss(shown error) error {
	verdict := byte(0)
	if shown != nil {
		verdict = 1
	}
	// First what its end would end.
	err := p.alive.Close()
	_, werr := p.told.Write([]byte{verdict})
	return errors.Join(err, werr, p.told.Close())
}
