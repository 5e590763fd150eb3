package lab

import (
	"errors"
	"sync/atomic"
	"time"
)

// Observer is all instruments at once: the client's prober, the sniffer with
// the ARP prober, and the kernels of the hosts that may have the VIP.
type Observer struct {
	lab    *Lab
	start  time.Time
	end    atomic.Pointer[time.Time] // nil until Stop
	Prober *Prober
	Wire   *Sniffer
	ARP    *ARPProber
	Kernel *KernelWatch
}

// Observe starts all instruments for the lab's VIP on some hosts, A and B by
// default. They run until Stop or until the lab closes.
func (l *Lab) Observe(hosts ...string) (*Observer, error) {
	if len(hosts) == 0 {
		hosts = []string{A, B}
	}
	o := &Observer{lab: l}
	var err error
	if o.Kernel, err = l.WatchKernels(hosts); err != nil {
		return nil, err
	}
	if o.Wire, err = l.StartSniffer(); err != nil {
		return nil, err
	}
	if o.ARP, err = l.StartARPProber(l.VIP.Addr(), 0); err != nil {
		return nil, err
	}
	if o.Prober, err = l.StartProber(ProberConfig{Hosts: hosts}); err != nil {
		return nil, err
	}
	o.start = time.Now()
	return o, nil
}

// Stop ends the instruments and returns what they saw since the beginning. The
// error says that one of them may have missed something.
func (o *Observer) Stop() (Report, error) {
	end := time.Now()
	o.end.CompareAndSwap(nil, &end)
	err := errors.Join(o.ARP.Stop(), o.Prober.Stop(), o.Wire.Stop(), o.Kernel.Stop())
	return o.Report(o.start, end), err
}

// Report returns what was seen between two moments, at most until Stop. Answers
// that are still under way count as lost: before Stop, let to be some
// milliseconds ago.
func (o *Observer) Report(from, to time.Time) Report {
	if end := o.end.Load(); end != nil && to.After(*end) {
		to = *end
	}
	r := Report{From: from, To: to}
	r.summarize(o.Prober.Probes())
	r.wire(o.Wire.Frames(), o.lab.VIP.Addr())
	r.kernels(o.Kernel.Intervals())
	return r
}

// Summarize returns what a prober's probes show between two moments, such as
// the MySQL prober's.
func Summarize(probes []Probe, from, to time.Time) Report {
	r := Report{From: from, To: to}
	r.summarize(probes)
	return r
}
