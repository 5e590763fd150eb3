package keepalived

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"leasehold/vip"
)

// Options is what a configuration of Leasehold needs that keepalived's has not.
type Options struct {
	Node      string   // empty: left to the host name
	Endpoints []string // of etcd; empty: to be filled in
	// KeepVRRP takes the VRRP router over as well, as a vrrp section; without it
	// the election in etcd takes its place.
	KeepVRRP bool
	// SecretsDir is the folder that password_file names; empty for that of the
	// configuration.
	SecretsDir string
}

// Result is what came of a configuration.
type Result struct {
	YAML    []byte       // nil when no service came of it
	Lines   []Line       // every line of the input that says something, each once
	Notes   []string     // what the operator has to do or to know
	Secrets []SecretFile // what the password files are to hold
}

// SecretFile is a password and the file that the configuration expects it in.
type SecretFile struct {
	Path   string
	Secret Secret
}

// Mapped reports whether nothing was left out.
func (r *Result) Mapped() bool {
	return !slices.ContainsFunc(r.Lines, func(l Line) bool { return !l.Mapped() })
}

// service is one service of the configuration that is made.
type service struct {
	name, from string
	vips       []string
	devices    map[string]bool // of the vips
	priority   int
	preempt    bool
	delay      time.Duration
	keepLast   bool
	checks     []check
	burst      []time.Duration // nil: the default
	refresh    time.Duration   // 0: the default
	router     []entry         // vrrp; nil: none

	advertised []vip.Spec   // the vips that keepalived's adverts have
	incomplete bool         // and one that they have was left out
	excluded   []netip.Addr // the other vips
}

// key is the name of one of its keys.
func (s *service) key(k string) string { return "services." + s.name + "." + k }

// unit is what becomes one service: an instance, or all of a sync group.
type unit struct {
	name    string
	group   *group // nil for a lone instance
	members []*instance
}

// converter turns a Config into services. It decides, and looks at nothing else.
type converter struct {
	ledger
	cfg     *config
	opt     Options
	taken   map[netip.Addr]string // the service that has an address
	routers map[routerID]string   // the service that is a router
	secrets []SecretFile
	hints   hints
}

// hints is what the notes go by.
type hints struct{ preempt, execs, mysql, password, unchecked, renamed bool }

// Convert says in Leasehold's words what a configuration of keepalived says. It
// never fails: what cannot be said is told line by line.
func Convert(src *Source, opt Options) *Result {
	l := ledger{map[*statement][]Outcome{}}
	c := &converter{ledger: l, cfg: decoder{l}.decode(src), opt: opt, taken: map[netip.Addr]string{}, routers: map[routerID]string{}}
	var services []*service
	for _, u := range c.units() {
		if s := c.service(u); s != nil {
			services = append(services, s)
		}
	}
	c.leftovers()
	res := &Result{Lines: c.linesOf(src), Secrets: c.secrets, Notes: c.notes(services)}
	if len(services) > 0 {
		res.YAML = render(src, opt, services)
	}
	return res
}

// units puts the instances of a sync group together, and names everything.
func (c *converter) units() []unit {
	grouped := map[*instance]bool{}
	var all []unit
	for _, g := range c.cfg.Groups {
		u := unit{name: g.Name, group: g}
		for _, m := range g.Members {
			for _, name := range m.Words {
				switch in := c.cfg.instance(name); {
				case in == nil:
					c.left(m, "there is no vrrp_instance of one of these names, and keepalived leaves it out of the group; correct the name, and import again")
				case grouped[in]:
					c.left(m, "one of these is in a group already, and keepalived takes it into the first; see which is meant, and import again")
				default:
					grouped[in] = true
					u.members = append(u.members, in)
				}
			}
		}
		if len(u.members) == 0 {
			c.all(g.At, Outcome{Left: "there is no vrrp_instance in the group, and keepalived leaves it out"})
			continue
		}
		all = append(all, u)
	}
	for _, in := range c.cfg.Instances {
		if !grouped[in] {
			all = append(all, unit{name: in.Name, members: []*instance{in}})
		}
	}
	names := map[string]int{}
	for i := range all {
		name := freeName(cleanName(all[i].name), names)
		c.hints.renamed = c.hints.renamed || name != all[i].name
		all[i].name = name
	}
	return all
}

// maxName is the length of a service's name, which becomes a key in etcd.
const maxName = 63

// cleanName makes the name of a service of the name of an instance.
func cleanName(name string) string {
	b := []byte(name)
	for i, ch := range b {
		if !isLetter(ch) && !isDigit(ch) && strings.IndexByte("._-", ch) < 0 {
			b[i] = '-'
		}
	}
	name = string(b[:min(len(b), maxName)])
	if strings.Trim(name, ".") == "" {
		return "service"
	}
	return name
}

// freeName numbers the second of a name, and those after it. used has the names
// that are taken, with the last number that was tried for each.
func freeName(name string, used map[string]int) string {
	free := name
	for used[free] > 0 {
		used[name]++
		suffix := fmt.Sprintf("-%d", used[name])
		free = name[:min(len(name), maxName-len(suffix))] + suffix
	}
	used[free] = 1
	return free
}

// service makes one service; nil when it would have no address.
func (c *converter) service(u unit) *service {
	first := u.members[0]
	s := &service{name: u.name, devices: map[string]bool{}, from: fmt.Sprintf("vrrp_instance, %s", first.At.Pos)}
	if u.group != nil {
		s.from = fmt.Sprintf("vrrp_sync_group, %s", u.group.At.Pos)
	}
	for _, in := range u.members {
		c.addresses(in, s)
	}
	if len(s.vips) == 0 {
		for _, in := range u.members {
			c.all(in.At, Outcome{Left: "no address of it could be taken over, so no service came of it"})
		}
		if u.group != nil {
			c.all(u.group.At, Outcome{Left: "no address of it could be taken over, so no service came of it"})
		}
		return nil
	}
	c.heads(u, s)
	c.rank(u, s)
	c.router(u, s)
	c.checks(u, s)
	c.announce(first, s)
	for _, in := range u.members[1:] {
		c.announceToo(in, first)
	}
	return s
}

