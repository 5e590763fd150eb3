package keepalived

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// memory is a tree of files; whatever is under a folder matches by name.
type memory map[string]string

func (m memory) glob(pattern string) ([]string, error) {
	patterns, err := braces(pattern)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range patterns {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if ok, err := filepath.Match(p, name); err != nil {
				return nil, err
			} else if ok && !hidden(p, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

func (m memory) read(name string, limit int64) ([]byte, error) {
	text, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text[:min(int64(len(text)), limit)]), nil
}

// etc is where the samples stand for their tests.
const etc = "/etc/keepalived/"

// sampleTree returns the samples as files in etc.
func sampleTree(t testing.TB) memory {
	t.Helper()
	m := memory{}
	err := filepath.WalkDir("testdata", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".conf" {
			return err
		}
		b, err := os.ReadFile(path)
		m[etc+strings.TrimPrefix(filepath.ToSlash(path), "testdata/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sampleNames returns the samples that are configurations of their own.
func sampleNames(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d samples (%v), want 15 at least", len(files), err)
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	return files
}

func readSample(t testing.TB, name string) *Source {
	t.Helper()
	src, err := read(sampleTree(t), etc+name, "db1")
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// What each sample becomes, and what is said of each of its lines.
func TestSamples(t *testing.T) {
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			src := readSample(t, name)
			var b bytes.Buffer
			for _, keep := range []bool{false, true} {
				res := Convert(src, Options{Node: "db1", KeepVRRP: keep})
				fmt.Fprintf(&b, "==== --vrrp keep: %t\n%s", keep, res.YAML)
				tellLines(&b, res)
			}
			golden := strings.TrimSuffix(filepath.Join("testdata", name), ".conf") + ".golden"
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("run with -update if this is meant; -want +got\n%s", diff)
			}
		})
	}
}

func tellLines(b *bytes.Buffer, res *Result) {
	fmt.Fprintln(b, "---- lines")
	for _, l := range res.Lines {
		for _, o := range l.Outcomes {
			at := fmt.Sprintf("%s:%d", strings.TrimPrefix(l.Pos.File, etc), l.Pos.Line)
			if o.Left != "" {
				fmt.Fprintf(b, "%s: LEFT %s: %s\n", at, o.Keyword, o.Left)
			} else {
				fmt.Fprintf(b, "%s: %s: %s\n", at, o.Keyword, o.Became)
			}
		}
	}
	fmt.Fprintln(b, "---- notes")
	for _, n := range res.Notes {
		fmt.Fprintln(b, n)
	}
}

// directives returns the numbers of the lines that say something: a second, dumb
// reading of keepalived.conf(5), with no idea of variables and blocks.
func directives(text string) []int {
	var lines []int
	for i, line := range strings.Split(text, "\n") {
		quoted, said := false, false
		for j := 0; j < len(line); j++ {
			c := line[j]
			if c == '\\' && j+1 < len(strings.TrimRight(line, " \t\r")) {
				said = true
				j++
				continue
			}
			if c == '"' {
				quoted = !quoted
			}
			if !quoted && (c == '#' || c == '!') {
				break
			}
			said = said || !strings.ContainsRune(whiteSpace+"{}\\", rune(c))
		}
		if said {
			lines = append(lines, i+1)
		}
	}
	return lines
}

// told returns the numbers of the lines of a file that are told.
func told(res *Result, file string) []int {
	var lines []int
	for _, l := range res.Lines {
		if l.Pos.File == file && l.Pos.Line > 0 {
			lines = append(lines, l.Pos.Line)
		}
	}
	return lines
}

// toldWrong compares the lines of a text that say something with those that are
// told. A backslash at the end of a comment may be told: it is a word to
// keepalived, unless it is in a definition.
func toldWrong(text string, told []int) string {
	lines, want := strings.Split(text, "\n"), directives(text)
	got := slices.DeleteFunc(slices.Clone(told), func(n int) bool {
		_, found := slices.BinarySearch(want, n)
		return strings.HasSuffix(strings.TrimRight(lines[n-1], " \t\r"), `\`) && !found
	})
	if slices.Equal(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

// No line that says something is dropped, or told in both lists.
func TestEveryLineIsToldOnce(t *testing.T) {
	tree := sampleTree(t)
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			src := readSample(t, name)
			for _, keep := range []bool{false, true} {
				res := Convert(src, Options{KeepVRRP: keep})
				for _, file := range src.Files {
					if why := toldWrong(tree[file], told(res, file)); why != "" {
						t.Errorf("%s, keep %t: %s", file, keep, why)
					}
				}
				for _, l := range res.Lines {
					if len(l.Outcomes) == 0 {
						t.Errorf("%s: nothing is said of it", l.Pos)
					}
				}
			}
		})
	}
}

// The passwords of the samples are in the files for them, and in nothing that is
// shown.
func TestPasswordsAreNotShown(t *testing.T) {
	secrets := []string{"g7Kd92xa", "averylon", "fr1day13", "s3cr3t", "k3y4ah", "p#s!w d", "2 words"}
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			res := Convert(readSample(t, name), Options{KeepVRRP: true})
			shown := fmt.Sprintf("%s\n%+v\n%v", res.YAML, res.Lines, res.Notes) + fmt.Sprintf("%v %+v %#v %s", res.Secrets, res.Secrets, res.Secrets, res.Secrets)
			for _, secret := range secrets {
				if strings.Contains(shown, secret) {
					t.Errorf("%q is shown", secret)
				}
			}
			for _, s := range res.Secrets {
				if !slices.Contains(secrets, s.Secret.Reveal()) {
					t.Errorf("the password for %s is %q", s.Path, s.Secret.Reveal())
				}
			}
		})
	}
}

// Every key that a line is said to have become is in the configuration.
func TestWhatBecameIsThere(t *testing.T) {
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			for _, keep := range []bool{false, true} {
				allThere(t, Convert(readSample(t, name), Options{KeepVRRP: keep}))
			}
		})
	}
}

func allThere(t *testing.T, res *Result) {
	t.Helper()
	var made any
	if err := yaml.Unmarshal(res.YAML, &made); err != nil {
		t.Fatalf("%v\n%s", err, res.YAML)
	}
	for _, l := range res.Lines {
		for _, o := range l.Outcomes {
			if strings.HasPrefix(o.Became, "services.") && !there(made, o.Became) {
				t.Errorf("%s: %s became %s, and that is not in\n%s", l.Pos, o.Keyword, o.Became, res.YAML)
			}
		}
	}
}

// there walks a path such as services.a.checks[0].exec.command, with perhaps a
// remark behind it. The name of a service may have dots in it.
func there(made any, path string) bool {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "services."), " ")
	top, _ := made.(map[string]any)
	services, _ := top["services"].(map[string]any)
	for name, service := range services {
		if rest, ok := strings.CutPrefix(path+".", name+"."); ok && walk(service, strings.TrimSuffix(rest, ".")) {
			return true
		}
	}
	return false
}

func walk(made any, path string) bool {
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch m := made.(type) {
		case []any:
			n, err := strconv.Atoi(part)
			if err != nil || n >= len(m) {
				return false
			}
			made = m[n]
		case map[string]any:
			made = m[part]
		default:
			return false
		}
	}
	return made != nil
}
