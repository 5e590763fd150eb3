package health

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// quick is a mysql check with times for tests.
func quick(m *MySQL) Config {
	return Config{Name: "mysql", MySQL: m, Interval: 100 * time.Millisecond, Timeout: 2 * time.Second, Fall: 2, Rise: 2}
}

func TestMySQLStopsAndRestarts(t *testing.T) {
	s := newServer(t, "--skip-networking")
	r := runChecks(t, true, quick(s.check()))
	r.healthy()
	s.signal(syscall.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	r.sick("mysql: " + s.socket + ": nobody listens (no such file or directory)")
	s.start()
	r.healthy()
	s.kill()
	r.sick("mysql: " + s.socket + ": nobody listens")
}

// A mysqld that shuts down hangs up and stops listening, long before its process
// ends. The check hears of it between its rounds.
func TestMySQLHangsUp(t *testing.T) {
	s := newServer(t, "--skip-networking")
	r := runChecks(t, true, Config{Name: "mysql", MySQL: s.check(), Interval: time.Minute, Fall: 3})
	r.healthy()
	s.do("KILL USER leasehold") // its connection only: another round, another connection
	begin := time.Now()
	s.signal(syscall.SIGTERM)
	r.sick("mysql: ")
	t.Logf("noticed after %s", time.Since(begin))
	if err := s.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("ended after %s", time.Since(begin))
}

// TestMySQLHangsUpDuringLogin: a mysqld that is shutting down may greet and then
// hang up before it has read the login.
func TestMySQLHangsUpDuringLogin(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	greeting := "\x0a11.0\x00" + "\x01\x00\x00\x00" + "scramble" + "\x00" + // version, connection id
		"\x00\x82" + "\x21" + "\x02\x00" + "\x08\x00" + "\x15" + // capabilities: protocol 41, plugins
		strings.Repeat("\x00", 10) + "scramble-two\x00" + "mysql_native_password\x00"
	packet := append([]byte{byte(len(greeting)), 0, 0, 0}, greeting...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(packet) // the client may be gone
			_ = c.Close()
		}
	}()
	p, err := newMySQLProbe(MySQL{Socket: socket, User: "x"}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if _, err := p.ask(t.Context()); !broken(err) {
			t.Errorf("ask() = %v; want it known as a connection that broke", err)
		}
		p.close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

// A mysqld that hangs still accepts connections. The check must notice within
// fall × interval + timeout, and the process check must not call it dead.
func TestMySQLHangs(t *testing.T) {
	const interval, timeout, fall = 100 * time.Millisecond, 500 * time.Millisecond, 3
	s := newServer(t, "--skip-networking")
	r := runChecks(t, true,
		Config{Name: "mysql", MySQL: s.check(), Interval: interval, Timeout: timeout, Fall: fall},
		Config{Name: "process", Process: &Process{Socket: s.socket}, Interval: interval})
	r.healthy()
	begin := time.Now()
	s.signal(syscall.SIGSTOP)
	st := r.sick("mysql: no ")
	took := time.Since(begin)
	t.Logf("noticed after %s: %s", took, st.Why)
	if !st.Results[1].OK {
		t.Errorf("process: %s; a stopped process is not a dead one", st.Results[1].Detail)
	}
	// Half as much again for a busy host.
	if limit := fall*interval + timeout; took > limit*3/2 {
		t.Errorf("noticed after %s, want %s at most", took, limit)
	}
	r.sick("mysql: no greeting within ") // the first failure was the kept connection's
	s.signal(syscall.SIGCONT)
	r.healthy()
}

func TestMySQLRequireWritable(t *testing.T) {
	s := newServer(t, "--skip-networking")
	m := s.check()
	m.Require = writable
	r := runChecks(t, true, quick(m), Config{Name: "plain", MySQL: s.check(), Interval: 50 * time.Millisecond})
	r.healthy()
	s.do("SET GLOBAL read_only = ON")
	st := r.sick("mysql: read_only is ON (require: writable)")
	if !st.Results[1].OK {
		t.Errorf("plain: %s", st.Results[1].Detail)
	}
	s.do("SET GLOBAL read_only = OFF")
	r.healthy()
}

// max_connections used up: mysqld is at work.
func TestMySQLTooManyConnections(t *testing.T) {
	s := newServer(t, "--skip-networking", "--max-connections=10", "--extra-max-connections=1")
	var hold []interface{ Close() error }
	fill := func() {
		for {
			c, err := s.connect("leasehold", "secret")
			if err != nil {
				return
			}
			hold = append(hold, c)
		}
	}
	t.Cleanup(func() {
		for _, c := range hold {
			_ = c.Close()
		}
	})
	fill()
	if len(hold) < 5 {
		t.Fatalf("only %d connections held", len(hold))
	}
	r := runChecks(t, true, quick(s.check()))
	r.healthy()
	r.detail("is up, but out of connections")
	for _, c := range hold {
		_ = c.Close()
	}
	hold = nil
	r.detail("answers SELECT 1")
}

func TestMySQLAccessDenied(t *testing.T) {
	s := newServer(t, "--skip-networking")
	m := s.check()
	m.Password = "hunter2-wrong"
	w := *m
	w.Require = writable
	r := runChecks(t, true, quick(m), Config{Name: "writable", MySQL: &w, Interval: 100 * time.Millisecond, Timeout: 2 * time.Second})
	st := r.until("known", func(s State) bool { return s.Known })
	if !st.Results[0].OK || !strings.Contains(st.Results[0].Detail, "is up, but refuses the check: Error 1045") {
		t.Errorf("without require: %+v; want OK, with the refusal", st.Results[0])
	}
	if st.Results[1].OK || !strings.Contains(st.Results[1].Detail, "not known to be writable: Error 1045") {
		t.Errorf("require writable: %+v; want a failure", st.Results[1])
	}
	for _, res := range st.Results {
		if strings.Contains(res.Detail, m.Password) {
			t.Errorf("the password shows: %s", res.Detail)
		}
		if !strings.Contains(res.Detail, "user or password is wrong") {
			t.Errorf("%s: no advice", res.Detail)
		}
	}
}

// The password is changed under a check that was OK, and its connection dies.
func TestMySQLPasswordChanged(t *testing.T) {
	s := newServer(t, "--skip-networking")
	m := s.check()
	m.Require = writable
	p, err := newMySQLProbe(*m, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if _, err := p.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.do("SET PASSWORD FOR leasehold@localhost = PASSWORD('other')")
	if _, err := p.probe(t.Context()); err != nil {
		t.Fatalf("on the kept connection: %v", err)
	}
	p.close()
	detail, err := p.probe(t.Context())
	if err != nil || !strings.Contains(detail, "refuses the check") {
		t.Errorf("the same mysqld: %q, %v; want OK", detail, err)
	}
	s.kill()
	if _, err := p.probe(t.Context()); err == nil {
		t.Error("killed, and OK")
	}
	s.start()
	s.do("SET PASSWORD FOR leasehold@localhost = PASSWORD('other')") // also without a binlog nothing is flushed at once
	if _, err := p.probe(t.Context()); err == nil {
		t.Error("another mysqld, not known to be writable, and OK")
	}
}

// One connection serves all rounds, and another the next when it is killed.
func TestMySQLKeepsItsConnection(t *testing.T) {
	s := newServer(t, "--skip-networking")
	p, err := newMySQLProbe(*s.check(), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	first := func() any {
		t.Helper()
		if _, err := p.probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return p.conn
	}
	one := first()
	for range 5 {
		if first() != one {
			t.Fatal("a new connection while the old one works")
		}
	}
	s.do("KILL USER leasehold")
	if first() == one {
		t.Error("the killed connection is still used")
	}
}

func TestMySQLOverTCP(t *testing.T) {
	port := freePort(t)
	s := newServer(t, "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port), "--skip-name-resolve")
	address := fmt.Sprintf("127.0.0.1:%d", port)
	r := runChecks(t, true, quick(&MySQL{Address: address, User: "leasehold", Password: "secret"}))
	r.healthy()
	s.kill()
	r.sick("mysql: "+address, "connection refused")
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// What a broken or hostile server can send must neither hang nor crash the check.
func TestMySQLMalformed(t *testing.T) {
	greeting := "\x0a5.5\x00" + strings.Repeat("\xff", 44)
	packet := func(seq byte, payload string) string {
		return string([]byte{byte(len(payload)), byte(len(payload) >> 8), byte(len(payload) >> 16), seq}) + payload
	}
	for name, tc := range map[string]struct{ send, want string }{
		"hangs up":            {"", "hung up without a greeting"},
		"cut short":           {packet(0, greeting)[:20], "hung up without a greeting"},
		"short greeting":      {packet(0, "\x0a5.5\x00xxxx"), "cut short"},
		"endless version":     {packet(0, "\x0a5.5"), "no end"},
		"empty":               {packet(0, ""), "empty"},
		"http":                {"HTTP/1.1 400 Bad Request\r\n\r\n", "is it mysqld"},
		"short error":         {packet(0, "\xff\x10"), "cut short"},
		"error with escape":   {packet(0, "\xff\x99\x09\x1b[2Jboo\nhunter2"), "Error 2457: ?[2Jboo ***"},
		"wrong first number":  {packet(7, greeting), "sequence"},
		"bad auth switch":     {packet(0, greeting) + packet(2, "\xfemysql_native_password"), ""},
		"endless auth packet": {packet(0, greeting) + "\xff\xff\xff\x02" + strings.Repeat("x", 1<<20), ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(shortTempDir(t), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = c.Write([]byte(tc.send)) // the check may hang up
					_ = c.(*net.UnixConn).CloseWrite()
					_, _ = c.Read(make([]byte, 1024)) // its login, or its hanging up
					_ = c.Close()
				}
			}()
			t.Cleanup(func() { _ = l.Close(); <-done })
			p, err := newMySQLProbe(MySQL{Socket: path, User: "u", Password: "hunter2"}, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			detail, err := p.probe(t.Context())
			if err == nil {
				t.Fatalf("passed: %s", detail)
			}
			if got := oneLine(err.Error()); !strings.Contains(got, tc.want) {
				t.Errorf("%q, want it to contain %q", got, tc.want)
			}
		})
	}
}

// panicker is a driver that trips over what a server sent.
type panicker struct{ connects int }

func (p *panicker) Connect(context.Context) (driver.Conn, error) {
	p.connects++
	panic("index out of range")
}

func (*panicker) Driver() driver.Driver { return nil }

// The real driver leaves a goroutine behind when it panics, so a server that
// makes it panic is not asked again at once.
func TestMySQLDriverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := &panicker{}
		p := &mysqlProbe{connector: bad}
		for _, want := range []string{"malformed (index out of range)", "next try in 1m0s"} {
			if _, err := p.probe(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		time.Sleep(panicPause) // virtual
		if _, err := p.probe(t.Context()); err == nil || bad.connects != 2 {
			t.Errorf("%v after %d connects, want another try", err, bad.connects)
		}
	})
}

// refused must never swallow what means that mysqld does not work.
func TestRefusals(t *testing.T) {
	for number, want := range map[uint16]bool{1045: true, 1698: true, 1129: true, 1130: true, 4151: true, 1053: false, 1047: false, 1040: false, 0: false} {
		if got := refusal(number) != ""; got != want {
			t.Errorf("refusal(%d) = %t, want %t", number, got, want)
		}
	}
}

func FuzzCheckGreeting(f *testing.F) {
	f.Add([]byte("\x0a5.5\x00" + strings.Repeat("x", 44)))
	f.Add([]byte("\xff\x10\x04#08004Too many connections"))
	f.Fuzz(func(t *testing.T, b []byte) {
		packet := append([]byte{byte(len(b)), byte(len(b) >> 8), byte(len(b) >> 16), 0}, b...)
		got, err := readGreeting(strings.NewReader(string(packet)))
		if err == nil && len(got) != len(packet) {
			t.Errorf("%d bytes of %d", len(got), len(packet))
		}
		if err == nil && len(b) == 0 {
			t.Error(errors.New("an empty greeting is good"))
		}
	})
}
