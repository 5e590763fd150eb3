package sdlab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Command prepares argv to run inside the lab, as root, next to its systemd. A
// process that outlives ctx ends with the lab.
func (l *Lab) Command(ctx context.Context, argv ...string) *exec.Cmd {
	args := []string{
		"--target=" + strconv.Itoa(l.leader),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(args, argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.WaitDelay = time.Second
	return cmd
}

// Run runs argv inside the lab and returns its standard output without the final
// newline, also when the error says that it ended with another status than 0.
func (l *Lab) Run(ctx context.Context, argv ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := l.Command(ctx, argv...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimRight(stdout.String(), "\n"), err
}

// Systemctl runs systemctl(1) inside the lab.
func (l *Lab) Systemctl(ctx context.Context, args ...string) (string, error) {
	return l.Run(ctx, append([]string{"systemctl"}, args...)...)
}

// Show returns one property of a unit, such as StatusText or NRestarts.
func (l *Lab) Show(ctx context.Context, unit, property string) (string, error) {
	return l.Systemctl(ctx, "show", "--value", "--property="+property, unit)
}

// Signal sends a signal (KILL, STOP, …) to the main process of a unit.
func (l *Lab) Signal(ctx context.Context, unit, signal string) error {
	_, err := l.Systemctl(ctx, "kill", "--kill-whom=main", "--signal="+signal, unit)
	return err
}

// Journal returns what the units logged since the boot, for the log of a test that
// failed.
func (l *Lab) Journal(ctx context.Context, units ...string) (string, error) {
	args := []string{"journalctl", "--no-pager", "--output=short-precise"}
	for _, u := range units {
		args = append(args, "--unit="+u)
	}
	return l.Run(ctx, args...)
}

// WriteFile writes a file of the lab, making its directories. path is absolute; an
// absolute symbolic link on the way, which would lead to the host, is an error.
func (l *Lab) WriteFile(path, content string, perm os.FileMode) error {
	rel := strings.TrimPrefix(path, "/")
	if err := l.root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return err
	}
	if err := l.root.WriteFile(rel, []byte(content), perm); err != nil {
		return err
	}
	return l.root.Chmod(rel, perm) // whatever the umask
}

// Install copies a unit file to /etc/systemd/system and binaries to /usr/bin, and
// has systemd read them.
func (l *Lab) Install(ctx context.Context, unitFile string, binaries ...string) error {
	files := map[string]string{unitFile: "/etc/systemd/system/"}
	perm := map[string]os.FileMode{unitFile: 0o644}
	for _, b := range binaries {
		files[b], perm[b] = "/usr/bin/", 0o755
	}
	for from, dir := range files {
		content, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := l.WriteFile(dir+filepath.Base(from), string(content), perm[from]); err != nil {
			return fmt.Errorf("install %s: %w", from, err)
		}
	}
	_, err := l.Systemctl(ctx, "daemon-reload")
	return err
}
