package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leasehold/vip"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	first, err := lockRunDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lockRunDir(t.Context(), dir, 0)
	if want := fmt.Sprintf("another leasehold runs here, pid %d", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := lockRunDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	again.Close()
}

func TestLockRefused(t *testing.T) {
	file := writeFile(t, "run", "", 0o600)
	if _, err := lockRunDir(t.Context(), file, 0); err == nil || !strings.Contains(err.Error(), "make run_dir") {
		t.Errorf("a file for a folder: got %v", err)
	}
}

// A daemon that follows one that is dying gets the lock when that has died.
func TestLockIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	first, err := lockRunDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(30*time.Millisecond, func() { first.Close() })
	second, err := lockRunDir(t.Context(), dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

// release is refused while a daemon has the lock.
func TestReleaseWhileRunning(t *testing.T) {
	if err := vip.CheckCapabilities(); err != nil {
		t.Skip(err)
	}
	file := configFile(t)
	lock, err := lockRunDir(t.Context(), filepath.Join(filepath.Dir(file), "run"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	code, _, stderr := leasehold(t, "release", "-c", file)
	if code != exitRuntime || !strings.Contains(stderr, "another leasehold runs here") || !strings.Contains(stderr, "systemctl stop leasehold") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// A purge removes the file that a daemon waits for: the daemon then has the lock
// on the file that the next one will find.
func TestLockRemovedWhileWaiting(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	purging, err := lockRunDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		f, err := lockRunDir(t.Context(), dir, time.Minute)
		if err == nil {
			defer f.Close()
			_, err = lockRunDir(t.Context(), dir, 0)
			if errors.Is(err, errLocked) {
				err = nil
			} else {
				err = fmt.Errorf("a third one: %w; want it kept out", err)
			}
		}
		done <- err
	}()
	for opened(t, filepath.Join(dir, lockName)) < 2 {
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := purging.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// opened is how often this process has a file open.
func opened(t *testing.T, path string) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path { // one may have been closed meanwhile
			n++
		}
	}
	return n
}
