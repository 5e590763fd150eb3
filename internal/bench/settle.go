package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"leasehold/internal/lab"
)

// holders returns the hosts whose kernels have a VIP now.
func (s *stand) holders(v *tried) []string {
	var all []string
	for _, i := range s.kernel.Intervals() {
		if i.Addr == v.addr && i.To.IsZero() {
			all = append(all, i.Host)
		}
	}
	return all
}

// settle repairs what is broken, starts what does not run, and returns when host
// a has every VIP, alone, and host b would take it.
func (s *stand) settle(ctx context.Context) error {
	var errs []error
	for _, h := range hosts() {
		errs = append(errs, s.CablePlug(h))
	}
	for _, h := range []string{lab.A, lab.B, lab.C} {
		if !s.etcd.Process(h).Running() {
			errs = append(errs, s.etcd.Start(h))
		}
	}
	for _, h := range hosts() {
		errs = append(errs, s.start(h))
	}
	errs = append(errs, s.etcd.WaitReady(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	if err := s.eligible(ctx); err != nil {
		return err
	}
	for _, v := range s.vips {
		if err := s.bringHome(ctx, v); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	if err := s.eligible(ctx); err != nil {
		return err
	}
	for _, v := range s.vips {
		if v.prober == nil {
			continue
		}
		if err := v.prober.WaitAnswer(ctx, lab.A, generous); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

// bringHome has host a take a VIP that it has not, and waits until its kernel
// alone has it.
func (s *stand) bringHome(ctx context.Context, v *tried) error {
	if v.ours {
		home, err := s.Host(lab.A)
		if err != nil {
			return err
		}
		err = lab.Wait(ctx, generous, home.Name+" to hold "+v.service, func() (bool, error) {
			holder, err := s.holder(ctx, v.service)
			if err != nil || holder == home.Name {
				return err == nil, err
			}
			// Refused as long as the node has not said that it is well.
			_, err = s.Exec(ctx, lab.A, s.binary, "switchover", v.service, "--to", home.Name, "--config", s.ConfigFile(lab.A))
			return false, err
		})
		if err != nil {
			return err
		}
	}
	return waitEqual(ctx, fmt.Sprintf("the hosts with %s", v.addr), []string{lab.A},
		func() ([]string, error) { return s.holders(v), nil })
}

// eligible waits until every node is, for every service.
func (s *stand) eligible(ctx context.Context) error {
	want := 0
	for _, v := range s.vips {
		if v.ours {
			want += len(hosts())
		}
	}
	return waitEqual(ctx, "eligible nodes", []string{strconv.Itoa(want)}, func() ([]string, error) {
		out, err := s.etcd.Ctl(ctx, "get", "--prefix", "--print-value-only", "/leasehold/")
		return []string{strconv.Itoa(strings.Count(out, `"eligible":true`))}, err
	})
}

// waitEqual waits until what is seen is what is wanted.
func waitEqual(ctx context.Context, what string, want []string, see func() ([]string, error)) error {
	return lab.Wait(ctx, generous, what, func() (bool, error) {
		got, err := see()
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("%v, want %v", got, want)
		}
		return err == nil, err
	})
}

// holder reads the name of the node that holds a service; empty: none does.
func (s *stand) holder(ctx context.Context, service string) (string, error) {
	out, err := s.etcd.Ctl(ctx, "get", "--print-value-only", "/leasehold/"+service+"/holder")
	if err != nil || strings.TrimSpace(out) == "" {
		return "", err
	}
	var value struct {
		Node string `json:"node"`
	}
	if err := json.Unmarshal([]byte(out), &value); err != nil {
		return "", fmt.Errorf("holder value %q: %w", out, err)
	}
	return value.Node, nil
}
