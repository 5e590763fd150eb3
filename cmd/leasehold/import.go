package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	keepalivedconf "leasehold/internal/keepalived"
)

// exitUnmapped is import's own: a configuration was written, and says less than
// the one it was made of.
const exitUnmapped = 3

// importFlags is what import is told.
type importFlags struct {
	node, id, output, secrets, vrrp string
	etcd                            []string
}

func (a *app) importCommand() *cobra.Command {
	f := importFlags{}
	c := &cobra.Command{
		Use:   "import [flags] KEEPALIVED.CONF",
		Short: "Make a configuration of a keepalived.conf, and say what is lost",
		Long: `Read a keepalived.conf, with what it includes, as keepalived 2.2.7 does, and write
a configuration that says the same, as far as there are words for it. Each line of
the input is then told on stderr, in one of two lists: what it has become, or why it
was left out and what to do instead. Of a line only its first word is shown.

Nothing is started, stopped or changed, and no file is overwritten. keepalived need
not be installed here.

Exit codes: 0 every line was taken over, or is not needed · 1 something failed ·
2 the command line, or a file that cannot be parsed · 3 something was left out.`,
		Args: oneFile,
		RunE: func(_ *cobra.Command, args []string) error { return a.importFile(args[0], f) },
	}
	c.Flags().StringVar(&f.node, "node", "", "name of this node (default: node is left out, and the host name counts)")
	c.Flags().StringSliceVar(&f.etcd, "etcd", nil, "etcd's endpoints, with commas between them (default: to be filled in)")
	c.Flags().StringVarP(&f.id, "config-id", "i", "", "what @conditions are compared with, as keepalived -i (default: the host name up to its first dot)")
	c.Flags().StringVar(&f.vrrp, "vrrp", "drop", "what becomes of the VRRP router: drop (etcd elects), or keep (a vrrp section)")
	c.Flags().StringVar(&f.secrets, "secrets", "", "with --vrrp keep: write the passwords to files of mode 0600 in this folder")
	c.Flags().StringVarP(&f.output, "output", "o", "", "write to this file, which must not exist (default: stdout)")
	_ = c.RegisterFlagCompletionFunc("vrrp", cobra.FixedCompletions([]string{"drop", "keep"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// oneFile takes exactly one argument.
func oneFile(c *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return usagef("%sone file at a time, %d were named; see %q", where(c), len(args), c.CommandPath()+" --help")
}

func (a *app) importFile(file string, f importFlags) error {
	opt, err := f.options()
	if err != nil {
		return err
	}
	if f.id == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("import: the host name, which @conditions are compared with: %w; name it with -i", err)
		}
		f.id, _, _ = strings.Cut(host, ".")
	}
	src, err := keepalivedconf.Read(file, f.id)
	if err != nil {
		return unreadable(err)
	}
	res := keepalivedconf.Convert(src, opt)
	if err := proofread(res); err != nil {
		return err
	}
	if err := a.write(res, f); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	report := importReport{res: res, src: src, to: f.output}
	report.write(a.err)
	if !res.Mapped() || res.YAML == nil {
		return exitError(exitUnmapped)
	}
	return nil
}

// options checks what the flags say.
func (f importFlags) options() (keepalivedconf.Options, error) {
	opt := keepalivedconf.Options{Node: f.node, KeepVRRP: f.vrrp == "keep"}
	if f.vrrp != "keep" && f.vrrp != "drop" {
		return opt, usagef("import: --vrrp %q%s; write drop or keep", f.vrrp, didYouMean(f.vrrp, []string{"drop", "keep"}))
	}
	if why := nameProblem(f.node); f.node != "" && why != "" {
		return opt, usagef("import: --node %q %s, because it becomes an etcd key and a file name", f.node, why)
	}
	for _, e := range f.etcd {
		u, why := parseEndpoint(e, false)
		if why != "" {
			return opt, usagef("import: --etcd: %s", why)
		}
		opt.Endpoints = append(opt.Endpoints, u)
	}
	if f.secrets == "" {
		return opt, nil
	}
	if !opt.KeepVRRP {
		return opt, usagef("import: --secrets goes with --vrrp keep: the election in etcd needs no password of VRRP's")
	}
	dir, err := filepath.Abs(f.secrets)
	if err != nil {
		return opt, fmt.Errorf("import: --secrets: %w", err)
	}
	opt.SecretsDir = dir
	return opt, nil
}

// unreadable makes a refused file one of our Problems.
func unreadable(err error) error {
	if e, ok := errors.AsType[*keepalivedconf.Error](err); ok {
		return Problems{{File: e.Pos.File, Line: e.Pos.Line, What: e.What}}
	}
	return err
}

// proofread reads what is to be written as the daemon will.
func proofread(res *keepalivedconf.Result) error {
	if res.YAML == nil {
		return nil
	}
	// The host that it is for may be another one.
	hostname := func() (string, error) { return "node", nil }
	_, err := ParseConfig("the configuration that import makes", res.YAML, hostname)
	return err
}

// write writes the passwords, then the configuration. On error neither is there.
func (a *app) write(res *keepalivedconf.Result, f importFlags) (err error) {
	var made []string
	defer func() {
		for _, path := range made {
			if err != nil {
				err = errors.Join(err, os.Remove(path))
			}
		}
	}()
	if f.secrets != "" && len(res.Secrets) > 0 {
		if err := os.MkdirAll(f.secrets, 0o700); err != nil {
			return err
		}
		for _, s := range res.Secrets {
			if err := writeNew(s.Path, []byte(s.Secret.Reveal()+"\n"), 0o600, &made); err != nil {
				return err
			}
		}
	}
	switch {
	case res.YAML == nil:
		return nil
	case f.output != "":
		return writeNew(f.output, res.YAML, 0o640, &made)
	}
	_, err = a.out.Write(res.YAML)
	return err
}

// writeNew writes a file that must not be there yet, and notes that it made it.
func writeNew(path string, b []byte, mode os.FileMode, made *[]string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already, and nothing is overwritten; name another, or move it away", path)
	}
	if err != nil {
		return err
	}
	*made = append(*made, path)
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
