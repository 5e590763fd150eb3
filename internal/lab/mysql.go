package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// The accounts of every MariaDB in the lab: what leasehold's check logs in
// with, and what a client of the service does.
const (
	CheckUser     = "leasehold"
	CheckPassword = "check-secret"
	AppUser       = "app"
	AppPassword   = "app-secret"

	mysqlPort = 3306
)

// MariaDBConfig says how to run MariaDB.
type MariaDBConfig struct {
	Binary    string   // default: mariadbd, as installed
	Hosts     []string // default A, B
	ExtraArgs []string // added to the command line, and win over the lab's
}

// MariaDB is one server on each of some hosts, independent of each other. The
// server_id is the last byte of the host's address, and says who answered.
type MariaDB struct {
	lab *Lab
	cfg MariaDBConfig

	mu      sync.Mutex
	servers map[string]*Process
}

// StartMariaDB makes the data directories, starts a server on every host and
// waits until all answer. They run until they are stopped or the lab closes.
func (l *Lab) StartMariaDB(ctx context.Context, cfg MariaDBConfig) (*MariaDB, error) {
	if cfg.Binary == "" {
		path, err := findProgram("mariadbd")
		if err != nil {
			return nil, err
		}
		cfg.Binary = path
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = []string{A, B}
	}
	m := &MariaDB{lab: l, cfg: cfg, servers: map[string]*Process{}}
	template := filepath.Join(l.dir, "mariadb")
	if err := m.bootstrap(ctx, template); err != nil {
		return nil, err
	}
	for _, host := range cfg.Hosts {
		dir, err := l.HostDir(host)
		if err != nil {
			return nil, err
		}
		data := filepath.Join(dir, "mysql")
		if err := errors.Join(os.CopyFS(data, os.DirFS(template)), os.Mkdir(tmpDir(data), 0o750)); err != nil {
			return nil, fmt.Errorf("make the data directory of host %s: %w", host, err)
		}
		if err := os.WriteFile(m.PasswordFile(host), []byte(CheckPassword+"\n"), 0o600); err != nil {
			return nil, fmt.Errorf("write the password file of host %s: %w", host, err)
		}
		if err := m.Start(host); err != nil {
			return nil, err
		}
	}
	for _, host := range cfg.Hosts {
		if err := m.WaitReady(ctx, host); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Start starts the server of a host, at first or again, and does not wait.
func (m *MariaDB) Start(host string) error {
	id, err := m.ServerID(host)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.servers[host]; p != nil && p.Running() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	args := append(m.baseArgs(m.path(host, "mysql")),
		"--socket="+m.Socket(host), "--pid-file="+m.Pidfile(host),
		"--bind-address=*", fmt.Sprintf("--port=%d", mysqlPort), fmt.Sprintf("--server-id=%d", id),
		"--skip-name-resolve", "--max-connections=50",
	)
	p, err := m.lab.Start(host, "mariadbd", nil, m.cfg.Binary, append(args, m.cfg.ExtraArgs...)...)
	if err != nil {
		return err
	}
	m.servers[host] = p
	return nil
}

// WaitReady waits until the server of a host answers a query on its socket, at
// most 20 s.
func (m *MariaDB) WaitReady(ctx context.Context, host string) error {
	p := m.Process(host)
	if p == nil {
		return fmt.Errorf("host %s has no MariaDB", host)
	}
	return p.waitReady(ctx, 20*time.Second, func() (bool, error) {
		cfg := clientConfig()
		cfg.Net, cfg.Addr = "unix", m.Socket(host)
		_, err := queryServerID(ctx, cfg)
		return err == nil, err
	})
}

// Process returns the server's process, the latest one: Kill, Freeze, Thaw and
// Stop it there, Start it again here. It is nil on a host without a server.
func (m *MariaDB) Process(host string) *Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.servers[host]
}

func (m *MariaDB) path(host, name string) string { return filepath.Join(m.lab.dir, host, name) }

// Socket returns the path of the server's unix socket.
func (m *MariaDB) Socket(host string) string { return m.path(host, "mysqld.sock") }

// Pidfile returns the path of the server's pidfile.
func (m *MariaDB) Pidfile(host string) string { return m.path(host, "mysqld.pid") }

// PasswordFile returns the path of a file with CheckUser's password.
func (m *MariaDB) PasswordFile(host string) string { return m.path(host, "mysql-password") }

// ServerID returns @@server_id of the server of a host.
func (m *MariaDB) ServerID(host string) (int, error) {
	if !slices.Contains(m.cfg.Hosts, host) {
		return 0, fmt.Errorf("host %s has no MariaDB", host)
	}
	h, err := m.lab.Host(host)
	if err != nil {
		return 0, err
	}
	return serverID(h), nil
}

func serverID(h Host) int { return int(h.Addr.Addr().As4()[3]) }

// Query asks, from one host, the MariaDB that answers at an address, the VIP's
// for one, for its server_id, over a new connection.
func (l *Lab) Query(ctx context.Context, from, ip string) (serverID int, err error) {
	return queryServerID(ctx, l.mysqlConfig(from, ip))
}

func (l *Lab) mysqlConfig(from, ip string) *mysql.Config {
	cfg := clientConfig()
	cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(ip, fmt.Sprint(mysqlPort))
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return l.Dial(ctx, from, network, addr)
	}
	return cfg
}

func clientConfig() *mysql.Config {
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd = AppUser, AppPassword
	cfg.Logger = &mysql.NopLogger{}
	return cfg
}

// queryServerID connects, asks and disconnects, within 1 s.
func queryServerID(ctx context.Context, cfg *mysql.Config) (id int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return 0, fmt.Errorf("ask MariaDB at %s: %w", cfg.Addr, err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if err := db.QueryRowContext(ctx, "SELECT @@server_id").Scan(&id); err != nil {
		return 0, fmt.Errorf("ask MariaDB at %s: %w", cfg.Addr, err)
	}
	return id, nil
}
