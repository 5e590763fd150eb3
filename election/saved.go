package election

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"leasehold/internal/boottime"
)

// Saved is what a process leaves to its successor on this host: the tenure that
// the kernel still has the VIP for.
type Saved struct {
	Boot    string    `json:"boot"`
	Service string    `json:"service"`
	Node    string    `json:"node"`
	Epoch   int64     `json:"epoch"`
	Now     SavedPart `json:"now"`
	Next    SavedPart `json:"next"` // a move to another lease that was under way
}

// SavedPart is one lease that the holder key may hang on.
type SavedPart struct {
	Lease    LeaseID          `json:"lease"`
	Long     bool             `json:"long"`     // the lease of a pause
	Deadline boottime.Instant `json:"deadline"` // CLOCK_BOOTTIME of that boot, ns
}

// Save returns what to leave behind now; nil: nothing.
func (c *Core) Save() *Saved {
	m := &c.mine
	if !m.held {
		return c.saved
	}
	s := &Saved{
		Service: c.cfg.Service, Node: c.cfg.Node, Epoch: m.epoch,
		Now: SavedPart{Lease: m.lease, Long: m.long, Deadline: m.deadline},
	}
	if n := m.moving; n != nil {
		s.Next = SavedPart{Lease: n.lease, Long: n.long, Deadline: Deadline(n.sent, n.ttl, c.cfg.Margin)}
	}
	return s
}

// readSaved reads the state file of this service. A file that is missing, from
// before a reboot or not about this node is no state, without an error; one that
// cannot be read or understood is none either, with the error for the log.
func readSaved(path, service, node, boot string) (*Saved, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the last run: %w", err)
	}
	var s Saved
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: not a state file of leasehold: %w; the VIP of the last run is removed and elected anew", path, err)
	}
	if s.Boot != boot || s.Service != service || s.Node != node || s.Now.Lease == 0 {
		return nil, nil
	}
	return &s, nil
}

// writeSaved replaces the state file, or removes it when s is nil. It is not
// synced to disk: it is of no use after a reboot.
func writeSaved(path string, s *Saved) error {
	if s == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the state file: %w", err)
		}
		return nil
	}
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the state file: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write the state file: %w", err)
	}
	return nil
}
