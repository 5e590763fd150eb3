package health

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config describes one check.
type Config struct {
	// Name is shown in status and logs: "process", "mysql", … It must be unique.
	Name string
	// Exactly one of these says what is checked, and how.
	Process *Process
	MySQL   *MySQL
	TCP     *TCP
	Exec    *Exec

	// Interval is the time from the start of one round to the next, at least
	// 10ms. Zero means the default: 500ms for mysql, else 1s. For a process it is
	// only how often the standing watch is verified, which also bounds how late
	// a death is noticed that the kernel reported late.
	Interval time.Duration
	// Timeout bounds one round; zero means 1s. Where it is longer than Interval,
	// a round that follows one that timed out has only Interval to finish in, so
	// that a service that hangs is noticed within Fall × Interval + Timeout.
	// Not for a process.
	Timeout time.Duration
	// Fall and Rise are how many failures in a row take the check down, and how
	// many successes bring it back, 1 to 100; zero means 2. Not for a process.
	Fall, Rise int
}

// Process checks that a process is there, and reports its end at once. Exactly
// one field is set.
//
// A stopped process (SIGSTOP) is there, a zombie is not, and neither is one that
// is being killed or dumping core. It is found again after a restart: by socket
// and pidfile within 100ms, by name within 500ms. Nothing needs the process's own
// user or more than CAP_NET_ADMIN; without that capability, and in a container,
// the death of a large process is noticed up to Interval late (see connector.go).
type Process struct {
	// Socket is the path of a unix socket that the process itself listens on.
	// Each time the process is looked for, a connection is opened and closed,
	// which mysqld counts in Aborted_connects.
	Socket string
	// Pidfile holds the process's number. A pidfile older than the process it
	// names is taken as stale unless that process is a mysqld or mariadbd.
	Pidfile string
	// Name is the exact name in /proc/PID/comm, at most 15 bytes; where several
	// processes have it, the oldest is meant.
	Name string
}

// MySQL checks that mysqld (MySQL, Percona, MariaDB) greets, logs the user in and
// answers a SELECT. One connection is kept and used again for as long as it works.
//
// Too many connections (1040 and its likes) is OK: mysqld lives and has clients.
// A login that mysqld refuses (access denied, host blocked) is an answer too, and
// is OK, with the refusal in Detail: a password changed on all hosts must not
// take the service away from every one of them. With Require set the refusal
// leaves the requirement unproven, and is a failure, unless this same mysqld met
// it before and has not stopped answering since.
type MySQL struct {
	// Socket (a path) or Address (host:port): exactly one.
	Socket, Address string
	// User and Password are those of an account that needs no privilege at all
	// (GRANT USAGE).
	User     string
	Password string `json:"-"`
	// Require is "", or "writable": read_only and super_read_only must be OFF.
	Require string
}

// writable is the value of MySQL.Require.
const writable = "writable"

// String hides the password.
func (m MySQL) String() string {
	return fmt.Sprintf("mysql %s%s user %s require %q", m.Socket, m.Address, m.User, m.Require)
}

// GoString hides the password, for %#v.
func (m MySQL) GoString() string { return m.String() }

// TCP checks that something accepts connections at Address. That proves little: a
// process that hangs, or is being killed, accepts for a while. For mysqld use
// MySQL: mysqld counts connections without a login, and blocks the host after
// max_connect_errors of them.
type TCP struct {
	Address string // host:port
}

// Exec runs a program; exit code 0 is OK, the last line it prints is the detail.
type Exec struct {
	// Command is the program's absolute path and its arguments; there is no
	// shell. The program and every directory above it must be writable only for
	// root and the user that the daemon runs as. It runs in its own process
	// group, with PATH and LANG as its whole environment, in /, with no input.
	// At the timeout, and when the program has ended, the whole group is killed.
	Command []string
}

// The bounds of Config's fields.
const (
	minInterval = 10 * time.Millisecond // below, checking is a load of its own
	maxTime     = time.Hour
	maxCount    = 100
	maxComm     = 15 // TASK_COMM_LEN without its end mark, linux/sched.h
)

// withDefaults returns c with every zero replaced by its default.
func (c Config) withDefaults() Config {
	if c.Interval == 0 {
		c.Interval = time.Second
		if c.MySQL != nil {
			c.Interval = 500 * time.Millisecond
		}
	}
	if c.Process != nil {
		return c
	}
	if c.Timeout == 0 {
		c.Timeout = time.Second
	}
	if c.Fall == 0 {
		c.Fall = 2
	}
	if c.Rise == 0 {
		c.Rise = 2
	}
	return c
}

// Validate says what is wrong with c, why it matters, and what to write instead.
func (c Config) Validate() error {
	if err := c.validate(); err != nil {
		if c.Name == "" {
			return err
		}
		return fmt.Errorf("check %q: %w", c.Name, err)
	}
	return nil
}

