package main

import (
	"strings"
	"testing"

	"leasehold/internal/member"
)

// What is said of a wipe, by what the others say of this host's member.
func TestAfterWipe(t *testing.T) {
	mine := &member.Record{Node: "db20-025", Member: "8e9e05c52164694e"}
	for name, tc := range map[string]struct {
		edit   func(*memberFacts)
		record *member.Record
		want   string
	}{
		"still a member":        {func(f *memberFacts) { f.silence(f.node) }, mine, "still has db20-025 as a member (8e9e05c52164694e)"},
		"no record of them":     {func(f *memberFacts) { f.silence(f.node) }, nil, "leasehold member replace db20-025; then here: systemctl start"},
		"replaced":              {func(f *memberFacts) { f.fresh(f.node); f.list[1].ID = 0x99 }, mine, "has a new place for db20-025 (99)"},
		"replaced, no record":   {func(f *memberFacts) { f.fresh(f.node) }, nil, "has a new place for db20-025"},
		"removed":               {func(f *memberFacts) { f.list = append(f.list[:1], f.list[2:]...) }, mine, "leasehold member add db20-025 10.20.8.27"},
		"others have no quorum": {func(f *memberFacts) { f.silence(f.node, "witness"); f.confirmed = false }, mine, "may be what brings the cluster back"},
		"nobody answers": {func(f *memberFacts) {
			f.silence("db20-024", "db20-025", "witness")
			f.list, f.listErr, f.confirmed = nil, errNoMember, false
		}, mine, "they may be the last copy"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parse(goodEmbedded)
			if err != nil {
				t.Fatal(err)
			}
			f := testMembers(t)
			tc.edit(&f)
			if got := strings.Join(afterWipe(cfg, tc.record, assessMembership(f)), "\n"); !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	cfg, err := parse(withEmbedded(t, "{db20-024: 10.20.8.50, db20-025: 10.20.8.27, witness: 10.20.8.28}", "{db20-025: 10.20.8.27}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := afterWipe(cfg, mine, MembersStatus{}); !strings.Contains(got[0], "the only member") {
		t.Errorf("got %q", got)
	}
}
