package interop

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"leasehold/internal/lab"
)

// The hosts of a network. Those of ours are above and below keepalived's in the
// order of addresses, which decides between equal priorities.
const (
	A = lab.A // ours, 10.20.8.50
	B = lab.B // ours, 10.20.8.27
	K = "k"   // keepalived's, 10.20.8.40
	L = "l"   // another keepalived's, 10.20.8.30
	E = lab.C // etcd's: no fault of a host takes etcd along
)

// allHosts are those of every network.
func allHosts() []lab.Host {
	seat := func(key, name, last string) lab.Host {
		return lab.Host{
			Key: key, Name: name,
			Addr:  netip.MustParsePrefix("10.20.8." + last + "/24"),
			Addr6: netip.MustParsePrefix("fd00:20:8::" + last + "/64"),
		}
	}
	return append(lab.DefaultHosts(), seat(K, "db20-040", "40"), seat(L, "db20-030", "30"))
}

// Router is a VRRP router as a network is to have it: what all sides write in
// their configurations. The zero Router is keepalived's default.
type Router struct {
	Version  int           // default 2
	Interval time.Duration // default 1s
	Auth     string        // PASS or AH; empty is none
	Unicast  bool
	VIPs     []string // addresses with a length; default is the lab's
	Excluded []string // VIPs that are not advertised
}

const (
	routerID = 51
	password = "s3cret"
	ttl      = time.Second
)

func (r Router) withDefaults() Router {
	r.Version, r.Interval = cmp.Or(r.Version, 2), cmp.Or(r.Interval, time.Second)
	if len(r.VIPs) == 0 {
		r.VIPs = []string{lab.DefaultVIP.String()}
	}
	return r
}

func (r Router) vips() []netip.Prefix {
	var all []netip.Prefix
	for _, v := range slices.Concat(r.withDefaults().VIPs, r.Excluded) {
		all = append(all, netip.MustParsePrefix(v))
	}
	return all
}

// watched is the VIP that the client asks: the first that is no link's own.
func (r Router) watched() netip.Prefix {
	all := r.vips()
	i := slices.IndexFunc(all, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() })
	return all[i]
}

// address is what a host's adverts come from in unicast.
func (r Router) address(host string) netip.Addr {
	all := allHosts()
	h := all[slices.IndexFunc(all, func(h lab.Host) bool { return h.Key == host })]
	if r.watched().Addr().Is6() {
		return h.Addr6.Addr()
	}
	return h.Addr.Addr()
}

// device is a VIP in the words of ip address add.
func device(vip string) string { return vip + " dev eth0" }

func devices(vips []string) []string {
	var all []string
	for _, v := range vips {
		all = append(all, device(v))
	}
	return all
}

// Peer is a keepalived, and what it has of its own.
type Peer struct {
	Priority  int    // 0 leaves the line out
	State     string // default BACKUP
	NoPreempt bool
	Extra     string // more lines of the vrrp_instance
	Global    string // more lines of global_defs
	Script    *int   // it has a script of this weight, see failScript
	// Otherwise is the router that it has in the place of the network's: a
	// keepalived that should not be there.
	Otherwise *Router
}

// conf is the keepalived.conf of a peer on a host, beside some others. Its script
// fails while a file is there.
func (p Peer) conf(r Router, host string, others []string, fails string) string {
	if p.Otherwise != nil {
		r = *p.Otherwise
	}
	r = r.withDefaults()
	c := lab.KeepalivedConfig{
		State: cmp.Or(p.State, "BACKUP"), RouterID: routerID, Priority: p.Priority, Advert: r.Interval,
		Version: r.Version, VIPs: devices(r.VIPs), NoPreempt: p.NoPreempt, Extra: p.Extra, Global: p.Global,
	}
	if r.Auth != "" {
		c.Extra += fmt.Sprintf("  authentication {\n    auth_type %s\n    auth_pass %s\n  }\n", r.Auth, password)
	}
	if len(r.Excluded) > 0 {
		c.Extra += fmt.Sprintf("  virtual_ipaddress_excluded {\n    %s\n  }\n", strings.Join(devices(r.Excluded), "\n    "))
	}
	if r.Unicast {
		c.Unicast = []string{r.address(host).String()}
		for _, o := range others {
			c.Unicast = append(c.Unicast, r.address(o).String())
		}
	}
	if p.Script == nil {
		return c.Text()
	}
	c.Global += "  script_user root\n  enable_script_security\n"
	c.Extra += "  track_script {\n    mysqld\n  }\n"
	return fmt.Sprintf("vrrp_script mysqld {\n  script \"/usr/bin/test ! -e %s\"\n  interval 1\n  fall 1\n  rise 1\n  weight %d\n}\n",
		fails, *p.Script) + c.Text()
}

// Node is a Leasehold, and what it has of its own.
type Node struct {
	Priority int      // of VRRP; 0 leaves it out
	Extra    []string // more keys of the vrrp section: "preempt: false"
}

// section is the vrrp section of a node on a host, beside some others.
func (n Node) section(r Router, host string, others []string, passwordFile string) string {
	r = r.withDefaults()
	keys := []string{
		fmt.Sprintf("router_id: %d", routerID), fmt.Sprintf("version: %d", r.Version), "advert_interval: " + r.Interval.String(),
	}
	if n.Priority > 0 {
		keys = append(keys, fmt.Sprintf("priority: %d", n.Priority))
	}
	if r.Auth != "" {
		keys = append(keys, fmt.Sprintf("auth: {type: %s, password_file: %s}", r.Auth, passwordFile))
	}
	if r.Unicast {
		var peers []string
		for _, o := range others {
			peers = append(peers, fmt.Sprintf("%q", r.address(o)))
		}
		keys = append(keys, fmt.Sprintf("unicast: {source: %q, peers: [%s]}", r.address(host), strings.Join(peers, ", ")))
	}
	var excluded []string
	for _, v := range r.Excluded {
		excluded = append(excluded, fmt.Sprintf("%q", netip.MustParsePrefix(v).Addr()))
	}
	if len(excluded) > 0 {
		keys = append(keys, "excluded: ["+strings.Join(excluded, ", ")+"]")
	}
	return "    vrrp: {" + strings.Join(append(keys, n.Extra...), ", ") + "}\n"
}
