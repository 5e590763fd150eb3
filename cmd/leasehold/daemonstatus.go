package main

import (
	"fmt"
	"time"

	"leasehold/internal/boottime"
	"leasehold/internal/health"
	"leasehold/internal/node"
)

// DaemonStatus is what this host's daemon says.
type DaemonStatus struct {
	OK      bool         `json:"ok"`
	Error   string       `json:"error,omitempty"`
	PID     int          `json:"pid,omitempty"`
	Version string       `json:"version,omitempty"`
	AgeMS   float64      `json:"age_ms,omitempty"`
	Loop    LoopStatus   `json:"loop"`
	Checks  ChecksStatus `json:"checks"`
}

// LoopStatus is what the loop of a service knew at its last turn.
type LoopStatus struct {
	At          time.Time `json:"at,omitzero"`
	Role        string    `json:"role"`
	Since       time.Time `json:"since,omitzero"`
	Why         string    `json:"why,omitempty"`
	Waiting     string    `json:"waiting,omitempty"`
	Failing     string    `json:"failing,omitempty"`
	Eligible    bool      `json:"eligible"`
	EligibleWhy string    `json:"eligible_why,omitempty"`
	Epoch       int64     `json:"epoch,omitempty"`
	LeftSeconds float64   `json:"left_seconds"` // of this node's tenure
	Lease       string    `json:"lease,omitempty"`
	Paused      bool      `json:"paused"`
	EtcdTrouble string    `json:"etcd_trouble,omitempty"`
	EtcdAgeMS   float64   `json:"etcd_age_ms"` // since etcd last answered; negative: never
	LinkUp      bool      `json:"link_up"`
	LinkWhy     string    `json:"link_why,omitempty"`
	Bound       bool      `json:"bound"`
	KernelAgeMS float64   `json:"kernel_age_ms"`

	Fence  LoopFence   `json:"fence"`
	Claims *LoopClaims `json:"claims,omitempty"`
	VRRP   *LoopVRRP   `json:"vrrp,omitempty"`
}

func loopStatus(s node.Snapshot) LoopStatus {
	now, wall := boottime.Now(), time.Now()
	return LoopStatus{
		At: s.At, Role: s.Role, Since: s.Since, Why: s.Why, Waiting: s.Waiting, Failing: s.Failing,
		Eligible: s.Eligible, EligibleWhy: s.EligibleWhy, Epoch: s.Epoch, LeftSeconds: s.Left.Seconds(), Lease: s.Lease,
		Paused: s.Paused, EtcdTrouble: s.Trouble, EtcdAgeMS: milliseconds(s.EtcdAge),
		LinkUp: s.VIP.LinkUp, LinkWhy: s.VIP.LinkWhy, Bound: s.VIP.Bound, KernelAgeMS: milliseconds(s.VIPAge),
		Fence: loopFence(s.VIP, now), Claims: loopClaims(s.VIP.Claim, now, wall),
		VRRP: loopVRRP(s.VRRP),
	}
}

// ChecksStatus is what the checks of a service say.
type ChecksStatus struct {
	Known   bool          `json:"known"`
	Healthy bool          `json:"healthy"`
	Why     string        `json:"why,omitempty"`
	Results []CheckStatus `json:"results"`
}

// CheckStatus is what one check says.
type CheckStatus struct {
	Name   string    `json:"name"`
	Known  bool      `json:"known"`
	OK     bool      `json:"ok"`
	Detail string    `json:"detail,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	At     time.Time `json:"at,omitzero"`
	TookMS float64   `json:"took_ms"`
}

func checksStatus(h health.State) ChecksStatus {
	s := ChecksStatus{Known: h.Known, Healthy: h.Healthy, Why: h.Why, Results: []CheckStatus{}}
	for _, r := range h.Results {
		s.Results = append(s.Results, CheckStatus{
			Name: r.Name, Known: r.Known, OK: r.OK, Detail: r.Detail, Since: r.Since, At: r.At, TookMS: milliseconds(r.Took),
		})
	}
	return s
}

func assessDaemon(f facts) DaemonStatus {
	if f.daemonErr != nil {
		return DaemonStatus{Error: f.daemonErr.Error()}
	}
	d := DaemonStatus{OK: true, PID: f.daemon.PID, Version: f.daemon.Version, AgeMS: milliseconds(f.now.Sub(f.daemon.At))}
	mine, ok := f.daemon.Services[f.service.Name]
	if !ok {
		return DaemonStatus{PID: d.PID, Error: fmt.Sprintf("pid %d runs without this service; it was started with another configuration", d.PID)}
	}
	d.Loop, d.Checks = mine.Loop, mine.Checks
	return d
}
