package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
)

// The limits of the status socket. It is for people and scripts on this host; a
// client that hangs may cost a connection, never the VIP.
const (
	socketTimeout = 2 * time.Second
	socketClients = 16
	maxStatus     = 1 << 20
	statusURL     = "/v1/status"
)

func socketPath(runDir string) string { return filepath.Join(runDir, "status.sock") }

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// listenStatus opens the status socket. The caller has the lock on the run_dir,
// so a socket that is there already belongs to nobody.
func listenStatus(ctx context.Context, runDir string) (net.Listener, error) {
	path := socketPath(runDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	// Status names hosts and says why a check failed: for the group, not for all.
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("status socket: %w", err), l.Close())
	}
	return l, nil
}

// serveStatus answers GET /v1/status until ctx is cancelled, and returns nil
// then. An error of the socket is logged and ends it: the VIP matters more.
func serveStatus(ctx context.Context, l net.Listener, reply func() daemonReply, log hclog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusURL, func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(reply())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(b, '\n')) // a client that has gone needs no answer
	})
	server := &http.Server{
		Handler: mux, ReadTimeout: socketTimeout, WriteTimeout: socketTimeout, IdleTimeout: socketTimeout,
		MaxHeaderBytes: 8 << 10, ErrorLog: log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	var g errgroup.Group
	g.Go(func() error {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			return server.Close()
		}
		return nil
	})
	if err := server.Serve(&fewConns{Listener: l, free: make(chan struct{}, socketClients)}); !errors.Is(err, http.ErrServerClosed) {
		log.Error("status socket ended", "err", err)
	}
	if err := g.Wait(); err != nil {
		log.Warn("status socket did not close", "err", err)
	}
	return nil
}

// fewConns turns away whoever comes while too many are connected.
type fewConns struct {
	net.Listener
	free chan struct{}
}

func (l *fewConns) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &countedConn{Conn: c, free: l.free}, nil
		default:
			_ = c.Close() // nothing was said yet
		}
	}
}

// countedConn gives its place back once.
type countedConn struct {
	net.Conn
	free chan struct{}
}

func (c *countedConn) Close() error {
	err := c.Conn.Close()
	if !errors.Is(err, net.ErrClosed) {
		<-c.free
	}
	return err
}

// askDaemon asks this host's daemon for its status.
func askDaemon(ctx context.Context, path string) (*daemonReply, error) {
	ctx, cancel := context.WithTimeout(ctx, socketTimeout)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://leasehold"+statusURL, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, daemonProblem(path, err)
	}
	defer func() { _ = res.Body.Close() }() // read to the end below
	b, err := io.ReadAll(io.LimitReader(res.Body, maxStatus))
	if err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the daemon answers %s: %.200s", res.Status, b)
	}
	var reply daemonReply
	if err := json.Unmarshal(b, &reply); err != nil {
		return nil, fmt.Errorf("the daemon's answer: %w", err)
	}
	return &reply, nil
}
