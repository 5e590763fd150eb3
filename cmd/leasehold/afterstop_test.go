package main

import (
	"path/filepath"
	"strings"
	"testing"

	"leasehold/vip"
)

// Restart=always starts the daemon again after all but a stop.
func TestComesBack(t *testing.T) {
	for _, tc := range []struct {
		result, code, status string
		want                 bool
	}{
		{"success", "exited", "0", false},
		{"success", "killed", "TERM", false}, // by a stop, before the daemon listened to it
		{"success", "killed", "HUP", true},   // by a reload, likewise
		{"timeout", "killed", "KILL", false},
		{"signal", "killed", "KILL", true},
		{"core-dump", "dumped", "SEGV", true},
		{"watchdog", "killed", "KILL", true},
		{"exit-code", "exited", "2", true},
		{"oom-kill", "killed", "KILL", true},
		{"protocol", "exited", "0", true},
	} {
		if got := comesBack(tc.result, tc.code, tc.status); got != tc.want {
			t.Errorf("comesBack(%s, %s, %s) = %v", tc.result, tc.code, tc.status, got)
		}
	}
}

func TestAfterStop(t *testing.T) {
	file := configFile(t)
	t.Setenv("SERVICE_RESULT", "")
	if code, _, stderr := leasehold(t, "release", "--after-stop", "-c", file); code != exitUsage || !strings.Contains(stderr, "leave it out") {
		t.Errorf("by hand: exit code %d: %s", code, stderr)
	}
	t.Setenv("SERVICE_RESULT", "signal")
	if code, stdout, stderr := leasehold(t, "release", "--after-stop", "-c", "/nonexistent"); code != exitFine || !strings.Contains(stdout, "left to the next one") {
		t.Errorf("killed: exit code %d: %s%s", code, stdout, stderr)
	}
	if err := vip.CheckCapabilities(); err != nil {
		t.Skip(err)
	}
	t.Setenv("SERVICE_RESULT", "timeout")
	if code, stdout, stderr := leasehold(t, "release", "--after-stop", "-c", file); code != exitFine || stdout != "" {
		t.Errorf("nothing left: exit code %d: %s%s", code, stdout, stderr)
	}
	lock, err := lockRunDir(t.Context(), filepath.Join(filepath.Dir(file), "run"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if code, stdout, stderr := leasehold(t, "release", "--after-stop", "-c", file); code != exitFine || !strings.Contains(stdout, "left to it") {
		t.Errorf("another daemon is there: exit code %d: %s%s", code, stdout, stderr)
	}
}
