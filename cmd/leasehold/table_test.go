package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 5, []string{""}},
		{"one two three", 7, []string{"one two", "three"}},
		{"a verylongword b", 6, []string{"a", "verylo", "ngword", "b"}},
		{"ünïcödé wörds", 7, []string{"ünïcödé", "wörds"}},
	} {
		if diff := cmp.Diff(tc.want, wrap(tc.text, tc.width)); diff != "" {
			t.Errorf("wrap(%q, %d): %s", tc.text, tc.width, diff)
		}
	}
}

// A title that does not fit makes the edge longer, and no row.
func TestGridNarrow(t *testing.T) {
	g := grid{title: strings.Repeat("t", 40), right: "epoch 1", head: []string{"A", "B"}, rows: [][]string{{"a", "b c d"}}}
	var b strings.Builder
	g.write(&b, 20)
	if !strings.Contains(b.String(), "epoch 1") || !strings.Contains(b.String(), "| a | b c d ") {
		t.Errorf("got\n%s", b.String())
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 0: "0ms", 250 * time.Millisecond: "250ms", 2 * time.Second: "2s", 61 * time.Second: "1m01s",
		90 * time.Minute: "1h30m", 50 * time.Hour: "2d02h",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	if got := clean("a\x1b[2J\nb\tü\x00"); got != "a [2J b ü " {
		t.Errorf("got %q", got)
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"endpoints", "embedded", "tls", "user"}
	for word, want := range map[string]string{
		"endpoint": "endpoints", "endponits": "endpoints", "tsl": "tls", "usr": "user", "embed": "embedded", "": "", "zzzzzz": "",
	} {
		got := didYouMean(word, known)
		if want == "" && got != "" || want != "" && !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("didYouMean(%q) = %q, want %q", word, got, want)
		}
	}
}
