package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"leasehold/election"
	"leasehold/internal/member"
)

// Who is asked for the list, and what counts: one that the leader confirms, from
// those that have just had a read confirmed; else what others remember. Members that
// only the cluster knows are asked as well.
func TestMemberGather(t *testing.T) {
	cfg, err := parse(goodEmbedded)
	if err != nil {
		t.Fatal(err)
	}
	const own, second, third, more = "https://10.20.8.27:2379", "https://10.20.8.50:2379", "https://10.20.8.28:2379", "https://10.20.8.29:2379"
	dead, blind := errors.New("refused"), errors.New("no answer in time")
	for name, tc := range map[string]struct {
		answers   map[string]election.Endpoint
		listErr   error // of a list that is to be confirmed
		confirmed bool
		asked     []string // for the list, at last
		failed    error
	}{
		"all well":          {answers: nil, confirmed: true, asked: []string{own, second, third}},
		"own dead":          {answers: map[string]election.Endpoint{own: {Err: dead}}, confirmed: true, asked: []string{second, third}},
		"own a learner":     {answers: map[string]election.Endpoint{own: {Learner: true, ReadErr: blind}}, confirmed: true, asked: []string{second, third}},
		"one alone":         {answers: map[string]election.Endpoint{own: {ReadErr: blind}, second: {Err: dead}, third: {Err: dead}}, asked: []string{own}},
		"the leader dies":   {answers: map[string]election.Endpoint{own: {ReadErr: blind}}, listErr: blind, asked: []string{own, second, third}},
		"nobody":            {answers: map[string]election.Endpoint{own: {Err: dead}, second: {Err: dead}, third: {Err: dead}}, failed: errNoMember},
		"a learner, no one": {answers: map[string]election.Endpoint{own: {Learner: true}, second: {Err: dead}, third: {Err: dead}}, failed: errNoMember},
	} {
		t.Run(name, func(t *testing.T) {
			var asked, surveyed []string
			from := memberSources{
				survey: func(_ context.Context, urls []string, _ time.Duration) []election.Endpoint {
					surveyed = append(surveyed, urls...)
					var all []election.Endpoint
					for _, u := range urls {
						e := tc.answers[u]
						e.URL = u
						all = append(all, e)
					}
					return all
				},
				list: func(_ context.Context, urls []string, confirmed bool) ([]election.EtcdMember, error) {
					if asked = slices.Clone(urls); confirmed && tc.listErr != nil {
						return nil, tc.listErr
					}
					return []election.EtcdMember{{ID: 1, Name: "x", ClientURLs: []string{own, more}}}, nil
				},
				process: func(string) (member.State, bool, error) { return member.State{}, false, nil },
				free:    func(string) (uint64, error) { return 1 << 30, nil },
			}
			f := from.gather(t.Context(), cfg, time.Second)
			if f.confirmed != tc.confirmed || !slices.Equal(asked, tc.asked) || !errors.Is(f.listErr, tc.failed) {
				t.Errorf("confirmed %t, asked %q, %v; want %t, %q, %v", f.confirmed, asked, f.listErr, tc.confirmed, tc.asked, tc.failed)
			}
			if got := slices.Contains(surveyed, more); got != (tc.failed == nil) || len(f.answers) != len(surveyed) {
				t.Errorf("asked for their state: %q", surveyed)
			}
		})
	}
}
