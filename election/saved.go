package election

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"leasehold/internal/boottime"
)

// Saved is what a process leaves to its successor on this host: the VIPs that
// the kernel may know, and the tenure that it has them for.
type Saved struct {
	Layout  int    `json:"layout"`
	Boot    string `json:"boot"`
	Service string `json:"service"`
	Node    string `json:"node"`

	// VIPs are those that were configured, in the words of the configuration, so
	// that a start with another configuration can take away what is left of them.
	VIPs []string `json:"vips,omitempty"`

	Cluster uint64    `json:"cluster,omitempty"` // the id of the etcd that granted the tenure
	Epoch   int64     `json:"epoch"`
	Now     SavedPart `json:"now"`  // without a lease: no tenure
	Next    SavedPart `json:"next"` // a move to another lease that was under way
}

// SavedPart is one lease that the holder key may hang on.
type SavedPart struct {
	Lease    LeaseID          `json:"lease"`
	Long     bool             `json:"long"`     // the lease of a pause
	Deadline boottime.Instant `json:"deadline"` // CLOCK_BOOTTIME of that boot, ns
}

// SavedLayout is the layout of the state file. A change that an older version
// could misread counts it up.
const SavedLayout = 1

// savedTTL bounds how far ahead the deadline of a tenure may be that is not a
// pause's: the longest ttl that a configuration may have. The exact bound is that
// of the holder key, see adopt.
const savedTTL = time.Hour

// Save returns the tenure to leave behind now; nil: none.
func (c *Core) Save() *Saved {
	m := &c.mine
	if !m.held {
		return c.saved
	}
	s := &Saved{
		Service: c.cfg.Service, Node: c.cfg.Node, Cluster: c.cluster, Epoch: m.epoch,
		Now: SavedPart{Lease: m.lease, Long: m.long, Deadline: m.deadline},
	}
	if n := m.moving; n != nil {
		s.Next = SavedPart{Lease: n.lease, Long: n.long, Deadline: Deadline(n.sent, n.ttl, c.cfg.Margin)}
	}
	return s
}

// ReadSaved reads a state file. It is not believed, and the error says why, when
// it is from before a reboot, when anybody but this process's user and root could
// have written it, and when its content is not what a daemon writes. A file that
// is not there is fs.ErrNotExist.
func ReadSaved(path string) (*Saved, error) { return ReadSavedOf(path, os.Geteuid()) }

// ReadSavedOf is ReadSaved as a daemon of the given user would read it.
func ReadSavedOf(path string, uid int) (*Saved, error) {
	b, err := readPrivate(path, uid)
	if err != nil {
		return nil, err
	}
	boot, err := boottime.ID()
	if err != nil {
		return nil, err
	}
	s := &Saved{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s: not a state file of leasehold: %w", path, err)
	}
	switch {
	case s.Boot != boot:
		return nil, fmt.Errorf("%s: from before a reboot (boot id %.40q)", path, s.Boot)
	case s.Layout != SavedLayout:
		return nil, fmt.Errorf("%s: written by another version of leasehold (layout %d, this one has %d)", path, s.Layout, SavedLayout)
	}
	if err := s.check(boottime.Now()); err != nil {
		return nil, fmt.Errorf("%s: not written by leasehold: %w", path, err)
	}
	return s, nil
}

// check refuses values that no daemon writes.
func (s *Saved) check(now boottime.Instant) error {
	held := s.Now.Lease != 0
	for _, p := range []SavedPart{s.Now, s.Next} {
		switch {
		case p.Lease < 0 || p.Deadline < 0:
			return fmt.Errorf("lease %d with the deadline %d", p.Lease, p.Deadline)
		case p.Lease == 0 && (p.Long || p.Deadline != 0):
			return errors.New("a deadline without a lease")
		case !p.Long && now.Add(savedTTL).Before(p.Deadline):
			return fmt.Errorf("a deadline %s from now, and no ttl is longer than %s", p.Deadline.Sub(now).Round(time.Second), savedTTL)
		}
	}
	switch {
	case s.Epoch < 0 || held && s.Epoch == 0:
		return fmt.Errorf("epoch %d", s.Epoch)
	case !held && s.Next.Lease != 0:
		return errors.New("a move of a tenure that is not there")
	}
	return nil
}

