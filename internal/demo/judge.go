package demo

import (
	"errors"
	"fmt"
	"time"

	"leasehold/internal/lab"
)

// probeEvery is the prober's pace.
const probeEvery = 2 * time.Millisecond

// verdict holds a report to what must be true; holder is who answered before.
type verdict func(r lab.Report, holder string) error

// never holds what must be true in every step: at no instant two hosts, neither in
// the answers on the wire nor in the kernels.
func never(r lab.Report) error {
	var errs []error
	if len(r.Duals) > 0 {
		errs = append(errs, fmt.Errorf("%d questions for the VIP were answered by two hosts", len(r.Duals)))
	}
	if r.Overlap() > 0 {
		errs = append(errs, fmt.Errorf("two kernels had the VIP for %v", r.Overlap()))
	}
	return errors.Join(errs...)
}

// stays holds that the holder answered every probe.
func stays(r lab.Report, holder string) error {
	err := never(r)
	if len(r.Moves) != 1 || r.Moves[0].To != holder || r.Lost > 0 {
		err = errors.Join(err, fmt.Errorf("answered by %q, %d probes lost; want %s alone, and none", r.Path(), r.Lost, holder))
	}
	return err
}

// moves holds that the VIP went from the holder to the other MySQL host within a
// limit.
func moves(limit time.Duration) verdict {
	return func(r lab.Report, holder string) error {
		err := never(r)
		if len(r.Moves) != 2 || r.Moves[0].To != holder || r.Moves[1].To != other(holder) {
			err = errors.Join(err, fmt.Errorf("answered by %q, want %s, then %s", r.Path(), holder, other(holder)))
		}
		if late(r, limit) {
			err = errors.Join(err, fmt.Errorf("%s without service, %d probes lost; want at most %s", short(r.Gap.Length()), r.Lost, short(limit)))
		}
		return err
	}
}

// late reports that there was no service for longer than the limit. A prober that
// was held up meanwhile has not seen that there was none.
func late(r lab.Report, limit time.Duration) bool {
	return r.Gap.Open || r.Gap.Length() > limit && !heldUp(r, limit)
}

// heldUp reports that the machine had no time for the prober: it has lost less than
// half of the probes that it sends in d.
func heldUp(r lab.Report, d time.Duration) bool { return r.Lost <= int(d/probeEvery/2) }

// quiet holds that nothing was lost and nothing moved, whoever holds.
func quiet(r lab.Report) error {
	err := never(r)
	if r.Lost > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d probes lost between the faults, want none", r.Lost, r.Sent))
	}
	return err
}
