package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"leasehold/election"
)

// cluster is one whose members are written as letters: L leads, F follows, x does
// not answer, n was added and is not started yet, o answers and knows of no leader,
// l is a learner. They are called m1, m2 …
func cluster(letters string) MembersStatus {
	s := MembersStatus{Confirmed: true}
	for i, l := range letters {
		m := EtcdMemberStatus{
			Name: fmt.Sprintf("m%d", i+1), id: uint64(i + 1), ID: fmt.Sprint(i + 1), asked: &election.Endpoint{},
			PeerURLs: []string{fmt.Sprintf("https://10.20.8.%d:2380", i+1)},
		}
		switch l {
		case 'L':
			m.State, s.Leader = memberLeader, m.Name
		case 'F':
			m.State = memberFollower
		case 'x':
			m.State, m.asked = memberSilent, nil
		case 'n':
			m.State, m.asked = memberNew, nil
		case 'o':
			m.State = memberLeaderless
		case 'l':
			m.State, m.learner = memberLearner, true
		}
		s.Members = append(s.Members, m)
	}
	s.Confirmed = s.well() >= majority(len(strings.ReplaceAll(letters, "l", "")))
	return s
}

// says compares a refusal with what it has to say; nothing: it is none.
func says(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestRefuseRemove(t *testing.T) {
	for _, tc := range []struct {
		cluster, remove string
		want            string // in the refusal; empty: it is not refused
	}{
		{"LFF", "m1", ""}, // leadership moves first
		{"LFF", "m2", ""},
		{"LFx", "m3", ""}, // the lost one
		{"LFx", "m2", "of the 2 members that stay 1 would answer, and 2 are needed: etcd would stop; repair m3 first"},
		{"LFx", "m1", "repair m3 first, or remove that one instead"},
		{"LFn", "m3", ""}, // added by mistake
		{"LFn", "m2", "repair m3 first"},
		{"Lxx", "m2", "1 of 3 members answer, and 2 have to agree to any change; bring one of m2, m3 back first"},
		{"oxx", "m2", "1 of 3 members answer"},
		{"ooF", "m3", "have no leader now"},
		{"LF", "m2", ""}, // one is no cluster, which is said, and allowed
		{"Lx", "m2", "1 of 2 members answer, and 2 have to agree"},
		{"Lx", "m1", "1 of 2 members answer"},
		{"L", "m1", "is the last member"},
		{"x", "m1", "is the last member"},
		{"Ll", "m2", ""}, // has no vote
		{"Ll", "m1", "is the last member"},
		{"LFFx", "m4", ""},
		{"LFFx", "m2", "it answers, and m4 does not: without it the loss of one more would stop etcd; repair m4 first"},
		{"LFFF", "m2", ""},
		{"LFFFx", "m2", "it answers, and m5 does not"},
		{"LFFFx", "m5", ""},
		{"LFFxx", "m4", ""},
		{"LFFxx", "m1", "of the 4 members that stay 2 would answer, and 3 are needed: etcd would stop; repair one of m4, m5 first"},
		{"LFxxx", "m5", "2 of 5 members answer, and 3 have to agree"},
		{"LFFFFx", "m2", ""}, // five stay, four answer, three are needed
		{"LFFFFF", "m6", ""},
		{"LFFFFFx", "m2", ""},
		{"LFFFFxx", "m2", "it answers, and m6, m7 do not"},
		{"LFFo", "m4", ""}, // cut off counts as lost
		{"LFFo", "m3", "repair m4 first"},
	} {
		t.Run(tc.cluster+"-"+tc.remove, func(t *testing.T) {
			s := cluster(tc.cluster)
			err := s.refuseRemove(s.find(tc.remove))
			says(t, err, tc.want)
			if err == nil {
				keepsMajority(t, s, tc.remove)
			}
		})
	}
}

// keepsMajority holds a removal that was allowed to what it must never cost.
func keepsMajority(t *testing.T, s MembersStatus, remove string) {
	t.Helper()
	well, voters := 0, 0
	for _, m := range s.Members {
		if m.Name == remove || m.learner {
			continue
		}
		voters++
		if m.well() {
			well++
		}
	}
	if well < voters/2+1 {
		t.Errorf("of %d members that stay %d are well", voters, well)
	}
}

// Over every cluster of up to seven: what is allowed leaves a majority that is
// well, and an ill member can always go while there is a majority.
func TestRemoveKeepsMajority(t *testing.T) {
	for n := 1; n <= 7; n++ {
		for ill := range n {
			letters := "L" + strings.Repeat("F", n-ill-1) + strings.Repeat("x", ill)
			s := cluster(letters)
			for i, m := range s.Members {
				err := s.refuseRemove(&s.Members[i])
				if err == nil {
					keepsMajority(t, s, m.Name)
				}
				if !m.well() && s.well() >= majority(n) && n > 1 && err != nil {
					t.Errorf("%s: %s cannot go: %v", letters, m.Name, err)
				}
			}
		}
	}
}

func TestRefuseAdd(t *testing.T) {
	for letters, want := range map[string]string{
		"L": "", "LF": "", "LFF": "", "LFFF": "",
		"LFx": "m3 does not answer, and a new member counts as one more that is lost until it runs; repair m3 first, or, when it is lost for good: leasehold member replace m3",
		"Lxx": "1 of 3 members answer",
		"LFn": "m3 was added before and is not started yet",
		"Ll":  "m2 has no vote yet; finish that first: leasehold member add m2 10.20.8.2",
		"LFo": "m3 knows of no leader",
		"oo":  "have no leader now",
		"x":   "0 of 1 members answer",
	} {
		t.Run(letters, func(t *testing.T) {
			s := cluster(letters)
			says(t, s.refuseAdd(), want)
		})
	}
}

func TestRefuseReplace(t *testing.T) {
	for _, tc := range []struct {
		cluster, replace, addr string
		want                   string
	}{
		{"LFx", "m3", "10.20.8.3", ""},
		{"LFx", "m3", "10.20.8.33", ""},
		{"LFx", "m2", "10.20.8.2", "it answers (follower)"},
		{"LFx", "m1", "10.20.8.1", "it answers (leader)"},
		{"LFo", "m3", "10.20.8.3", "it runs and knows of no leader"},
		{"Lx", "m2", "10.20.8.2", "1 of 2 members answer, and 2 have to agree"},
		{"Lxx", "m2", "10.20.8.2", "1 of 3 members answer"},
		{"x", "m1", "10.20.8.1", "the only member"},
		{"LFFxx", "m4", "10.20.8.4", "m5 does not answer either; repair m5 first, or, lost for good: leasehold member remove m5"},
		{"LFFFx", "m5", "10.20.8.5", ""},
		{"LFn", "m3", "10.20.8.3", "added already, and is not started yet"},
		{"LFn", "m3", "10.20.8.33", ""}, // with a wrong address
	} {
		t.Run(tc.cluster+"-"+tc.replace+"-"+tc.addr, func(t *testing.T) {
			s := cluster(tc.cluster)
			says(t, s.refuseReplace(s.find(tc.replace), netip.MustParseAddr(tc.addr)), tc.want)
		})
	}
}

func TestRefuseNew(t *testing.T) {
	for name, tc := range map[string]struct {
		name, addr string
		want       string
	}{
		"new":                   {"db20-026", "10.20.8.29", ""},
		"new IPv6":              {"db20-026", "fd00::29", ""},
		"a bad name":            {"db 26", "10.20.8.29", "has the character ' '"},
		"a member already":      {"witness", "10.20.8.29", "is a member already, at 10.20.8.28; when it has moved: leasehold member replace witness 10.20.8.29"},
		"an address that is":    {"db20-026", "10.20.8.28", "10.20.8.28 is witness's address already"},
		"a VIP":                 {"db20-026", "10.20.8.188", "is a VIP of service mysql, which moves"},
		"loopback":              {"db20-026", "127.0.0.1", "an address that other hosts do not reach"},
		"configured elsewhere":  {"etcd4", "10.20.8.29", "has etcd4 at 10.20.8.30; correct that"},
		"configured as another": {"db20-026", "10.20.8.30", "has 10.20.8.30 as etcd4; correct that"},
		"configured already":    {"etcd4", "10.20.8.30", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parse(goodEmbedded)
			if err != nil {
				t.Fatal(err)
			}
			s := assessMembership(testMembers(t))
			cfg.Etcd.Embedded.Members = append(cfg.Etcd.Embedded.Members, EmbeddedMember{Name: "etcd4", Addr: netip.MustParseAddr("10.20.8.30")})
			says(t, s.refuseNew(cfg, tc.name, netip.MustParseAddr(tc.addr), nil), tc.want)
		})
	}
	for _, bad := range []string{"", "db20-026", "0.0.0.0", "224.0.0.18", "fe80::1%eth0", "10.20.8.29:2380"} {
		if _, err := parseMemberAddr(bad); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

// A member is found by its name, its id and its address, and a near miss is named.
func TestFindMember(t *testing.T) {
	s := assessMembership(testMembers(t))
	for _, word := range []string{"witness", "8E9E05C52164694F", "10.20.8.28"} {
		if m := s.find(word); m == nil || m.Name != "witness" {
			t.Errorf("%s: got %v", word, m)
		}
	}
	_, err := s.wanted("member remove witnes", "witnes")
	says(t, err, `no member "witnes" (did you mean "witness"?); it has db20-024, db20-025, witness`)
}

func TestMembersToWrite(t *testing.T) {
	cfg, err := parse(goodEmbedded)
	if err != nil {
		t.Fatal(err)
	}
	s := assessMembership(testMembers(t))
	if got := whatToWrite(cfg, s.addresses()); len(got) != 1 || !strings.Contains(got[0], "has these members") {
		t.Errorf("got %q", got)
	}
	want := s.addresses()
	want["etcd4"] = "fd00::30"
	if got := whatToWrite(cfg, want); len(got) != 3 || !strings.Contains(got[1], `{db20-024: 10.20.8.50, db20-025: 10.20.8.27, etcd4: "fd00::30", witness: 10.20.8.28}`) {
		t.Errorf("got %q", got)
	}
	for n, want := range map[int]string{1: "", 2: "2 members outlast the loss of 0", 3: "", 4: "4 members outlast the loss of 1, no more than 3 do; make it 5"} {
		if got := evenNote(n); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}
