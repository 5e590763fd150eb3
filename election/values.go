package election

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// maxValue bounds what is read of a key: whatever is longer was written by
// somebody else.
const maxValue = 4 << 10

const (
	// longestPause is what a pause until a later moment is cut down to, and
	// longestTTL more than any tenure that covers one: far from where a moment on
	// the clock plus a duration wraps round, which is 292 years.
	longestPause = 10 * 365 * 24 * time.Hour
	longestTTL   = 2 * longestPause

	// maxEpoch is far above any real epoch, and what other programs' JSON numbers
	// hold exactly.
	maxEpoch = 1 << 53
)

// Seconds is a duration that is a word in JSON ("3s", "1h1m0s"), because the
// values are made to be read with etcdctl.
type Seconds time.Duration

// MarshalText writes the duration as time.Duration prints it.
func (s Seconds) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText reads what time.ParseDuration reads, and refuses what is
// negative or longer than any tenure.
func (s *Seconds) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	if err != nil {
		return err
	}
	if d < 0 || d > longestTTL {
		return fmt.Errorf("duration %s is negative, or longer than %s", d, longestTTL)
	}
	*s = Seconds(d)
	return nil
}

// HolderValue is the value of the holder key.
type HolderValue struct {
	Node  string    `json:"node"`
	TTL   Seconds   `json:"ttl"`
	Epoch int64     `json:"epoch"`
	VIPs  []string  `json:"vips"`
	Since time.Time `json:"since"`

	// Paused: the key hangs on the lease of a pause, whose length is the tenure's.
	Paused bool `json:"paused,omitempty"`
}

// Tenure states.
const (
	TenureHeld     = "held"
	TenureReleased = "released"
)

// TenureValue is the record of the latest tenure. TTL is what a waiter has to
// wait for once it cannot see the holder key any more.
type TenureValue struct {
	Epoch int64     `json:"epoch"`
	Node  string    `json:"node"`
	Lease LeaseID   `json:"lease"`
	TTL   Seconds   `json:"ttl"`
	State string    `json:"state"`
	Why   string    `json:"why,omitempty"`
	At    time.Time `json:"at"`
}

// MemberValue is what a node says of itself.
type MemberValue struct {
	Node     string    `json:"node"`
	Priority int       `json:"priority"`
	Eligible bool      `json:"eligible"`
	Why      string    `json:"why,omitempty"`
	Preempt  bool      `json:"preempt,omitempty"`
	VRRP     string    `json:"vrrp,omitempty"`
	Version  string    `json:"version"`
	Since    time.Time `json:"since"`
}

// same reports whether two values say the same.
func (m MemberValue) same(o MemberValue) bool {
	since := m.Since.Equal(o.Since)
	m.Since, o.Since = time.Time{}, time.Time{}
	return since && m == o
}

// PauseValue is what `leasehold pause` writes. An operator may write anything
// else: the key alone pauses, and a value that is not JSON is taken as the reason.
type PauseValue struct {
	Until  *time.Time `json:"until,omitempty"`
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by,omitempty"`
}

// SwitchoverValue asks the holder to hand over. An empty To means the best standby.
type SwitchoverValue struct {
	To string `json:"to,omitempty"`
	By string `json:"by,omitempty"`
}

// HistoryValue is the entry of one tenure, written by the node that began it.
type HistoryValue struct {
	Epoch int64     `json:"epoch"`
	From  string    `json:"from,omitempty"`
	To    string    `json:"to"`
	Why   string    `json:"why"`
	GapMS float64   `json:"gap_ms"`
	At    time.Time `json:"at"`
}

// LeaseID is an etcd lease, written in hex as etcdctl prints and takes it.
type LeaseID int64

// String prints the id as etcdctl does.
func (l LeaseID) String() string { return fmt.Sprintf("%x", int64(l)) }

// MarshalText writes the id in hex.
func (l LeaseID) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the id in hex.
func (l *LeaseID) UnmarshalText(b []byte) error {
	var n int64
	if _, err := fmt.Sscanf(string(b), "%x", &n); err != nil {
		return fmt.Errorf("lease id %q is not hex: %w", b, err)
	}
	*l = LeaseID(n)
	return nil
}

// encode makes the one line of JSON that a key holds. The values are our own
// types, so it cannot fail.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("election: encode %T: %v", v, err))
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// decode reads a value that anybody may have written.
func decode(b []byte, v any) error {
	if len(b) > maxValue {
		return fmt.Errorf("value of %d bytes, more than %d", len(b), maxValue)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("not the JSON that belongs here: %w", err)
	}
	return nil
}

// DecodePause reads the pause key's value, in which an operator may have put
// anything.
func DecodePause(b []byte) PauseValue {
	var p PauseValue
	if decode(b, &p) == nil {
		return p
	}
	p = PauseValue{Reason: string(b[:min(len(b), 200)])}
	return p
}
