package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// notifyTimeout bounds a message to systemd. It is sent by the loops, which a
// hung systemd must not hold up: go-systemd's own SdNotify would wait forever.
const notifyTimeout = 50 * time.Millisecond

// notifier tells systemd how the daemon fares, see sd_notify(3): READY=1 when
// every service has decided for the first time, STATUS= at every change of a
// role, and WATCHDOG=1 when every service has been alive since the last one. It
// has no goroutine: the loop that completes the round sends, so that one loop
// that hangs ends the pings.
type notifier struct {
	send  func(state string) error
	log   hclog.Logger
	every time.Duration // least time between two pings; 0: no watchdog
	now   func() time.Time

	mu      sync.Mutex
	names   []string
	decided map[string]bool
	alive   map[string]bool
	roles   map[string]string
	pinged  time.Time
	ready   bool
	stopped bool
	note    string // goes before the roles in the status; empty: nothing
}

// newNotifier reads what systemd has set. Outside a unit it sends nothing.
func newNotifier(names []string, getenv func(string) string, log hclog.Logger) *notifier {
	n := &notifier{
		send: func(string) error { return nil }, log: log, now: time.Now, names: names,
		decided: map[string]bool{}, alive: map[string]bool{}, roles: map[string]string{},
	}
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return n
	}
	n.send = func(state string) error { return sendNotify(path, state) }
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "err", err)
	}
	n.every = limit / 4 // half of it would do, see sd_watchdog_enabled(3)
	return n
}

// sendNotify sends one datagram to systemd; @ stands for an abstract socket.
func sendNotify(path, state string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // sent or not by then
	if err := c.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = c.Write([]byte(state))
	return err
}

// tell sends, and logs what went wrong: systemd's opinion must not cost the VIP.
func (n *notifier) tell(state string) {
	if err := n.send(state); err != nil {
		n.log.Warn("systemd not notified", "state", state, "err", err)
	}
}

// Decided is called when a service has made its first decision.
func (n *notifier) Decided(service string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.decided[service] = true
	if !n.ready && len(n.decided) == len(n.names) {
		n.ready = true
		n.tell(daemon.SdNotifyReady + "\nSTATUS=" + n.status())
	}
}

// Role is called when the role of a service has changed.
func (n *notifier) Role(service, status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.roles[service] = status
	n.tell("STATUS=" + n.status())
}

// status is the one line that systemctl status shows.
func (n *notifier) status() string {
	var parts []string
	if n.note != "" {
		parts = append(parts, n.note)
	}
	for _, name := range slices.Sorted(slices.Values(n.names)) {
		if role := n.roles[name]; role != "" {
			parts = append(parts, name+": "+strings.ReplaceAll(role, "\n", " "))
		}
	}
	return strings.Join(parts, "; ")
}

// Alive is called by a service's loop at each turn.
func (n *notifier) Alive(service string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.every == 0 || !slices.Contains(n.names, service) {
		return
	}
	n.alive[service] = true
	now := n.now()
	if len(n.alive) < len(n.names) || now.Sub(n.pinged) < n.every {
		return
	}
	n.pinged = now
	clear(n.alive)
	n.tell(daemon.SdNotifyWatchdog)
}

// Stopping says that the daemon is on its way out, once.
func (n *notifier) Stopping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.stopped {
		n.stopped = true
		n.tell(daemon.SdNotifyStopping)
	}
}

// farewell is how long the process may take once its loops have let go, with an
// etcd that does not answer: as long as the unit's TimeoutStopSec=.
const farewell = 10 * time.Second

// LetGo says that the loops have ended, and nobody feeds the watchdog any more. What
// is left is to give the leases back, which an etcd that is away holds up.
func (n *notifier) LetGo() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.every != 0 {
		n.tell(fmt.Sprintf("WATCHDOG_USEC=%d", farewell.Microseconds()))
	}
}

// Ping feeds the watchdog out of turn.
func (n *notifier) Ping() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.every != 0 {
		n.pinged = n.now()
		n.tell(daemon.SdNotifyWatchdog)
	}
}

// Reloading says that the daemon starts itself anew; READY follows, from the new
// process or from Refused.
func (n *notifier) Reloading() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note = ""
	n.tell(daemon.SdNotifyReloading + fmt.Sprintf("\nMONOTONIC_USEC=%d", monotonic()) + "\nSTATUS=" + n.status())
}

// Refused says that it did not, and why. The status goes on saying so until the
// next try.
func (n *notifier) Refused(why error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.note = "reload refused: " + strings.Join(strings.Fields(why.Error()), " ")
	state := "STATUS=" + n.status()
	if n.ready {
		state = daemon.SdNotifyReady + "\n" + state
	}
	n.tell(state)
}

// Forget takes a service off that is let go for good.
func (n *notifier) Forget(service string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names = slices.DeleteFunc(n.names, func(s string) bool { return s == service })
	delete(n.roles, service)
	delete(n.alive, service)
	delete(n.decided, service)
}

// monotonic is the clock that sd_notify(3) wants with RELOADING=1, in µs.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // systemd then goes by when the message came
	}
	return ts.Nano() / 1000
}
