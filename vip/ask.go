package vip

import (
	"context"
	"fmt"
	"time"
)

// Ask asks the network once who has the VIPs, and waits that long for an answer
// (0: 20 ms): a *DuplicateError names the first host that answers, nil says that
// none did. It fails with ErrNoLink when a device is missing or down, without
// CAP_NET_RAW, and with ctx. It changes nothing here, fences included, and nobody
// learns anything from the question (RFC 5227 section 1.1).
func Ask(ctx context.Context, specs []Spec, wait time.Duration) error {
	s, err := unguarded(Config{VIPs: specs, Probe: wait})
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.refresh()
	if err != nil {
		return err
	}
	if why := r.linkWhy(specs); why != "" {
		return fmt.Errorf("%w: %s", ErrNoLink, why)
	}
	p, err := s.startProbe()
	defer p.end()
	if err != nil {
		return err
	}
	return p.wait(ctx)
}
