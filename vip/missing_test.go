package vip

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ebpflink "github.com/cilium/ebpf/link"
	"github.com/hashicorp/go-hclog"

	"leasehold/vip/fence"
)

// A journal keeps what a Set logs.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// order returns the place of the first line with each text; -1 without one.
func (j *journal) order(texts ...string) []int {
	j.mu.Lock()
	defer j.mu.Unlock()
	var at []int
	for _, text := range texts {
		at = append(at, strings.Index(j.b.String(), text))
	}
	return at
}

// A fence of which something is missing: the address goes, then it is put back
// shut, then Bind opens it.
func TestFenceMissing(t *testing.T) {
	detach := func(t *testing.T, pins []string) {
		for _, pin := range pins {
			l, err := ebpflink.LoadPinnedLink(pin, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(l.(interface{ Detach() error }).Detach(), l.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		kind fence.Kind
		lose func(t *testing.T, pins []string)
	}{
		"tcx links detached":     {fence.TCX, detach},
		"one tcx link detached":  {fence.TCX, func(t *testing.T, pins []string) { detach(t, pins[:1]) }},
		"tcx pins removed":       {fence.TCX, removeAll},
		"clsact qdisc deleted":   {fence.Clsact, func(t *testing.T, _ []string) { tc(t, "qdisc", "del", "dev", dev, "clsact") }},
		"clsact filters deleted": {fence.Clsact, func(t *testing.T, _ []string) { tc(t, "filter", "del", "dev", dev, "ingress") }},
		"clsact pins removed":    {fence.Clsact, removeAll},
	} {
		t.Run(name, func(t *testing.T) {
			p := network(t)
			dir := bpffs(t)
			log := &journal{}
			s, err := New(Config{VIPs: specs(t, spec4, spec6), Fence: FenceRequired, BPFDir: dir, kind: c.kind, Log: hclog.New(&hclog.LoggerOptions{Output: log})})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			run(t, s)
			client := newClient(t, p)
			bind(t, s, 30*time.Second)
			if kind := s.State().Fence.Kind; kind != string(c.kind) {
				t.Fatalf("kind %q; want %q: %s", kind, c.kind, s.State().NoGuard)
			}
			pins, err := filepath.Glob(dir + "/*/*_*")
			if err != nil || len(pins) < 8 {
				t.Fatalf("pins %v, %v; want two on each of eth0 and lo, for each VIP", pins, err)
			}
			start := time.Now()
			c.lose(t, pins)
			await(t, "the VIPs go", func() bool { return !s.State().Bound })
			t.Logf("seen after %s", time.Since(start))
			await(t, "the fence is back", func() bool { return s.check() == nil })
			at := log.order("fence incomplete", "vip removed", "fence put back")
			if at[0] < 0 || at[1] < at[0] || at[2] < at[1] {
				t.Errorf("found, address removed, put back at %v; want in that order", at)
			}
			if st := s.State(); len(st.Copies) != 0 || st.Fence.Until != 0 || st.Fence.Missing != "" {
				t.Errorf("State() = %+v; want no copies, a whole fence, shut", st)
			}
			bind(t, s, 30*time.Second)
			if !client.answered(t, vip4, patience) || !client.answered(t, vip6, patience) {
				t.Error("not answered for after Bind")
			}
			release(t, s)
		})
	}
}

func removeAll(t *testing.T, paths []string) {
	for _, p := range paths {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
}

func tc(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("tc", args...).CombinedOutput(); err != nil {
		t.Fatalf("tc %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// check is what Run asks each second.
func (s *Set) check() error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.guard.(*fenceGuard).check()
}
