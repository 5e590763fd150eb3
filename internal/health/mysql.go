package health

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// mysqlProbe asks a mysqld. It uses the driver without database/sql, whose pool
// would open, retry and keep connections on its own terms.
type mysqlProbe struct {
	cfg       MySQL
	connector driver.Connector

	conn     driver.Conn // kept from round to round; nil where there is none
	wire     *greeted    // what conn reads from
	noSuper  bool        // conn's mysqld has no super_read_only (MariaDB)
	proven   proof       // about the mysqld that has been answering
	panicked time.Time   // when the driver last panicked
}

// proof is what is known of the mysqld that has been answering without a break.
type proof int

const (
	unproven proof = iota
	provenOK
	provenReadOnly
)

// mysqld's error numbers, mysqld_error.h.
const (
	erConCount         = 1040 // too many connections
	erTooManyUserConns = 1203
	erUserLimit        = 1226 // the user's max_user_connections and its likes
	erUnknownVariable  = 1193
	erShutdown         = 1053 // server shutdown in progress
)

// refusals are the errors with which a mysqld that works turns the check's user
// away. (The errors of a mysqld that does not, such as 1053, shutdown in progress,
// and 1047, WSREP has not yet prepared node, are not among them.)
func refusal(number uint16) (hint string) {
	switch number {
	case 1045, 1698: // access denied; without a password
		return "the check's user or password is wrong"
	case 1129: // host blocked
		return "run FLUSH HOSTS, and find out what connects without logging in"
	case 1130: // host not privileged
		return "the check's user may not connect from this host"
	case 1251, 1524, 2059: // authentication plugin
		return "the check's user has an authentication plugin that the check cannot do"
	case 1820, 1862, 3118, 3955, 4151: // password expired, account locked or blocked
		return "the check's account is locked or its password has expired"
	}
	return ""
}

// panicPause is how long a mysqld that made the driver panic is left alone: each
// panic may leave one of the driver's goroutines behind.
const panicPause = time.Minute

func newMySQLProbe(m MySQL, log hclog.Logger) (*mysqlProbe, error) {
	p := &mysqlProbe{cfg: m}
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd = m.User, m.Password
	cfg.Net, cfg.Addr = "tcp", m.Address
	if m.Socket != "" {
		cfg.Net, cfg.Addr = "unix", m.Socket
	}
	cfg.ConnectionAttributes = "program_name:leasehold"
	cfg.CheckConnLiveness = false // each use of the connection is such a check
	cfg.Logger = driverLog{log}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		wire, err := greet(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		p.wire = wire
		return wire, nil
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("mysql: %w", err)
	}
	p.connector = connector
	return p, nil
}

// driverLog passes on what the driver would print to stderr. It repeats what the
// returned error says, so it is for debugging only.
type driverLog struct{ log hclog.Logger }

func (l driverLog) Print(v ...any) {
	l.log.Debug("mysql driver", "msg", oneLine(fmt.Sprint(v...)))
}

// probe does one round.
func (p *mysqlProbe) probe(ctx context.Context) (string, error) {
	begin := time.Now()
	if left := p.panicked.Add(panicPause).Sub(begin); !p.panicked.IsZero() && left > 0 {
		return "", fmt.Errorf("its login was malformed, next try in %s", left.Round(time.Second))
	}
	kept, gone := p.conn != nil, false
	answer, err := p.ask(ctx)
	if err != nil && kept && ctx.Err() == nil {
		// The kept connection may have been killed or timed out, which says
		// nothing about mysqld; a new one does.
		p.close()
		answer, err = p.ask(ctx)
		gone = err != nil && broken(err)
	}
	if err == nil {
		return p.judge(answer)
	}
	p.close()
	detail, err := p.judgeError(ctx, err, begin)
	if gone {
		err = goneError{err}
	}
	return detail, err
}

// broken reports whether err on a new connection means that mysqld is not there,
// or is shutting down: then it may accept, and hang up at once.
func broken(err error) bool {
	for _, target := range []error{
		unix.ECONNREFUSED, unix.ENOENT, unix.ECONNRESET, unix.EPIPE, errHungUp, mysql.ErrInvalidConn, driver.ErrBadConn,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	e, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && e.Number == erShutdown
}

// watchHangup waits, while the kept connection is idle, for mysqld to say
// anything on it: that can only be farewell.
func (p *mysqlProbe) watchHangup() (<-chan struct{}, func()) {
	if p.conn == nil {
		return nil, func() {}
	}
	wire := p.wire.Conn
	socket, ok := wire.(syscall.Conn)
	if !ok {
		return nil, func() {}
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil, func() {}
	}
	gone, done := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop
		defer close(done)
		var b [1]byte
		err := raw.Read(func(fd uintptr) bool {
			_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return !errors.Is(err, unix.EAGAIN)
		})
		if err == nil { // else it is the deadline of stop
			close(gone)
		}
	}()
	return gone, func() {
		// A connection that does not take a deadline is broken; the round sees it.
		_ = wire.SetReadDeadline(time.Unix(1, 0))
		<-done
		_ = wire.SetReadDeadline(time.Time{})
	}
}

// answer is one row of variables: what mysqld said, as text.
type answer struct{ readOnly, superReadOnly string }