// heading is said of the first line of a block that is read line by line.
const heading = "its lines, one by one"

// heads settles the first lines of blocks.
func (c *converter) heads(u unit, s *service) {
	if u.group != nil {
		c.became(u.group.At, "services."+s.name)
		if u.group.block != nil {
			c.became(u.group.block, heading)
		}
		for _, m := range u.group.Members {
			if !c.settled(m) {
				c.became(m, s.key("vips"))
			}
		}
		for _, b := range u.group.Tracks.blocks {
			c.became(b, heading)
		}
	}
	for _, in := range u.members {
		c.became(in.At, "services."+s.name)
		c.became(in.Interface.At, s.key("vips")+" (dev)")
		for _, b := range slices.Concat(in.blocks, in.Tracks.blocks) {
			c.became(b, heading)
		}
	}
}

// leftovers settles what no service had a use for.
func (c *converter) leftovers() {
	idle := Outcome{Became: notNeeded + "no vrrp_instance goes by it"}
	for _, sc := range c.cfg.Scripts {
		c.all(sc.At, Outcome{Became: notNeeded + "no vrrp_instance tracks it, so keepalived does not run it"})
	}
	for _, p := range c.cfg.Processes {
		c.all(p.At, Outcome{Became: notNeeded + "no vrrp_instance tracks it, so keepalived does not look for it"})
	}
	g := &c.cfg.Global
	if user := g.ScriptUser; user != nil && c.hints.execs {
		c.left(user, "%s", runsAs)
	} else if user != nil {
		c.nothing(user, "no script was taken over")
	}
	if g.Secure != nil {
		c.nothing(g.Secure, "exec checks are always held to it")
	}
	for _, s := range slices.Concat(g.router, []*statement{
		g.Garp.Delay.At, g.Garp.Repeat.At, g.Garp.Refresh.At, g.Garp.RefreshRepeat.At, g.MinGarp.At,
	}) {
		if s != nil {
			c.all(s, idle)
		}
	}
}

// notes says what is left to do.
func (c *converter) notes(services []*service) []string {
	if len(services) == 0 {
		return []string{"no vrrp_instance with an address was found, so there is no configuration to write"}
	}
	var notes []string
	if len(c.opt.Endpoints) == 0 {
		notes = append(notes, "etcd.endpoints is to be filled in: the members of the cluster, each with its port (or: --etcd)")
	}
	if c.opt.Node == "" {
		notes = append(notes, "node: is not written, so each host goes by its host name (or: --node)")
	}
	if c.hints.renamed {
		notes = append(notes, "a name that etcd keys cannot have was changed; services must be called the same on every host")
	}
	if c.opt.KeepVRRP {
		notes = append(notes, beside(services)...)
	} else {
		notes = append(notes, "VRRP is left out, and Leasehold takes no notice of a keepalived: stop it on every host of these addresses before Leasehold is started on one, "+
			"or both would answer for them (systemctl disable --now keepalived); to run beside it, import with --vrrp keep")
	}
	if c.hints.preempt {
		notes = append(notes, "preempt: true is what keepalived does without nopreempt: a node of higher priority takes the addresses back, which costs every client its connection; preempt: false leaves them where they are")
	}
	if c.hints.unchecked {
		notes = append(notes, "a service without checks counts as well while its daemon runs and its link is up: write checks (docs/reference.md)")
	}
	if c.hints.mysql {
		notes = append(notes, "for mysqld there are checks that need no program, process and mysql: see docs/reference.md")
	}
	if c.hints.password {
		notes = append(notes, "the command of a check seems to have a password in it, which everybody on the host sees in the process list: put it into an option file for root and leasehold, and name that instead (--defaults-extra-file=FILE)")
	}
	if dir := c.opt.SecretsDir; dir != "" && len(c.secrets) > 0 {
		notes = append(notes, fmt.Sprintf("the passwords in %s are for this user only, and the daemon runs as leasehold: type chgrp -R leasehold %s && chmod 750 %s && chmod 640 %s/*.vrrp-password on its host", dir, dir, dir, dir))
	}
	for _, f := range c.secrets {
		if c.opt.SecretsDir == "" {
			notes = append(notes, fmt.Sprintf("%s is to be written: type install -m 640 -g leasehold /dev/null %s in the folder of the configuration, and the password into its first line (or: --secrets)", f.Path, f.Path))
		}
	}
	return notes
}

// beside says what becomes of keepalived where the routers were to be kept.
func beside(services []*service) (notes []string) {
	with, without := false, false
	for _, s := range services {
		with, without = with || s.router != nil, without || s.router == nil
	}
	if with {
		notes = append(notes, "a vrrp section makes the nodes one VRRP router beside the keepalived of other hosts: stop it on a host before Leasehold is started there (systemctl disable --now keepalived)")
	}
	if without {
		notes = append(notes, "a service without a vrrp section takes no notice of a keepalived: stop it on every host of its addresses before Leasehold is started on one, or both would answer for them (systemctl disable --now keepalived)")
	}
	return notes
}

// secretPath is the file for the password of a service.
func (c *converter) secretPath(s *service) string {
	return filepath.Join(c.opt.SecretsDir, s.name+".vrrp-password")
}
