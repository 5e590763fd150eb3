package health

import (
	"bytes"
	"context"
	"database/sql/driver"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

// patience bounds every wait for something that should happen at once. It is long
// because the machine may be busy; no test takes it when all is well.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv("HEALTH_TEST_CHILD") != "" {
		os.Exit(child())
	}
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.fuzzworker").Value.String() == "true" {
		os.Exit(m.Run()) // the fuzzing engine's own goroutines are none of ours
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if templateDir != "" {
			_ = os.RemoveAll(templateDir)
		}
		os.Exit(code)
	}))
}

// need skips the test on a laptop, and fails it in CI, where nothing may be skipped.
func need(t *testing.T, what string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") == "true":
		t.Fatalf("needs %s; CI=true, so this is a failure", what)
	default:
		t.Skipf("needs %s", what)
	}
}

// testLog sends hclog's lines to the test's output.
func testLog(t *testing.T) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: t.Output(), Level: hclog.Debug})
}

// template returns a datadir with mysqld's system tables and the users of the
// tests, made once per run of the package.
var template = sync.OnceValues(makeTemplate)

// templateDir is what TestMain removes at the end.
var templateDir string

func makeTemplate() (string, error) {
	dir, err := os.MkdirTemp("", "leasehold-health-datadir")
	if err != nil {
		return "", err
	}
	templateDir = dir
	in := bytes.NewBufferString("create database mysql;\nuse mysql;\nSET @auth_root_socket=NULL;\n")
	for _, name := range []string{"mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"} {
		b, err := os.ReadFile("/usr/share/mysql/" + name)
		if err != nil {
			return "", err
		}
		in.Write(b)
	}
	cmd := exec.Command("mariadbd", mariadbdArgs(dir, "--bootstrap")...)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", &bootstrapError{err, out}
	}
	return dir, nil
}

type bootstrapError struct {
	err error
	out []byte
}

func (e *bootstrapError) Error() string { return e.err.Error() + "\n" + string(e.out) }

func mariadbdArgs(datadir string, args ...string) []string {
	return append([]string{
		"--no-defaults", "--user=root", "--datadir=" + datadir,
		"--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
		"--performance-schema=off", "--skip-log-bin", "--max-allowed-packet=8M",
	}, args...)
}

// server is a mariadbd of a test's own.
type server struct {
	t      *testing.T
	dir    string
	socket string
	pid    string // path of the pidfile
	args   []string
	cmd    *exec.Cmd
}

// newServer starts a mariadbd with users leasehold, password secret, and root
// without one, and waits until it answers.
func newServer(t *testing.T, args ...string) *server {
	t.Helper()
	_, err := exec.LookPath("mariadbd")
	need(t, "mariadbd (Debian: mariadb-server-core)", err == nil)
	need(t, "root, for mariadbd --user=root", os.Geteuid() == 0)
	from, err := template()
	if err != nil {
		t.Fatalf("make datadir: %v", err)
	}
	dir := shortTempDir(t)
	data := filepath.Join(dir, "data")
	if err := os.CopyFS(data, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, socket: filepath.Join(dir, "s"), pid: filepath.Join(dir, "pid")}
	init := filepath.Join(dir, "init.sql")
	if err := os.WriteFile(init, []byte(`CREATE USER IF NOT EXISTS leasehold@localhost IDENTIFIED BY 'secret';
CREATE USER IF NOT EXISTS leasehold@'127.0.0.1' IDENTIFIED BY 'secret';
`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.args = mariadbdArgs(data, append([]string{"--socket=" + s.socket, "--pid-file=" + s.pid, "--init-file=" + init}, args...)...)
	s.start()
	t.Cleanup(s.kill)
	return s
}

// shortTempDir is t.TempDir with a path that a unix socket's name has room for.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lh") //nolint:usetesting // t.TempDir has the test's name in it, which is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command("mariadbd", s.args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := filepath.Join(s.dir, "log")
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	s.cmd.Stdout, s.cmd.Stderr = f, f
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if s.t.Failed() {
			b, _ := os.ReadFile(log)
			s.t.Logf("mariadbd's log:\n%s", b)
		}
	}()
	waitUntil(s.t, "mariadbd answers", func() bool { return s.try("SELECT 1") == nil })
}

// do runs a statement as root.
func (s *server) do(statement string) {
	s.t.Helper()
	if err := s.try(statement); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

func (s *server) try(statement string) error {
	conn, err := s.connect("root", "")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.(driver.ExecerContext).ExecContext(s.t.Context(), statement, nil)
	return err
}

func (s *server) connect(user, password string) (driver.Conn, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.Passwd = "unix", s.socket, user, password
	cfg.Logger = &mysql.NopLogger{}
	c, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	return c.Connect(ctx)
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may be gone
	_ = s.cmd.Wait()
}

func (s *server) check() *MySQL {
	return &MySQL{Socket: s.socket, User: "leasehold", Password: "secret"}
}

// waitUntil polls until ok.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-ticker.C
	}
}

// running is a Checks that runs until the test ends.
type running struct {
	*Checks
	t *testing.T
}

// runChecks runs checks until the test ends.
func runChecks(t *testing.T, connector bool, configs ...Config) *running {
	t.Helper()
	c, err := newChecks(configs, testLog(t), connector)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &running{c, t}
}

// until waits for a state, woken by Changed and nothing else, and returns it.
func (r *running) until(what string, ok func(State) bool) State {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		if s := r.State(); ok(s) {
			return s
		}
		select {
		case <-r.Changed():
		case <-deadline:
			r.t.Fatalf("not within %s: %s; state %+v", patience, what, r.State())
		}
	}
}

func (r *running) healthy() State {
	r.t.Helper()
	return r.until("healthy", func(s State) bool { return s.Healthy })
}

// sick waits until a check has failed with a Why that contains all of parts.
func (r *running) sick(parts ...string) State {
	r.t.Helper()
	return r.until("not healthy because of "+strings.Join(parts, ", "), func(s State) bool {
		for _, p := range parts {
			if !strings.Contains(s.Why, p) {
				return false
			}
		}
		return s.Known && !s.Healthy
	})
}

// detail waits until the first check's Detail contains part.
func (r *running) detail(part string) State {
	r.t.Helper()
	return r.until("detail "+part, func(s State) bool { return strings.Contains(s.Results[0].Detail, part) })
}
