package demo

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"leasehold/internal/lab"
)

// narrow holds that a text fits a terminal, and is for none.
func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > screenWidth {
			t.Errorf("%d cells: %q", n, line)
		}
		if strings.ContainsRune(line, '\x1b') {
			t.Errorf("a control sequence without a terminal: %q", line)
		}
	}
}

// rows are those of a story in which two steps failed.
func rows() []row {
	story := steps(fencedTTL)
	two := seen(1980*time.Millisecond, 987, hostA, hostB)
	two.Duals = []lab.ARPAnswer{{}, {}}
	return []row{
		{step: starting(), report: seen(0, 0, hostB), took: 3120 * time.Millisecond},
		{step: story[0], report: seen(0, 0, hostA)},
		{step: story[1], report: two, err: never(two)},
		{step: story[2], err: errors.New("wait for the demo's network to be well: context deadline exceeded\n(last: db20-024 is not eligible)")},
		{step: story[3], report: seen(8400*time.Microsecond, 3, hostA, hostB)},
		{step: story[5], report: seen(108*time.Millisecond, 9, hostA, hostB)},
		{step: &step{ID: "rest", Short: "between the faults", Must: "none lost"}, report: seen(0, 0)},
	}
}

func TestTableFits80Columns(t *testing.T) {
	var b bytes.Buffer
	if err := writeTable(&b, rows(), false); err != nil {
		t.Fatal(err)
	}
	narrow(t, b.String())
	golden(t, "table.txt", b.String())
}

func TestPlainLinesFit80Columns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := &board{out: &out, start: time.Now(), failed: func(error) {}}
		b.introduce(Options{NoMySQL: true}, errors.New("no fence: bpf is refused"))
		sc := &scene{network: &network{}, holder: hostA, standby: hostB}
		for _, s := range steps(fencedTTL) {
			b.announce(s.named(sc))
		}
		time.Sleep(83 * time.Second)
		b.tell("mysql is paused until 2026-11-29 16:04:11: db20-024 keeps [10.20.8.188/24], also while its daemon is stopped")
		for _, r := range rows() {
			b.judged(r)
		}
		narrow(t, out.String())
		golden(t, "plain.txt", out.String())
	})
}

func TestHandbookFits80Columns(t *testing.T) {
	for _, mariadb := range []bool{false, true} {
		narrow(t, place{DefaultName}.handbook(mariadb, Options{Name: DefaultName, Command: "leasehold"}.down()))
	}
}

// A reader that has gone ends the story, and is told of once.
func TestBoardWithoutReader(t *testing.T) {
	r, w := io.Pipe()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var told []error
	b := &board{out: w, start: time.Now(), failed: func(err error) { told = append(told, err) }}
	b.tell("one")
	b.tell("two")
	if len(told) != 1 || !errors.Is(b.err(), io.ErrClosedPipe) {
		t.Errorf("told of %v, and err() = %v; want one closed pipe", told, b.err())
	}
	b.onTrouble(func(err error) { told = append(told, err) })
	if len(told) != 2 {
		t.Errorf("who asks later is told of %v, want the same", told[1:])
	}
}

func TestWrap(t *testing.T) {
	for text, want := range map[string][]string{
		"":              {""},
		"a b":           {"a b"},
		"aaaa bbbb c":   {"aaaa", "bbbb c"},
		"aaaaaaaaaa bb": {"aaaaaa", "bb"},
		"→→→ →→ →":      {"→→→ →→", "→"},
	} {
		if got := wrap(text, 6); strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("wrap(%q, 6) = %q, want %q", text, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for word, want := range map[string]string{
		"1h": "1h", "--for": "--for", "disk swap": "'disk swap'", "": "''", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "/a/b.c": "/a/b.c",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		DefaultName: true, "x": true, "a1-b": true,
		"": false, "../x": false, "A": false, "1a": false, "a/b": false, "a b": false, strings.Repeat("a", 33): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v, want it allowed: %t", name, err, ok)
		}
	}
}
