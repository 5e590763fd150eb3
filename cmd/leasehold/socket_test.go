package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

// serve runs the status socket in a folder until the test ends, and returns its path.
func serve(t *testing.T, r daemonReply) string {
	t.Helper()
	dir := t.TempDir()
	l, err := listenStatus(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := serveStatus(ctx, l, func() daemonReply { return r }, hclog.NewNullLogger()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return socketPath(dir)
}

func TestSocket(t *testing.T) {
	f := testFacts(t)
	path := serve(t, *f.daemon)
	for range 2 * socketClients { // places are given back
		got, err := askDaemon(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(f.daemon, got); diff != "" {
			t.Fatal(diff)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
}

// request sends one raw request and returns the first line of the answer.
func request(t *testing.T, path, text string) string {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.LimitReader(c, 1<<16))
	if err != nil && len(b) == 0 {
		return err.Error()
	}
	line, _, _ := strings.Cut(string(b), "\r\n")
	return line
}

// The socket answers one question, to whoever asks in the right way.
func TestSocketIsReadOnly(t *testing.T) {
	path := serve(t, daemonReply{})
	for name, tc := range map[string]struct{ text, want string }{
		"get":        {"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"},
		"post":       {"POST /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "405"},
		"other path": {"GET /debug/pprof HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"},
		"too large":  {"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", "431"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := request(t, path, tc.text); !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %s", got, tc.want)
			}
		})
	}
}

// Clients that hang are turned away or cut off, and the next is answered.
func TestSocketHungClients(t *testing.T) {
	path := serve(t, daemonReply{PID: 1})
	for range 2 * socketClients {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	deadline := time.Now().Add(10 * socketTimeout)
	for {
		_, err := askDaemon(t.Context(), path)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestSocketLeftOver(t *testing.T) {
	dir := t.TempDir()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socketPath(dir), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close() // as a killed daemon leaves it
	if _, err := askDaemon(t.Context(), socketPath(dir)); !errors.Is(err, errNoDaemon) {
		t.Errorf("got %v, want errNoDaemon", err)
	}
	if _, err := askDaemon(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, errNoDaemon) {
		t.Errorf("got %v, want errNoDaemon", err)
	}
	again, err := listenStatus(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// A daemon with another configuration does not know the service.
func TestDaemonWithoutService(t *testing.T) {
	f := testFacts(t)
	f.daemon.Services = map[string]daemonService{}
	if d := assessDaemon(f); d.OK || !strings.Contains(d.Error, fmt.Sprint("pid ", f.daemon.PID)) {
		t.Errorf("got %+v", d)
	}
}
