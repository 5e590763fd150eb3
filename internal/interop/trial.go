package interop

import (
	"context"
	"maps"
	"slices"
	"time"

	"leasehold/internal/lab"
)

// Trial is one network and what happens on it: some rows of a table.
type Trial struct {
	Name string
	// Alone says that no host is ours: two may answer, which is counted and shown.
	Alone bool
	Brief bool // also in go test
	Router
	TTL    time.Duration   // of ours; default 1s, less than keepalived's timer
	Theirs map[string]Peer // by host
	Ours   map[string]Node
	Steps  []Step
	// Mute says that keepalived lets nobody use the VIP (vrrp_strict), so that ARP
	// has to tell who answers.
	Mute bool
	// Session keeps a TCP connection to the VIP, opened anew when a step ends it.
	Session bool
	// Import makes the configurations of ours by leasehold import.
	Import bool
}

// Step is one thing that happens. Without What it only prepares: it is waited for
// and not judged.
type Step struct {
	What string
	Do   []Action
	// By is who answers in the end, which is waited for; "" is nobody.
	By string
	// For is how much longer is watched; default a second.
	For  time.Duration
	Want Want
}

// Action brings something about.
type Action func(context.Context, *stage) error

// Want is what must be seen in a step.
type Want struct {
	Path string // who answered one after the other: "k → a"; "" is not judged
	Gap  time.Duration
	// State is what each host's daemon must say in the end, see stage.state.
	State map[string]string
	// Silent are hosts that must not speak as an Active router.
	Silent []string
	// Adverts is for how long the network may be without an Active router's advert;
	// 0 is not judged.
	Adverts time.Duration
	// Blind is a keepalived that takes the VIP while ours, which has it, cannot hear
	// it: until it announces itself nobody can know, and two may answer.
	Blind string
	// Status are words that the status of ours must have in the end, by host.
	Status map[string][]string
	// Keeps is whether the TCP connection must go on.
	Keeps bool
}

// Unit is a daemon on a host: ours, or keepalived.
type Unit struct {
	Ours bool
	Host string
}

func keepalived(host string) Unit { return Unit{false, host} }
func leasehold(host string) Unit  { return Unit{true, host} }

func (u Unit) String() string {
	if u.Ours {
		return "leasehold on " + u.Host
	}
	return "keepalived on " + u.Host
}

// hosts are those that a trial needs: its daemons', etcd's and the client.
func (t Trial) hosts() []lab.Host {
	return slices.DeleteFunc(allHosts(), func(h lab.Host) bool {
		return h.Key != E && h.Key != lab.Client && !slices.Contains(t.holders(), h.Key)
	})
}

// holders are the hosts that may have the VIP, in order.
func (t Trial) holders() []string {
	all := slices.Concat(slices.Collect(maps.Keys(t.Theirs)), slices.Collect(maps.Keys(t.Ours)))
	slices.Sort(all)
	return slices.Compact(all)
}

// others are the holders but one.
func (t Trial) others(host string) []string {
	return slices.DeleteFunc(t.holders(), func(h string) bool { return h == host })
}
