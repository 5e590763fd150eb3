package health

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
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

// ask sends the query, on a new connection where none is kept. An error that
// comes of the connection's end is a mysql.ErrInvalidConn.
func (p *mysqlProbe) ask(ctx context.Context) (answer, error) {
	a, err := p.query(ctx)
	if err != nil && p.wire != nil && p.wire.broke {
		err = fmt.Errorf("%w: %w", mysql.ErrInvalidConn, err)
	}
	return a, err
}

func (p *mysqlProbe) query(ctx context.Context) (a answer, err error) {
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

// close hangs up.
func (p *mysqlProbe) close() {
	if p.conn == nil {
		return
	}
	_ = p.wire.SetDeadline(time.Now().Add(100 * time.Millisecond)) // for the farewell
	_ = p.conn.Close()                                             // nothing depends on it
	p.conn, p.wire = nil, nil
}
