package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// The reference shows what status and doctor print, and has every command
// and flag.
func TestReference(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, name := range []string{"testdata/status-fine.txt", "testdata/status-witness.txt", "testdata/members-fine.txt", "testdata/doctor.txt"} {
		sample, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, string(sample)) {
			t.Errorf("the sample is not what is printed: see %s", name)
		}
	}
	for _, c := range everyCommand((&app{}).rootCommand()) {
		name := strings.TrimPrefix(c.CommandPath(), "leasehold ")
		if !strings.Contains(text, "### "+name) && name != "version" {
			t.Errorf("no section on %s", name)
		}
		for word := range strings.FieldsSeq(c.Flags().FlagUsages()) {
			if name, ok := strings.CutPrefix(word, "--"); ok && !strings.Contains(text, "-"+name) && !strings.Contains(text, "-"+name[:1]) {
				t.Errorf("%s: no word on --%s", c.Name(), name)
			}
		}
	}
}

// everyCommand are those below a command, at every level.
func everyCommand(c *cobra.Command) (all []*cobra.Command) {
	for _, sub := range c.Commands() {
		all = append(append(all, sub), everyCommand(sub)...)
	}
	return all
}

// Every key of a vrrp section has a row in the reference, and a line in the
// configuration to start from, which is good with its comments taken off.
func TestVRRPDocs(t *testing.T) {
	reference, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(reference), "### services.NAME.vrrp\n")
	table, _, _ = strings.Cut(table, "\n### ")
	config, err := os.ReadFile("../../deploy/leasehold.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(config), "\n    #vrrp:\n")
	if !found {
		t.Fatal("no vrrp section in the configuration to start from")
	}
	_, err = parse(withVRRP(t, "router_id: 51, x: 1"))
	if err == nil {
		t.Fatal("x is a key")
	}
	_, list, _ := strings.Cut(err.Error(), "it takes ")
	names := strings.Split(list, ", ")
	if len(names) < 20 {
		t.Errorf("%d keys, want 20 at least: %q", len(names), names)
	}
	for _, name := range names {
		if !strings.Contains(table, "\n| `"+name+"` | ") {
			t.Errorf("docs/reference.md has no row for %s", name)
		}
		if !strings.Contains(section, "    #  "+name+": ") && !strings.Contains(section, "    #  #"+name+": ") {
			t.Errorf("deploy/leasehold.yaml has no line for %s", name)
		}
	}
	text := strings.Replace(string(config), "\n    #vrrp:\n"+section, "\n    vrrp:\n"+strings.ReplaceAll(section, "    #  ", "      "), 1)
	cfg, err := parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if v := cfg.Services[0].VRRP; v.Router.VRID != 51 || len(v.Router.Peers) != 1 {
		t.Errorf("got %+v", v)
	}
}
