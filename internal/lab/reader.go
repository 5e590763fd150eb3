package lab

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// reader reads sockets on one goroutine, so that what arrives on several of
// them is read in one order. drain reads all of them until none has anything
// left; it is called when one has, with the time of that, and a last time when
// the reader stops.
type reader struct {
	fds  []int // owned: closed with the reader
	wake int   // an eventfd: stop
	done chan struct{}
	err  error // valid once done is closed
}

func startReader(fds []int, drain func(now time.Time) error) (*reader, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	r := &reader{fds: fds, wake: wake, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		runtime.LockOSThread() // until the goroutine ends, and the thread with it
		prefer()
		r.err = r.loop(drain)
	}()
	return r, nil
}

// prefer lets the calling thread run before all others that want to: the sooner
// a message is read, the closer its time is to the event. Where that is not
// allowed the times are as good as the machine is idle. See sched(7); the flag
// keeps threads that the runtime may start from this one ordinary.
func prefer() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0) // EPERM: see above
}

func (r *reader) loop(drain func(now time.Time) error) error {
	polled := []unix.PollFd{{Fd: int32(r.wake), Events: unix.POLLIN}}
	for _, fd := range r.fds {
		polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	for {
		_, err := unix.Poll(polled, -1)
		now := time.Now()
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		}
		if err := drain(now); err != nil {
			return err
		}
		if polled[0].Revents != 0 {
			return nil
		}
	}
}

// stop reads what is there, ends the goroutine and closes the sockets. It
// returns the error that ended the reading early, if one did.
func (r *reader) stop() error {
	one := [8]byte{1}
	_, err := unix.Write(r.wake, one[:])
	if err != nil {
		return fmt.Errorf("wake the reader: %w", err)
	}
	<-r.done
	errs := []error{r.err, unix.Close(r.wake)}
	for _, fd := range r.fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// receive reads one message, without waiting; ok is false when there is none.
func receive(fd int, buf, oob []byte) (n, oobn int, from unix.Sockaddr, ok bool, err error) {
	for {
		n, oobn, _, from, err = unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, 0, nil, false, nil
		case err != nil:
			return 0, 0, nil, false, fmt.Errorf("receive: %w", err)
		default:
			return n, oobn, from, true, nil
		}
	}
}

// roomy gives a socket a receive buffer that a stalled reader does not overrun.
func roomy(fd int) error {
	const size = 8 << 20
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size); err == nil {
		return nil
	}
	// In a user namespace the limit of net.core.rmem_max holds.
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}
