package vip

import (
	"context"
	"fmt"
)

// Ask asks the network whether another host has one of the VIPs, as Bind does with
// probe, and changes nothing. It returns nil when none answered in time, and else
// an error that wraps a *DuplicateError. Where no fence is open this host does not
// answer meanwhile.
func (s *Set) Ask(ctx context.Context) error {
	s.op.Lock()
	defer s.op.Unlock()
	p, err := s.startProbe()
	defer p.end()
	if err == nil {
		err = p.wait(ctx)
	}
	if err != nil {
		return fmt.Errorf("ask for the VIPs: %w", err)
	}
	return nil
}
