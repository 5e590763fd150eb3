package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"leasehold/election"
)

// The states of an etcd member, as its cluster and itself say.
const (
	memberLeader     = "leader"
	memberFollower   = "follower"
	memberLearner    = "learner"
	memberLeaderless = "knows of no leader"
	memberNew        = "not started yet"
	memberSilent     = "does not answer"
)

// farBehind is how many entries of Raft's log a member may be behind before that is
// worth a word. A service makes ten a second at the shortest ttl.
const farBehind = 1000

// MembersStatus is the etcd cluster as member list shows it: what the cluster's
// list says, what each member says, and what follows. Its JSON is a public interface.
type MembersStatus struct {
	Node      string             `json:"node"`
	At        time.Time          `json:"at"`
	ExitCode  int                `json:"exit_code"`
	Summary   string             `json:"summary"`
	Wrong     []string           `json:"wrong,omitempty"`
	Confirmed bool               `json:"confirmed"` // the list, by the leader
	Leader    string             `json:"leader,omitempty"`
	Term      uint64             `json:"term,omitempty"`
	Insecure  bool               `json:"insecure"`
	Members   []EtcdMemberStatus `json:"members"`

	ports string // that the members listen on, as the configuration has them
}

// EtcdMemberStatus is one member of the list.
type EtcdMemberStatus struct {
	Name       string   `json:"name"` // the configuration's while the cluster has none yet
	ID         string   `json:"id"`
	Here       bool     `json:"here"` // this host's
	PeerURLs   []string `json:"peer_urls"`
	ClientURLs []string `json:"client_urls"`
	State      string   `json:"state"`
	Why        string   `json:"why,omitempty"`
	Version    string   `json:"version,omitempty"`
	DBBytes    int64    `json:"db_bytes,omitempty"`
	InUseBytes int64    `json:"db_in_use_bytes,omitempty"`
	Term       uint64   `json:"term,omitempty"`
	Index      uint64   `json:"index,omitempty"`
	Lag        uint64   `json:"index_lag"` // behind the one that is furthest
	Alarms     []string `json:"alarms,omitempty"`

	id      uint64
	learner bool
	usual   bool               // it listens where the configuration has every member listen
	asked   *election.Endpoint // its answer; nil: it gave none
}

// well reports whether a member does its part: it answers, and has a leader.
func (m EtcdMemberStatus) well() bool {
	return m.State == memberLeader || m.State == memberFollower || m.State == memberLearner
}

// host is the address that the other members reach it at.
func (m EtcdMemberStatus) host() string {
	for _, p := range m.PeerURLs {
		if u, err := url.Parse(p); err == nil && u.Hostname() != "" {
			return u.Hostname()
		}
	}
	return ""
}

// assessMembership draws the conclusions about the cluster. It asks nobody.
func assessMembership(f memberFacts) MembersStatus {
	s := MembersStatus{Node: f.node, At: f.now, Confirmed: f.confirmed, Insecure: !f.secure, Members: []EtcdMemberStatus{}}
	s.ports = fmt.Sprintf("%d for members, %d for clients", f.embedded.PeerPort, f.embedded.ClientPort)
	alarms := alarmsOf(f.answers)
	for _, m := range f.list {
		s.Members = append(s.Members, f.row(m, alarms[m.ID]))
	}
	slices.SortStableFunc(s.Members, func(a, b EtcdMemberStatus) int { return strings.Compare(a.Name, b.Name) })
	s.lags()
	s.wrong(f)
	s.conclude(f)
	return s
}

// row is one member of the list, in its own words where it has some.
func (f *memberFacts) row(m election.EtcdMember, alarms []string) EtcdMemberStatus {
	r := EtcdMemberStatus{
		Name: m.Name, ID: strconv.FormatUint(m.ID, 16), PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs,
		State: memberSilent, Alarms: alarms, id: m.ID, learner: m.Learner,
	}
	known := f.configured(m)
	if r.Name == "" && known != nil {
		r.Name = known.Name
	}
	r.Here, r.usual = r.Name == f.node, f.usual(m, r.host())
	if r.Name == "" {
		r.Name = r.host()
	}
	urls := slices.Clone(m.ClientURLs)
	if known != nil {
		client, _ := f.urls(known.Addr)
		urls = append(urls, client)
	}
	for i := range f.answers {
		a := &f.answers[i]
		switch {
		case a.Err == nil && a.Member == m.ID:
			r.answer(a)
			return r
		case a.Err == nil && slices.Contains(urls, a.URL):
			r.Why = fmt.Sprintf("at %s another member answers, %x", a.URL, a.Member)
		case r.Why == "" && slices.Contains(urls, a.URL):
			r.Why = unreached(a.Err)
		}
	}
	if m.Name == "" {
		r.State, r.Why = memberNew, ""
	}
	return r
}

// unreached says why a member could not be asked, without gRPC's words around what
// the kernel said.
func unreached(err error) string {
	text := strings.TrimPrefix(err.Error(), "etcd ")
	if _, dial, ok := strings.Cut(text, "Error while dialing: "); ok {
		return strings.TrimRight(dial, `"`)
	}
	return text
}

