package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestWatchClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := hclog.New(&hclog.LoggerOptions{Output: &out, DisableTime: true})
		rates := []float64{0, 83_000, 83_000, -400}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		err := watchClock(ctx, func() (float64, error) {
			r := rates[0]
			if len(rates) > 1 {
				rates = rates[1:]
			}
			return r, nil
		}, log)
		if err != nil {
			t.Errorf("watchClock() = %v, want nil when it is told to end", err)
		}
		if got := strings.Count(out.String(), "83000 ppm"); got != 1 || !strings.Contains(out.String(), "maxslewrate") || !strings.Contains(out.String(), "in bounds again") {
			t.Errorf("said %d times, want once, with what to do, and the end of it:\n%s", got, out.String())
		}
	})
	if got := clockTrouble(0, errors.New("refused")); !strings.Contains(got, "refused") {
		t.Errorf("clockTrouble of an error = %q", got)
	}
}
