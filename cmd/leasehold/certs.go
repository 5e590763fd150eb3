package main

import (
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"leasehold/internal/certs"
)

// defaultCertsDir is below the working directory, and not /etc/leasehold: the key
// of the CA does not belong on the hosts.
const defaultCertsDir = "leasehold-certs"

const day = 24 * time.Hour

// longestDays keeps a slip of the finger out of what cannot be called back: there
// are no revocation lists here.
const longestDays = 100 * 365

// certsFlags are the flags of the certs command.
type certsFlags struct {
	dir    string
	days   int
	caDays int
	renew  bool

	caDaysGiven bool
}

func (a *app) certsCommand() *cobra.Command {
	var flags certsFlags
	cmd := &cobra.Command{
		Use:   "certs [--out DIR] [--renew] [NODE=ADDRESS[,ADDRESS...] ...]",
		Short: "Make a private CA and certificates for the nodes",
		Long: `Make a private CA, and a key and certificate for each node, for those who have no
CA: the embedded etcd members use them towards clients and each other, the daemons
to get in. Without arguments the nodes are those of etcd.embedded.members in the
configuration.

To be run on one machine that is none of the hosts, best by the user who keeps its
passwords: ca.key, which signs, stays there. What is in the directory already is
used and left as it is; --renew makes new certificates for the same keys.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			flags.caDaysGiven = c.Flags().Changed("ca-days")
			return a.certs(flags, args, time.Now())
		},
	}
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	f := cmd.Flags()
	f.StringVar(&flags.dir, "out", defaultCertsDir, "directory of the files, made when it is not there")
	f.IntVar(&flags.days, "days", int(certs.DefaultValid/day), "how long the certificates of the nodes are valid, at most as long as the CA")
	f.IntVar(&flags.caDays, "ca-days", int(certs.DefaultCAValid/day), "how long a new CA is valid")
	f.BoolVar(&flags.renew, "renew", false, "make new certificates for nodes that have one; their keys stay")
	// It fails only for a flag that does not exist, which the tests would see.
	_ = cmd.MarkFlagDirname("out")
	return cmd
}

func (a *app) certs(flags certsFlags, args []string, now time.Time) error {
	if err := flags.check(); err != nil {
		return err
	}
	var cfg *Config // named nodes need none
	if len(args) == 0 {
		var err error
		if cfg, err = a.certsConfig(); err != nil {
			return err
		}
	}
	nodes, err := certNodes(cfg, args)
	if err != nil {
		return err
	}
	plan, err := certs.Prepare(certs.Order{
		Dir: flags.dir, Nodes: nodes, Renew: flags.renew,
		Valid: time.Duration(flags.days) * day, CAValid: time.Duration(flags.caDays) * day,
	}, now)
	if err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	if err := plan.Write(); err != nil {
		return fmt.Errorf("certs: %w", err)
	}
	if flags.caDaysGiven && len(plan.CA.Made) == 0 {
		plan.CA.Notes = append(plan.CA.Notes, "was there, and --ca-days is for a new one")
	}
	return certsReport{flags.dir, plan}.write(a.out)
}

func (f certsFlags) check() error {
	switch {
	case f.days < 1 || f.days > longestDays:
		return usagef("certs: --days %d is not from 1 to %d", f.days, longestDays)
	case f.caDays < 1 || f.caDays > longestDays:
		return usagef("certs: --ca-days %d is not from 1 to %d", f.caDays, longestDays)
	case f.dir == "":
		return usagef("certs: --out is empty; name a directory, or leave it out for %s", defaultCertsDir)
	}
	return nil
}

// certsConfig loads the configuration that the nodes are to be taken from.
func (a *app) certsConfig() (*Config, error) {
	if !exists(a.configFile) {
		return nil, usagef("certs: for which nodes? %s, which could tell, is not there; name them, as in leasehold certs db20-024=10.20.8.50 db20-025=10.20.8.27, or another file with --config", a.configFile)
	}
	return a.load()
}

// certNodes returns the nodes that args name, else the members of the embedded
// etcd in cfg.
func certNodes(cfg *Config, args []string) ([]certs.Node, error) {
	var nodes []certs.Node
	for _, arg := range args {
		n, err := parseCertNode(arg)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	if len(args) == 0 {
		e := cfg.Etcd.Embedded
		if e == nil || len(e.Members) == 0 {
			return nil, usagef("certs: for which nodes? %s has no etcd.embedded.members; name them, as in leasehold certs db20-024=10.20.8.50 db20-025=10.20.8.27", cfg.File)
		}
		for _, m := range e.Members {
			nodes = append(nodes, certs.Node{Name: m.Name, Addrs: []netip.Addr{m.Addr}})
		}
	}
	return nodes, checkCertNodes(nodes)
}

// parseCertNode reads NODE=ADDRESS[,ADDRESS…].
func parseCertNode(arg string) (certs.Node, error) {
	name, list, ok := strings.Cut(arg, "=")
	if !ok {
		return certs.Node{}, usagef("certs: %q has no address; write NODE=ADDRESS, as in db20-024=10.20.8.50", arg)
	}
	n := certs.Node{Name: name}
	for text := range strings.SplitSeq(list, ",") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return certs.Node{}, usagef("certs: %s: %q is not an IP address, and etcd members are reached under addresses; write %s=10.20.8.50", name, text, name)
		}
		n.Addrs = append(n.Addrs, addr.Unmap())
	}
	return n, nil
}

// checkCertNodes refuses what no certificate, or no two, can be made for.
func checkCertNodes(nodes []certs.Node) error {
	names, owner := map[string]bool{}, map[netip.Addr]string{}
	for _, n := range nodes {
		if why := nameProblem(n.Name); why != "" {
			return usagef("certs: node %q %s, because it becomes a file name", n.Name, why)
		}
		if n.Name == certs.CAName {
			return usagef("certs: node %s would have the files of the CA (%s, %s); give it another name", n.Name, certs.CertFile(certs.CAName), certs.KeyFile(certs.CAName))
		}
		if names[n.Name] {
			return usagef("certs: node %s is named twice; write all its addresses in one, as in %s=10.20.8.50,10.20.9.50", n.Name, n.Name)
		}
		names[n.Name] = true
		for _, addr := range n.Addrs {
			switch {
			case addr.Zone() != "":
				return usagef("certs: %s: %s has a zone, which a certificate has no place for; write an address that is good on every host", n.Name, addr)
			case addr.IsUnspecified() || addr.IsMulticast():
				return usagef("certs: %s: %s is no host's address; write the one that its peers reach it under", n.Name, addr)
			case owner[addr] != "" && !addr.IsLoopback():
				return usagef("certs: %s: %s is an address of %s already; write each address once", n.Name, addr, owner[addr])
			}
			owner[addr] = n.Name
		}
	}
	return nil
}

// certsReport says what was done, and what is to be done with it.
type certsReport struct {
	dir  string
	plan *certs.Plan
}

func (r certsReport) write(w io.Writer) error {
	var out strings.Builder
	for _, o := range append([]certs.Outcome{r.plan.CA}, r.plan.Nodes...) {
		r.outcome(&out, o)
	}
	copies := r.copies()
	if len(copies) > 0 {
		fmt.Fprintf(&out, "\n%s\n", strings.Join(copies, "\n"))
		fmt.Fprintf(&out, "\nThere they belong to root:leasehold, node.key with mode 0640:\n"+
			"  cd /etc/leasehold && chown root:leasehold ca.pem node.pem node.key && chmod 0640 node.key\n"+
			"and in leasehold.yaml of every host stands:\n  etcd:\n    tls: {ca: ca.pem, cert: node.pem, key: node.key}\n")
	}
	if r.plan.Signs {
		fmt.Fprintf(&out, "\nwarning: %s is the secret: whoever has it can make himself a certificate, write to etcd, and give the VIP to any host; keep it off the hosts\n",
			filepath.Join(r.dir, certs.KeyFile(certs.CAName)))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// outcome says of each file whether it was made or left alone.
func (r certsReport) outcome(out *strings.Builder, o certs.Outcome) {
	line := func(verb, name, text string) {
		fmt.Fprintf(out, "%-5s %s%s\n", verb, filepath.Join(r.dir, name), text)
	}
	cert, key := certs.CertFile(o.Name), certs.KeyFile(o.Name)
	text := ", until " + o.Until.Format(time.DateOnly)
	if len(o.SANs) > 0 {
		text += ", for " + strings.Join(o.SANs, " ")
	}
	if o.Why != "" {
		text += ": " + o.Why
	}
	if slices.Contains(o.Made, key) {
		line("made", key, "")
	}
	if slices.Contains(o.Made, cert) {
		line("made", cert, text)
	} else {
		line("left", cert, text)
	}
	for _, note := range o.Notes {
		fmt.Fprintf(out, "note: %s %s\n", cert, note)
	}
}

// copies says which of the new files go where. On the host they have the same
// names everywhere, so that one configuration does for all.
func (r certsReport) copies() []string {
	var lines []string
	newCA := len(r.plan.CA.Made) > 0
	for _, o := range r.plan.Nodes {
		var files []string
		if newCA || o.New {
			files = append(files, certs.CertFile(certs.CAName))
		}
		if len(o.Made) > 0 {
			files = append(files, certs.CertFile(o.Name)+" as "+certs.CertFile("node"))
		}
		if o.New {
			files = append(files, certs.KeyFile(o.Name)+" as "+certs.KeyFile("node"))
		}
		if len(files) > 0 {
			lines = append(lines, fmt.Sprintf("copy %s to %s:/etc/leasehold/", enumerate(files), o.Name))
		}
	}
	return lines
}

// enumerate writes a list as people do: a, b and c.
func enumerate(list []string) string {
	last := len(list) - 1
	if last < 1 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:last], ", ") + " and " + list[last]
}
