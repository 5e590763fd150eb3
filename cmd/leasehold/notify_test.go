package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

// testNotifier records what it would send, and reads the time from now.
func testNotifier(names []string, every time.Duration, now *time.Time) (*notifier, *[]string) {
	sent := &[]string{}
	n := newNotifier(names, func(string) string { return "" }, hclog.NewNullLogger())
	n.send = func(s string) error { *sent = append(*sent, s); return nil }
	n.every, n.now = every, func() time.Time { return *now }
	return n, sent
}

func TestReadyWhenAllHaveDecided(t *testing.T) {
	now := time.Unix(0, 0)
	n, sent := testNotifier([]string{"mysql", "other"}, 0, &now)
	n.Role("mysql", "holder of 10.20.8.188/24, epoch 7")
	n.Decided("mysql")
	n.Decided("mysql")
	n.Role("other", "standby")
	n.Decided("other")
	n.Decided("other")
	n.Stopping()
	n.Stopping()
	want := []string{
		"STATUS=mysql: holder of 10.20.8.188/24, epoch 7",
		"STATUS=mysql: holder of 10.20.8.188/24, epoch 7; other: standby",
		"READY=1\nSTATUS=mysql: holder of 10.20.8.188/24, epoch 7; other: standby",
		"STOPPING=1",
	}
	if diff := cmp.Diff(want, *sent); diff != "" {
		t.Error(diff)
	}
}

// A refused reload is READY again, with the reason; the next try takes that away.
func TestReloadIsTold(t *testing.T) {
	now := time.Unix(0, 0)
	n, sent := testNotifier([]string{"mysql", "other"}, time.Second, &now)
	n.Refused(errors.New("too early"))
	n.Role("mysql", "holder")
	n.Decided("mysql")
	n.Decided("other")
	*sent = nil
	n.Refused(errors.New("bad\n  file"))
	n.Reloading()
	n.Forget("other")
	n.Role("other", "standby")
	n.Ping()
	now = now.Add(time.Minute)
	n.Alive("other")
	n.Alive("mysql")
	got := strings.Join(*sent, "\n")
	usec := regexp.MustCompile(`MONOTONIC_USEC=[1-9]\d{6,}`)
	if !usec.MatchString(got) {
		t.Errorf("no time of the reload in %q", got)
	}
	want := `READY=1
STATUS=reload refused: bad file; mysql: holder
RELOADING=1
MONOTONIC_USEC=1
STATUS=mysql: holder
STATUS=mysql: holder
WATCHDOG=1
WATCHDOG=1`
	if diff := cmp.Diff(want, usec.ReplaceAllString(got, "MONOTONIC_USEC=1")); diff != "" {
		t.Error(diff)
	}
}

// One loop that hangs ends the pings, however lively the others are.
func TestWatchdogNeedsEveryLoop(t *testing.T) {
	now := time.Unix(0, 0)
	n, sent := testNotifier([]string{"mysql", "other"}, 500*time.Millisecond, &now)
	turn := func(names ...string) int {
		now = now.Add(time.Second)
		before := len(*sent)
		for _, name := range names {
			n.Alive(name)
		}
		return len(*sent) - before
	}
	for i, tc := range []struct {
		names []string
		pings int
	}{
		{[]string{"mysql"}, 0},
		{[]string{"mysql", "mysql"}, 0},
		{[]string{"other"}, 1},
		{[]string{"other"}, 0},
		{[]string{"mysql"}, 1},
		{[]string{"mysql", "other", "mysql", "other"}, 1}, // not more often than every 500 ms
		{nil, 0},
	} {
		if got := turn(tc.names...); got != tc.pings {
			t.Errorf("step %d, %v: %d pings, want %d", i, tc.names, got, tc.pings)
		}
	}
}

func TestNoWatchdogNoPings(t *testing.T) {
	now := time.Unix(0, 0)
	n, sent := testNotifier([]string{"mysql"}, 0, &now)
	n.Alive("mysql")
	if len(*sent) > 0 {
		t.Errorf("sent %q", *sent)
	}
}

// A real datagram socket, as systemd has one.
func TestNotifySocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("WATCHDOG_USEC", "2000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := newNotifier([]string{"mysql"}, func(k string) string { return map[string]string{"NOTIFY_SOCKET": path}[k] }, hclog.NewNullLogger())
	if n.every != 500*time.Millisecond {
		t.Errorf("pings every %s, want a quarter of the limit", n.every)
	}
	n.Alive("mysql")
	buf := make([]byte, 100)
	if err := l.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	k, err := l.Read(buf)
	if err != nil || string(buf[:k]) != "WATCHDOG=1" {
		t.Errorf("got %q, %v", buf[:k], err)
	}
}
