package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The document says what the migrations do: it has their edits and, in their order,
// what happens on which host.
func TestMigrationDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{noPreempt, dropVRRP, fmt.Sprintf(vrrpPriority, 200), fmt.Sprintf(vrrpPriority, 100)} {
		if !strings.Contains(string(text), "sed -i '"+script+"' /etc/leasehold/leasehold.yaml") {
			t.Errorf("docs/migration.md does not have the edit %s", script)
		}
	}
	begin := map[string]string{ // of a row of the document, for a step
		"keepalived stopped":                    "systemctl disable --now keepalived",
		"Leasehold started":                     "systemctl enable --now leasehold",
		"Leasehold stopped, keepalived started": "systemctl disable --now leasehold`, `leasehold release --purge`, `systemctl enable --now keepalived",
		"vrrp section out, reloaded":            "sed -i '" + dropVRRP,
		"vrrp section in, reloaded":             "cp /etc/leasehold/leasehold.yaml.vrrp",
		"priority 200, reloaded":                "sed -i '" + fmt.Sprintf(vrrpPriority, 200),
		"priority 100, reloaded":                "sed -i '" + fmt.Sprintf(vrrpPriority, 100),
	}
	for heading, trial := range map[string]Trial{"## The way there": there(true), "## The way back": back(true)} {
		_, part, ok := strings.Cut(string(text), heading)
		if !ok {
			t.Fatalf("docs/migration.md has no %s", heading)
		}
		part, _, _ = strings.Cut(part, "\n## ")
		n := 0
		for _, s := range trial.Steps {
			host, what, _ := strings.Cut(s.What, ": ")
			what, _, _ = strings.Cut(what, ", priority 100") // what Leasehold is started with
			typed, known := begin[what]
			if !known {
				typed, known = begin[strings.TrimPrefix(what, "vrrp section in, ")]
			}
			if s.What == "" || host != A && host != B {
				continue
			}
			if n++; !known {
				t.Errorf("the test does not know the step %q", s.What)
				continue
			}
			if row := fmt.Sprintf("\n| %d | %s | `%s", n, host, typed); !strings.Contains(part, row) && !strings.Contains(part, fmt.Sprintf("\n| %d | %s | the same, with `%s", n, host, typed)) {
				t.Errorf("%s has no row %q for the step %q", heading, row, s.What)
			}
		}
		if n < 5 {
			t.Errorf("%s: %d steps", heading, n)
		}
	}
}
