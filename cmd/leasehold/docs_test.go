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