func (c Config) validate() error {
	if c.Name == "" {
		return fmt.Errorf("a check has no name: status could not show it; name it after what it checks, as in \"mysql\"")
	}
	kinds := 0
	for _, set := range []bool{c.Process != nil, c.MySQL != nil, c.TCP != nil, c.Exec != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return fmt.Errorf("it has %d of process, mysql, tcp and exec: a check looks at one thing; set exactly one", kinds)
	}
	if err := c.validateTimes(); err != nil {
		return err
	}
	switch {
	case c.Process != nil:
		return c.Process.validate()
	case c.MySQL != nil:
		return c.MySQL.validate()
	case c.TCP != nil:
		return validateAddress("tcp.address", c.TCP.Address)
	default:
		return c.Exec.validate()
	}
}

func (c Config) validateTimes() error {
	if c.Process != nil && (c.Timeout != 0 || c.Fall != 0 || c.Rise != 0) {
		return fmt.Errorf("timeout, fall and rise mean nothing for a process: its end is reported by the kernel and counts at once; remove them")
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{{"interval", c.Interval}, {"timeout", c.Timeout}} {
		switch {
		case f.value < 0:
			return fmt.Errorf("%s (%s) is negative; leave it out for the default", f.name, f.value)
		case f.value != 0 && f.value < minInterval:
			return fmt.Errorf("%s (%s) is under %s: checking would be a load of its own; set %s or more, usual are 500ms to 2s", f.name, f.value, minInterval, minInterval)
		case f.value > maxTime:
			return fmt.Errorf("%s (%s) is over %s: a failure would go unnoticed; usual are 500ms to 2s", f.name, f.value, maxTime)
		}
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"fall", c.Fall}, {"rise", c.Rise}} {
		if f.value < 0 || f.value > maxCount {
			return fmt.Errorf("%s (%d) is not in 1 to %d: it counts results in a row; leave it out for the default, 2", f.name, f.value, maxCount)
		}
	}
	d := c.withDefaults()
	if c.Process == nil && d.Timeout > time.Duration(d.Fall)*10*d.Interval {
		return fmt.Errorf("timeout (%s) is over 10 × fall (%d) × interval (%s): a service that hangs would be noticed only after %s, however short the interval; set timeout to %s or less",
			d.Timeout, d.Fall, d.Interval, time.Duration(d.Fall)*d.Interval+d.Timeout, time.Duration(d.Fall)*10*d.Interval)
	}
	return nil
}

func (p Process) validate() error {
	given := slices.DeleteFunc([]string{p.Socket, p.Pidfile, p.Name}, func(s string) bool { return s == "" })
	if len(given) != 1 {
		return fmt.Errorf("process has %d of socket, pidfile and name: they could mean different processes; set exactly one, socket if mysqld has one", len(given))
	}
	switch {
	case p.Socket != "":
		return validateSocket("process.socket", p.Socket)
	case p.Pidfile != "":
		return validatePath("process.pidfile", p.Pidfile)
	case strings.ContainsAny(p.Name, "/\n\x00"):
		return fmt.Errorf("process.name (%q) is not a process name: the kernel knows names, not paths; write it as `ps -o comm` shows it", oneLine(p.Name))
	case len(p.Name) > maxComm:
		return fmt.Errorf("process.name (%q) is longer than %d bytes: the kernel cuts names there, so it would never be found; write %q", oneLine(p.Name), maxComm, p.Name[:maxComm])
	}
	return nil
}

func (m MySQL) validate() error {
	if (m.Socket == "") == (m.Address == "") {
		return fmt.Errorf("mysql needs either socket or address, and not both: the check must know where to connect; set socket: /run/mysqld/mysqld.sock")
	}
	if m.User == "" {
		return fmt.Errorf("mysql.user is missing: mysqld would refuse the check; create a user without privileges for it and name it here")
	}
	if m.Require != "" && m.Require != writable {
		return fmt.Errorf("mysql.require (%q) is unknown: write %q, or leave it out", oneLine(m.Require), writable)
	}
	if m.Socket != "" {
		return validateSocket("mysql.socket", m.Socket)
	}
	return validateAddress("mysql.address", m.Address)
}

func (e Exec) validate() error {
	if len(e.Command) == 0 || e.Command[0] == "" {
		return fmt.Errorf("exec.command is empty: there is nothing to run; write [/path/to/program, argument, …]")
	}
	if slices.ContainsFunc(e.Command, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return fmt.Errorf("exec.command contains a NUL byte: the kernel would cut it there; remove it")
	}
	return validatePath("exec.command", e.Command[0])
}

func validatePath(field, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s (%q) is not an absolute path: the daemon's working directory is /; write the whole path", field, oneLine(path))
	}
	return nil
}

// validateSocket also keeps to the size of sun_path, unix(7).
func validateSocket(field, path string) error {
	if len(path) > 107 {
		return fmt.Errorf("%s is %d bytes long: the kernel allows 107 in a socket's path; use a shorter one", field, len(path))
	}
	return validatePath(field, path)
}

func validateAddress(field, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			return nil
		}
	}
	return fmt.Errorf("%s (%q) is not host:port: the check must know where to connect; write it like 127.0.0.1:3306 or [::1]:3306", field, oneLine(address))
}
