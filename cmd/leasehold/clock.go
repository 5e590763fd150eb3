package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// clockEvery is how often the clock's rate is looked at.
	clockEvery = time.Minute

	// clockBound is ρ, what two clocks may differ by in rate: 1 %. Beyond half of
	// it this one is said to be off, because the other one may be, the other way.
	clockBound = 5000.0 // ppm
)

// watchClock says in the log when this host's clock runs at a rate that the
// margins do not cover. It changes nothing: a clock that is slewed that fast is
// being set, and the operator has to say how (chrony: maxslewrate).
func watchClock(ctx context.Context, rate func() (float64, error), log hclog.Logger) error {
	t := time.NewTicker(clockEvery)
	defer t.Stop()
	last := ""
	for {
		if said := clockTrouble(rate()); said != last {
			if last = said; said != "" {
				log.Warn("the clock's rate", "trouble", said)
			} else {
				log.Info("the clock's rate is in bounds again")
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// clockTrouble puts a rate that is out of bounds in words; empty: it is not.
func clockTrouble(ppm float64, err error) string {
	switch {
	case err != nil:
		return err.Error() + ": a clock that is slewed too fast would go unnoticed"
	case ppm > clockBound || ppm < -clockBound:
		return fmt.Sprintf("this clock is being slewed by %.0f ppm; the time that a tenure is safe for covers clocks up to 1 %% (10000 ppm) apart; set maxslewrate 5000 in chrony.conf, or step the clock", ppm)
	}
	return ""
}
