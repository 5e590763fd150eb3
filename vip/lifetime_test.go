package vip

import (
	"math"
	"testing"
	"time"

	"leasehold/internal/boottime"
)

func TestLifetime(t *testing.T) {
	const now = boottime.Instant(1000 * time.Second)
	for name, c := range map[string]struct {
		until boottime.Instant
		want  uint32
		ok    bool
	}{
		"never":             {0, 0, false},
		"past":              {now - 1, 0, false},
		"now":               {now, 0, false},
		"just under 1 s":    {now.Add(time.Second - 1), 0, false},
		"1 s":               {now.Add(time.Second), 1, true},
		"rounded down":      {now.Add(3*time.Second - 1), 2, true},
		"a pause of a day":  {now.Add(24 * time.Hour), 86400, true},
		"never is not ever": {math.MaxInt64, math.MaxInt32, true},
		"far past":          {math.MinInt64, 0, false},
	} {
		if got, ok := Lifetime(now, c.until); got != c.want || ok != c.ok {
			t.Errorf("%s: Lifetime() = %d, %v; want %d, %v", name, got, ok, c.want, c.ok)
		}
	}
}

func TestFencedLifetime(t *testing.T) {
	const now = boottime.Instant(1000 * time.Second)
	for name, c := range map[string]struct {
		until boottime.Instant
		want  uint32
		ok    bool
	}{
		"never":            {0, 0, false},
		"past":             {now - 1, 0, false},
		"now":              {now, 0, false},
		"a moment":         {now + 1, 2, true},
		"1 s":              {now.Add(time.Second), 2, true},
		"over 1 s":         {now.Add(time.Second + 1), 3, true},
		"a pause of a day": {now.Add(24 * time.Hour), 86401, true},
		"for ever":         {math.MaxInt64, math.MaxInt32, true},
	} {
		got, ok := fencedLifetime(now, c.until)
		if got != c.want || ok != c.ok {
			t.Errorf("%s: fencedLifetime() = %d, %v; want %d, %v", name, got, ok, c.want, c.ok)
		}
		end := now.Add(time.Duration(got) * time.Second)
		if ok && got < math.MaxInt32 && (end < c.until.Add(time.Second) || end > c.until.Add(beyond)) {
			t.Errorf("%s: ends %s after until; want 1s to %s", name, end.Sub(c.until), beyond)
		}
	}
}

func TestCheckStatus(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		ok     bool
	}{
		"root":      {"Name:\tx\nCapEff:\t000001ffffffffff\n", true},
		"the two":   {"CapEff:\t0000000000003000\n", true},
		"admin":     {"CapEff:\t0000000000001000\n", false},
		"raw":       {"CapEff:\t0000000000002000\n", false},
		"none":      {"CapEff:\t0000000000000000\n", false},
		"permitted": {"CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n", false},
		"no line":   {"Name:\tx\n", false},
		"no number": {"CapEff:\tx\n", false},
	} {
		if err := checkStatus(c.status); (err == nil) != c.ok {
			t.Errorf("%s: %v; want ok %v", name, err, c.ok)
		}
	}
}