// usual reports whether a member listens on the ports of the configuration, at one
// address.
func (f *memberFacts) usual(m election.EtcdMember, host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	client, peer := f.urls(addr)
	return slices.Equal(m.PeerURLs, []string{peer}) && (len(m.ClientURLs) == 0 || slices.Equal(m.ClientURLs, []string{client}))
}

// answer takes over what a member says of itself.
func (m *EtcdMemberStatus) answer(a *election.Endpoint) {
	m.asked = a
	m.Version, m.DBBytes, m.InUseBytes, m.Term, m.Index = a.Version, a.DBSize, a.DBInUse, a.Term, a.Index
	switch {
	case a.Learner || m.learner:
		m.State = memberLearner
	case a.Leader == a.Member && a.Leader != 0:
		m.State = memberLeader
	case a.Leader == 0:
		m.State = memberLeaderless
	default:
		m.State = memberFollower
	}
}

// lags compares how far the members are. The answers are some milliseconds apart,
// so that a few entries mean nothing.
func (s *MembersStatus) lags() {
	for _, m := range s.Members {
		if m.State == memberLeader && m.Term >= s.Term {
			s.Leader, s.Term = m.Name, m.Term
		}
	}
	var most uint64
	for _, m := range s.Members {
		most = max(most, m.Index)
	}
	for i := range s.Members {
		if m := &s.Members[i]; m.asked != nil {
			m.Lag = most - m.Index
		}
	}
}

// alarmsOf collects the alarms by the member that raised them. Every member tells
// them all, as "memberID:… alarm:NOSPACE".
func alarmsOf(answers []election.Endpoint) map[uint64][]string {
	all := map[uint64][]string{}
	for _, a := range answers {
		for _, text := range a.Alarms {
			var id uint64
			what := ""
			for word := range strings.FieldsSeq(text) {
				if n, ok := strings.CutPrefix(word, "memberID:"); ok {
					id, _ = strconv.ParseUint(n, 10, 64) // 0 is no member's
				}
				if w, ok := strings.CutPrefix(word, "alarm:"); ok {
					what = w
				}
			}
			if id != 0 && what != "" && !slices.Contains(all[id], what) {
				all[id] = append(all[id], what)
			}
		}
	}
	return all
}

// wrong says what should not be as it is.
func (s *MembersStatus) wrong(f memberFacts) {
	if len(f.list) > 0 && !f.confirmed {
		s.Wrong = append(s.Wrong, "no majority of the members answers, and the list is what one of them remembers: nobody can take the VIP, or keep it beyond its ttl; bring members back")
	}
	for _, m := range s.Members {
		switch {
		case m.State == memberSilent:
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s does not answer: systemctl start leasehold-etcd there, or, when it is lost for good: leasehold member replace %s", m.Name, m.Name))
		case m.State == memberNew:
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s was added and is not started yet: on %s: systemctl start leasehold-etcd", m.Name, m.host()))
		case m.State == memberLeaderless:
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s knows of no leader: it does not reach a majority of the members; see the network between them", m.Name))
		case m.State == memberLearner:
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s is a learner, and has no vote: leasehold member add %s %s gives it one, when it has caught up", m.Name, m.Name, m.host()))
		case m.Lag > farBehind:
			s.Wrong = append(s.Wrong, fmt.Sprintf("%s is %d entries behind: see its disk, and the network to it", m.Name, m.Lag))
		}
		for _, a := range m.Alarms {
			s.Wrong = append(s.Wrong, alarmTrouble(m.Name, a).text())
		}
	}
	for _, d := range f.differences() {
		s.Wrong = append(s.Wrong, d.text())
	}
}

// conclude picks the exit code and says it in a sentence.
func (s *MembersStatus) conclude(f memberFacts) {
	s.ExitCode = exitFine
	if len(s.Wrong) > 0 {
		s.ExitCode = exitWrong
	}
	if f.listErr != nil {
		s.ExitCode = exitRuntime
		s.Summary = f.listErr.Error()
		return
	}
	n, voters := s.answering()
	s.Summary = fmt.Sprintf("%d of %d members answer", n, voters)
	switch spare := s.well() - majority(voters); {
	case s.Leader == "":
		s.Summary += ", and none of them leads"
	case spare < 0:
		s.Summary += fmt.Sprintf(", and %d are needed", majority(voters))
	case spare == 0 && n < voters:
		s.Summary += fmt.Sprintf(", %s leads; the loss of one more stops etcd", s.Leader)
	case spare == 0 && voters > 1:
		s.Summary += fmt.Sprintf(", %s leads; the loss of one stops etcd", s.Leader)
	default:
		s.Summary += fmt.Sprintf(", %s leads", s.Leader)
	}
}

// answering counts the members that have a vote, and those of them that answer.
func (s *MembersStatus) answering() (n, voters int) {
	for _, m := range s.Members {
		if m.learner {
			continue
		}
		voters++
		if m.asked != nil {
			n++
		}
	}
	return n, voters
}

// well counts the members whose vote counts now.
func (s *MembersStatus) well() int {
	n := 0
	for _, m := range s.Members {
		if !m.learner && m.well() {
			n++
		}
	}
	return n
}

// majority is how many of n members have to agree.
func majority(n int) int { return n/2 + 1 }
