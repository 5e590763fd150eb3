package vip

import (
	"context"
	"errors"
	"testing"
	"time"
)

// Ask names who has a VIP, and touches neither it nor its fence.
func TestAsk(t *testing.T) {
	p := network(t)
	dir := bpffs(t)
	fencedSet(t, dir, spec4)
	before, err := ReadFence(dir, specs(t, spec4))
	if err != nil {
		t.Fatal(err)
	}
	if err := Ask(t.Context(), specs(t, spec4, spec6), 0); err != nil {
		t.Errorf("Ask() with nobody = %v; want nil", err)
	}
	ip(t, p, "addr", "add", vip4+"/24", "dev", "far0")
	err = Ask(t.Context(), specs(t, spec4, spec6), time.Second)
	d, ok := errors.AsType[*DuplicateError](err)
	if !ok || d.Addr.String() != "10.20.8.188" || d.Device != dev || len(d.MAC) != 17 {
		t.Errorf("Ask() = %v; want the duplicate", err)
	}
	if after, err := ReadFence(dir, specs(t, spec4)); err != nil || after != before {
		t.Errorf("the fence was %+v and is %+v, %v", before, after, err)
	}
	if err := Ask(t.Context(), specs(t, "10.20.9.188/24 dev eth7"), 0); !errors.Is(err, ErrNoLink) {
		t.Errorf("Ask() without the device = %v; want ErrNoLink", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ask(ctx, specs(t, spec4), time.Minute); err == nil {
		t.Error("Ask() that is cancelled says that it is done")
	}
}