// ask sends the query, on a new connection where none is kept.
func (p *mysqlProbe) ask(ctx context.Context) (a answer, err error) {
	defer func() {
		// The driver trusts what a server sends, and panics where it should not.
		if r := recover(); r != nil {
			p.panicked = time.Now()
			if p.wire != nil {
				_ = p.wire.Close() // the driver has lost it
			}
			err = fmt.Errorf("what it sent is malformed (%v)", r)
		}
	}()
	if p.conn == nil {
		p.noSuper = false
		if p.conn, err = p.connector.Connect(ctx); err != nil {
			p.conn = nil
			return answer{}, err
		}
	}
	p.wire.left = maxRound
	if p.cfg.Require == "" {
		_, err := p.row(ctx, "SELECT 1", 1)
		return answer{}, err
	}
	if !p.noSuper {
		row, err := p.row(ctx, "SELECT @@global.read_only, @@global.super_read_only", 2)
		if err == nil {
			return answer{row[0], row[1]}, nil
		}
		var e *mysql.MySQLError
		if !errors.As(err, &e) || e.Number != erUnknownVariable {
			return answer{}, err
		}
		p.noSuper = true
	}
	row, err := p.row(ctx, "SELECT @@global.read_only", 1)
	if err != nil {
		return answer{}, err
	}
	return answer{readOnly: row[0]}, nil
}

// row returns the one row of columns values that query must yield.
func (p *mysqlProbe) row(ctx context.Context, query string, columns int) ([]string, error) {
	q, ok := p.conn.(driver.QueryerContext)
	if !ok {
		return nil, errors.New("the driver cannot query with a deadline")
	}
	rows, err := q.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // what follows the row is not wanted
	if n := len(rows.Columns()); n != columns {
		return nil, fmt.Errorf("%s gave %d columns, want %d", query, n, columns)
	}
	values := make([]driver.Value, columns)
	if err := rows.Next(values); err != nil {
		return nil, err
	}
	row := make([]string, columns)
	for i, v := range values {
		if b, ok := v.([]byte); ok {
			row[i] = string(b)
		} else {
			row[i] = fmt.Sprint(v)
		}
	}
	return row, nil
}

// judge turns an answer into a result.
func (p *mysqlProbe) judge(a answer) (string, error) {
	if p.cfg.Require == "" {
		return "answers SELECT 1", nil
	}
	for _, v := range []struct{ name, value string }{
		{"read_only", a.readOnly}, {"super_read_only", a.superReadOnly},
	} {
		// MariaDB 12 also has NO_LOCK and NO_LOCK_NO_ADMIN: not writable either.
		if v.value != "" && v.value != "0" && !strings.EqualFold(v.value, "OFF") {
			p.proven = provenReadOnly
			return "", fmt.Errorf("%s is %s (require: %s)", v.name, onOff(v.value), writable)
		}
	}
	p.proven = provenOK
	return "answers, and is writable", nil
}

func onOff(v string) string {
	if v == "1" {
		return "ON"
	}
	return v
}

// judgeError turns a failed round into a result: mysqld may have answered, only
// not with what was asked for.
func (p *mysqlProbe) judgeError(ctx context.Context, err error, begin time.Time) (string, error) {
	var e *mysql.MySQLError
	number := uint16(0)
	if errors.As(err, &e) {
		number = e.Number
	}
	hint := refusal(number)
	if errors.Is(err, mysql.ErrNativePassword) || errors.Is(err, mysql.ErrOldPassword) ||
		errors.Is(err, mysql.ErrCleartextPassword) || errors.Is(err, mysql.ErrUnknownPlugin) {
		hint = "the check's user has an authentication plugin that the check cannot do"
	}
	full := number == erConCount || number == erTooManyUserConns || number == erUserLimit
	switch {
	case full && p.proven != provenReadOnly:
		return "is up, but out of connections: " + p.scrub(e.Message), nil
	case full:
		return "", fmt.Errorf("was read-only when it last had a connection to spare (require: %s): %s", writable, p.scrub(e.Message))
	case hint != "" && (p.cfg.Require == "" || p.proven == provenOK):
		return fmt.Sprintf("is up, but refuses the check: %s: %s", p.scrub(err.Error()), hint), nil
	case hint != "":
		return "", fmt.Errorf("is up, but refuses the check, so that it is not known to be %s: %s: %s", p.cfg.Require, p.scrub(err.Error()), hint)
	}
	p.proven = unproven // the next mysqld there may be another
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		what := "no answer to SELECT"
		if text, _, ok := strings.Cut(err.Error(), ": "+context.DeadlineExceeded.Error()); ok {
			what = text // from greet
		}
		return "", fmt.Errorf("%s within %s", what, time.Since(begin).Round(10*time.Millisecond))
	}
	if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) {
		return "", errors.New("the connection broke before the answer")
	}
	return "", errors.New(p.scrub(err.Error()))
}

// scrub keeps the password out of foreign text, in case a server repeats it.
func (p *mysqlProbe) scrub(s string) string {
	if p.cfg.Password == "" {
		return s
	}
	return strings.ReplaceAll(s, p.cfg.Password, "***")
}

// close hangs up.
func (p *mysqlProbe) close() {
	if p.conn == nil {
		return
	}
	_ = p.wire.SetDeadline(time.Now().Add(100 * time.Millisecond)) // for the farewell
	_ = p.conn.Close()                                             // nothing depends on it
	p.conn, p.wire = nil, nil
}
