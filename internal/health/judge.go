package health

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"
)

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
