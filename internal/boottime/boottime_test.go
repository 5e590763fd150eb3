package boottime

import (
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	for name, c := range map[string]struct {
		tick, freq int64
		want       float64
	}{
		"not slewed":             {10_000, 0, 0},
		"ntpd's most":            {10_000, 500 << 16, 500},
		"a tick of 1 % more":     {10_100, 0, 10_000},
		"slower, and a fraction": {9_999, -(1 << 15), -100.5},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rate(c.tick, c.freq); got != c.want {
				t.Errorf("rate(%d, %d) = %v ppm, want %v", c.tick, c.freq, got, c.want)
			}
		})
	}
	if ppm, err := Rate(); err != nil || ppm < -100_000 || ppm > 100_000 {
		t.Errorf("Rate() = %v, %v; want what this kernel says, below 10 %%", ppm, err)
	}
}

func TestNowGoesForward(t *testing.T) {
	a := Now()
	b := Now()
	if b.Before(a) || a.IsZero() {
		t.Errorf("Now() = %d, then %d", a, b)
	}
	if got := a.Add(time.Second).Sub(a); got != time.Second {
		t.Errorf("a second later is %v later", got)
	}
}

func TestID(t *testing.T) {
	if id, err := ID(); err != nil || len(id) != 36 {
		t.Errorf("ID() = %q, %v; want a UUID", id, err)
	}
}
