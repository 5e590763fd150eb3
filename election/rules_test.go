package election

import (
	"testing"
	"time"

	"leasehold/internal/boottime"
)

// TestFreeFrom: a record that says "released" counts only without a holder key,
// which a release deletes in the same transaction.
func TestFreeFrom(t *testing.T) {
	const seen = boottime.Instant(1_000_000_000_000)
	held := &TenureKey{TenureValue: TenureValue{State: TenureHeld}, Seen: seen}
	released := &TenureKey{TenureValue: TenureValue{State: TenureReleased}, Seen: seen}
	bad := &TenureKey{TenureValue: TenureValue{State: TenureReleased}, Seen: seen, Bad: "no JSON"}
	holder := &HolderKey{Lease: 7, Seen: seen}
	for name, c := range map[string]struct {
		view View
		want time.Duration
	}{
		"held":                        {View{Tenure: held, Holder: holder}, testTTL},
		"held, lease ended":           {View{Tenure: held}, testTTL},
		"released":                    {View{Tenure: released}, 0},
		"released, says a stranger":   {View{Tenure: released, Holder: holder}, testTTL},
		"released, in a broken value": {View{Tenure: bad}, testTTL},
		"nothing known":               {View{}, testTTL},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.view.freeFrom(seen, 0, testTTL).Sub(seen); got != c.want {
				t.Errorf("free after %v; want %v", got, c.want)
			}
		})
	}
}
