package election

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"leasehold/internal/boottime"
)

// crashEnv makes the test binary a daemon that TestCrash kills.
const crashEnv = "LEASEHOLD_TEST_CRASH"

// crashChild holds a service until it is killed. It says "held" once the state
// file has its tenure.
func crashChild() int {
	var cfg Config
	if err := json.Unmarshal([]byte(os.Getenv(crashEnv)), &cfg); err != nil {
		fmt.Println(err)
		return 2
	}
	cluster, err := Open(Options{Endpoints: os.Args[1:2]}, hclog.NewNullLogger())
	if err != nil {
		fmt.Println(err)
		return 2
	}
	c := New(cfg, cluster, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for range c.Changed() {
			c.Say(MemberValue{Node: cfg.Node, Priority: 100, Eligible: true, Version: "test"})
			s := c.State()
			c.Campaign(s.HeldUntil == 0)
			if s.HeldUntil != 0 {
				if b, _ := os.ReadFile(cfg.StateFile); strings.Contains(string(b), fmt.Sprintf(`"epoch":%d,`, s.Epoch)) {
					fmt.Println("held")
				}
			}
		}
	}()
	if err := c.Run(ctx); err != nil {
		fmt.Println(err)
	}
	return 1
}

// crashed leaves what a daemon leaves that was killed while it held.
func crashed(t *testing.T, e *etcdServer, cfg Config) {
	t.Helper()
	vacate(t, e.client(t), cfg.Service)
	b, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], e.url)
	cmd.Env = append(os.Environ(), crashEnv+"="+string(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "held\n" {
		t.Errorf("the daemon said %q, %v", line, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestCrashAndRestart(t *testing.T) {
	t.Parallel()
	e := sharedEtcd(t)
	edit := func(f func(s *Saved)) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			boot, err := boottime.ID()
			if err != nil {
				t.Fatal(err)
			}
			var s Saved
			b, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(b, &s)
			}
			if err != nil || s.Boot != boot {
				t.Fatalf("state file %s: %v", b, err)
			}
			f(&s)
			if err := writeSaved(path, &s); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(value string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(value), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		harm  func(*testing.T, string)
		adopt bool
		log   string
	}{
		"as it was":        {func(*testing.T, string) {}, true, ""},
		"garbage":          {write("\x00\xff{{{"), false, "not a state file"},
		"truncated":        {func(t *testing.T, path string) { truncate(t, path) }, false, "not a state file"},
		"empty":            {write(""), false, "not a state file"},
		"other boot":       {edit(func(s *Saved) { s.Boot = "another" }), false, "from before a reboot"},
		"other node":       {edit(func(s *Saved) { s.Node = "b" }), false, "of node"},
		"other service":    {edit(func(s *Saved) { s.Service = "another" }), false, "about service"},
		"other layout":     {edit(func(s *Saved) { s.Layout++ }), false, "another version"},
		"other cluster":    {edit(func(s *Saved) { s.Cluster++ }), false, "granted by the etcd cluster"},
		"forged deadline":  {edit(func(s *Saved) { s.Now.Deadline = s.Now.Deadline.Add(testTTL) }), false, "later than the ttl"},
		"far deadline":     {edit(func(s *Saved) { s.Now.Deadline = s.Now.Deadline.Add(2 * time.Hour) }), false, "no ttl is longer"},
		"negative":         {edit(func(s *Saved) { s.Now.Deadline = -1 }), false, "deadline -1"},
		"no epoch":         {edit(func(s *Saved) { s.Epoch = 0 }), false, "epoch 0"},
		"huge":             {write(strings.Repeat(" ", savedLimit+1)), false, "bytes"},
		"for all to write": {func(t *testing.T, path string) { chmod(t, path, 0o622) }, false, "others may write it"},
		"of another user":  {func(t *testing.T, path string) { chown(t, path) }, false, "belongs to user"},
		"symbolic link":    {link, false, "symbolic link"},
		"a directory":      {func(t *testing.T, path string) { replace(t, path, func() error { return os.Mkdir(path, 0o700) }) }, false, "not a regular file"},
		"a fifo":           {func(t *testing.T, path string) { replace(t, path, func() error { return unix.Mkfifo(path, 0o600) }) }, false, "not a regular file"},
		"other lease":      {edit(func(s *Saved) { s.Now.Lease++ }), false, ""},
		"earlier tenure":   {edit(func(s *Saved) { s.Epoch-- }), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t, "a")
			cfg.StateFile = filepath.Join(t.TempDir(), "mysql.json")
			crashed(t, e, cfg)
			c.harm(t, cfg.StateFile)
			comeBack(t, e, cfg, c.adopt, c.log)
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// chown gives the file away, which takes root.
func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
}

// link puts a symbolic link to the good file in its place.
func link(t *testing.T, path string) {
	t.Helper()
	err := os.Rename(path, path+".real")
	if err == nil {
		err = os.Symlink(path+".real", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// replace puts something else in the file's place.
func replace(t *testing.T, path string, put func() error) {
	t.Helper()
	if err := errors.Join(os.Remove(path), put()); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// comeBack starts the daemon anew and fails when it adopts the tenure and should
// not, or the reverse.
func comeBack(t *testing.T, e *etcdServer, cfg Config, adopt bool, log string) {
	t.Helper()
	var said strings.Builder
	cluster := open(t, Options{Endpoints: urls(e)})
	c := New(cfg, cluster, hclog.New(&hclog.LoggerOptions{Output: &said, Level: hclog.Warn}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- c.Run(ctx) }()
	eventually(t, soon, "the keys are read", func() bool { return c.State().Known })
	s := c.State()
	switch held := s.HeldUntil != 0; {
	case held != adopt:
		t.Errorf("held %v, want %v: %+v", held, adopt, s)
	case held && s.Epoch != 8:
		t.Errorf("adopted epoch %d, want 8", s.Epoch)
	case held:
		t.Logf("adopted after %v, held for another %v", time.Since(start), s.HeldUntil.Sub(boottime.Now()))
		eventually(t, soon, "renewed", func() bool { return c.State().HeldUntil.Sub(boottime.Now()) > testTTL*8/10 })
		c.Release(s.Epoch, "test")
	default:
		if at := s.FreeAt.Sub(boottime.Now()); at < testTTL/2 {
			t.Errorf("it may take over in %v, although the last tenure may run", at)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if log != "" && !strings.Contains(said.String(), log) {
		t.Errorf("logged %q, want it to say %q", said.String(), log)
	}
}
