package demo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// askEvery is how often a question that costs something is asked again.
const askEvery = 50 * time.Millisecond

// await asks until the answer is true, and then returns its error, or until ctx
// ends, with an error that names what was waited for and what was said last.
func await(ctx context.Context, what string, ask func() (bool, error)) error {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		done, err := ask()
		if done {
			return err
		}
		if err == nil {
			err = errors.New("not yet")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w)", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// patiently is await with a limit of its own.
func patiently(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return await(ctx, what, ask)
}
