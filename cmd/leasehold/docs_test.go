package main

import (
	"os"
	"strings"
	"testing"
)

// The reference shows what status prints, and has every command and flag.
func TestReference(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	sample, err := os.ReadFile("testdata/status-fine.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, string(sample)) {
		t.Error("the sample of status is not what status prints: see testdata/status-fine.txt")
	}
	for _, c := range (&app{}).rootCommand().Commands() {
		if !strings.Contains(text, "### "+c.Name()) && c.Name() != "version" {
			t.Errorf("no section on %s", c.Name())
		}
		for word := range strings.FieldsSeq(c.Flags().FlagUsages()) {
			if name, ok := strings.CutPrefix(word, "--"); ok && !strings.Contains(text, "-"+name) && !strings.Contains(text, "-"+name[:1]) {
				t.Errorf("%s: no word on --%s", c.Name(), name)
			}
		}
	}
}
