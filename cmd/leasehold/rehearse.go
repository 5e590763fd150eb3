package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"leasehold/election"
)

// rehearsal is what a binary says that it would run with: one line of JSON, from
// "leasehold run --rehearse". The process that asks may be of another version, so
// names once given stay.
type rehearsal struct {
	Leasehold string              `json:"leasehold"` // its version
	Layout    int                 `json:"layout"`    // of the state files that it can take up
	Node      string              `json:"node"`
	RunDir    string              `json:"run_dir"`
	BPFDir    string              `json:"bpf_dir"`
	Services  map[string][]string `json:"services"` // the VIPs of each
}

// rehearse does what run does before it touches anything, and says what for.
func (a *app) rehearse(getenv func(string) string) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if err := cfg.checkCapabilities(); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if _, problems := checkFiles(cfg, getenv, time.Now()); len(problems) > 0 {
		return problems
	}
	cluster, err := openEtcd(cfg, hclog.NewNullLogger())
	if err != nil {
		return err
	}
	if err := cluster.Close(); err != nil {
		return err
	}
	return json.NewEncoder(a.out).Encode(rehearsalOf(cfg))
}

func rehearsalOf(cfg *Config) rehearsal {
	r := rehearsal{
		Leasehold: versionText(), Layout: election.SavedLayout,
		Node: cfg.Node, RunDir: cfg.RunDir, BPFDir: cfg.BPFDir, Services: map[string][]string{},
	}
	for i := range cfg.Services {
		r.Services[cfg.Services[i].Name] = cfg.Services[i].specTexts()
	}
	return r
}

// specTexts are the VIPs in the words of the configuration.
func (s *Service) specTexts() []string {
	out := make([]string, len(s.VIPs))
	for i, v := range s.VIPs {
		out[i] = v.Spec.String()
	}
	return out
}

// rehearseLimit is how long a rehearsal may take; 30 ms is usual.
const rehearseLimit = 5 * time.Second

// askRehearsal runs the binary at path, with this process's arguments, and
// returns what it would do. The error is what it says against it.
func askRehearsal(ctx context.Context, path string, args []string) (rehearsal, error) {
	ctx, cancel := context.WithTimeout(ctx, rehearseLimit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, append(slices.Clone(args[1:]), "--"+rehearseFlag)...) //nolint:gosec // the own binary
	cmd.Stdout, cmd.Stderr = &capped{b: &stdout}, &capped{b: &stderr}
	cmd.WaitDelay = time.Second
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "NOTIFY_SOCKET=") || strings.HasPrefix(s, "WATCHDOG_")
	})
	if err := cmd.Run(); err != nil {
		if late := ctx.Err(); late != nil {
			err = fmt.Errorf("no answer within %s", rehearseLimit)
		}
		return rehearsal{}, fmt.Errorf("%s cannot run in place of this process: %w%s", path, err, afterColon(stderr.String()))
	}
	var r rehearsal
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || r.Leasehold == "" {
		return rehearsal{}, fmt.Errorf("%s is not a leasehold that can take over in place: restart the daemon for it", path)
	}
	return r, nil
}

// capped keeps the first few kilobytes of what a child says.
type capped struct{ b *bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.b.Write(p[:min(len(p), 4<<10-min(c.b.Len(), 4<<10))])
	return len(p), nil
}

// afterColon puts what a child said behind an error, on one line.
func afterColon(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return ""
	}
	return ": " + s
}