// Held reports whether the VIPs may stay as they are at a moment, for a pause or
// for a daemon that comes back in time.
func (s *Saved) Held(now boottime.Instant) bool { return now.Before(s.until()) }

// Long reports whether the tenure is that of a pause.
func (s *Saved) Long() bool { return s.Now.Long || s.Next.Long }

func (s *Saved) until() boottime.Instant { return max(s.Now.Deadline, s.Next.Deadline) }

// same reports whether two states would make the same file.
func (s *Saved) same(o *Saved) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.Layout == o.Layout && s.Boot == o.Boot && s.Service == o.Service && s.Node == o.Node && slices.Equal(s.VIPs, o.VIPs) &&
		s.Cluster == o.Cluster && s.Epoch == o.Epoch && s.Now == o.Now && s.Next == o.Next
}

// readSaved reads the tenure that an earlier process left for this service on
// this node; nil: none. The error, for the log, says what was not believed, and
// then there is none.
func readSaved(path, service, node string) (*Saved, error) {
	s, err := ReadSaved(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: not used, so a VIP of the last run is removed and elected anew", err)
	case s.Service != service || s.Node != node:
		return nil, fmt.Errorf("%s: about service %.64q of node %.64q, this is %q of %q: not used, so a VIP of the last run is removed and elected anew",
			path, s.Service, s.Node, service, node)
	case s.Now.Lease == 0:
		return nil, nil
	}
	return s, nil
}

// doubt says why a saved part is not to be believed beside the holder key that
// it names; empty: it is. A renewal at this moment could not give a deadline
// that is later than now and the key's ttl.
func (s *Saved) doubt(p SavedPart, h *HolderKey, cluster uint64, now boottime.Instant) string {
	limit := now.Add(usable(time.Duration(h.TTL)))
	switch {
	case s.Cluster != 0 && cluster != 0 && s.Cluster != cluster:
		return fmt.Sprintf("its tenure was granted by the etcd cluster %x, and %x answers", s.Cluster, cluster)
	case limit.Before(p.Deadline):
		return fmt.Sprintf("its deadline is %s later than the ttl of %s in the holder key allows",
			p.Deadline.Sub(limit).Round(time.Millisecond), time.Duration(h.TTL))
	}
	return ""
}

// restore reads what an earlier process of this boot left.
func (c *Candidate) restore() {
	if c.cfg.StateFile == "" {
		return
	}
	boot, err := boottime.ID()
	if err != nil {
		c.log.Warn("no state of an earlier run is used", "err", err)
		return
	}
	c.boot = boot
	s, err := readSaved(c.cfg.StateFile, c.cfg.Service, c.cfg.Node)
	if err != nil {
		c.log.Warn("state of the last run", "err", err)
	}
	c.core.saved = s
}

// store keeps the state file in step with the tenure.
func (c *Candidate) store(tenure *Saved) {
	if c.cfg.StateFile == "" || c.boot == "" {
		return
	}
	s := c.toStore(tenure)
	if c.written && s.same(c.stored) {
		return
	}
	if err := writeSaved(c.cfg.StateFile, s); err != nil {
		if text := err.Error(); text != c.storing { // told once, not five times a second
			c.log.Warn("state is not kept for a restart", "err", err)
			c.storing = text
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored, c.written, c.storing = s, true, ""
}

// toStore is the whole state file for a tenure, or for none. It is nil when there
// is nothing to keep.
func (c *Candidate) toStore(tenure *Saved) *Saved {
	if tenure == nil && len(c.cfg.Specs) == 0 {
		return nil
	}
	s := Saved{Service: c.cfg.Service, Node: c.cfg.Node}
	if tenure != nil {
		s = *tenure
	}
	s.Layout, s.Boot, s.VIPs = SavedLayout, c.boot, c.cfg.Specs
	return &s
}

// Settled reports whether a process that took over from this one now would lose
// nothing: no request is under way that could change who holds, the state file
// says what is, and a tenure that is held was confirmed by a request sent after
// since. That of a pause is good without: etcd need not be there.
func (c *Candidate) Settled(since boottime.Instant) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range []Kind{KindTake, KindRelease, KindRehang} {
		if c.core.flying[k] > 0 {
			return false
		}
	}
	m := &c.core.mine
	if m.held && !m.long && m.renewed <= since {
		return false
	}
	return c.cfg.StateFile == "" || c.written && c.toStore(c.core.Save()).same(c.stored)
}
