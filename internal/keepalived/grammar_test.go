package keepalived

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUncomment(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "",
		"  \t":                          "",
		"priority 100":                  "priority 100",
		"\tpriority 100 \t":             "priority 100",
		"priority 100 # high":           "priority 100",
		"priority 100! high":            "priority 100",
		"# nothing":                     "",
		`say "a # b ! c" # d`:           `say "a # b ! c"`,
		`say \# \! # d`:                 `say # !`,
		`say "a \" # b" # c`:            `say "a \" # b"`,
		`# it's "one`:                   "",
		`$A= \`:                         `$A=\`,
		`interface eth0    \`:           `interface eth0\`,
		`# a comment that goes on \`:    `\`,
		`word # and a comment \`:        `word\`,
		`a \\ # b`:                      `a \\`,
		"priority\f100":                 "priority\f100",
		`virtual_ipaddress { 10.0.0.1}`: `virtual_ipaddress { 10.0.0.1}`,
	} {
		if got, open := uncomment(line); got != want || open {
			t.Errorf("uncomment(%q) = %q, %t; want %q", line, got, open, want)
		}
	}
	for _, line := range []string{`script "a`, `"`, `a "b" "c # d`, `a \" "`} {
		if got, open := uncomment(line); !open {
			t.Errorf("uncomment(%q) = %q, with no open quote", line, got)
		}
	}
}

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		"":                       nil,
		"a  b\tc":                {"a", "b", "c"},
		`a "b c" d`:              {"a", "b c", "d"},
		`a"b c"d`:                {"a", "b c", "d"},
		`"a""b"`:                 {"a", "b"},
		`""`:                     {""},
		`'a b' \x`:               {"'a", "b'", `\x`},
		"label\vx\fy":            {"label", "x", "y"},
		`10.20.8.188/24 dev "e"`: {"10.20.8.188/24", "dev", "e"},
	} {
		got, ok := split(line)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("split(%q), %t: %s", line, ok, diff)
		}
	}
	if got, ok := split(`a "b`); ok {
		t.Errorf("a quote that is not closed gave %q", got)
	}
}

func TestSplitEscaped(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           nil,
		`script "a b"`:               {"script", "a b"},
		`script 'a "b" c'`:           {"script", `a "b" c`},
		`a"b c"d e`:                  {"ab cd", "e"},
		`a\ b`:                       {"a b"},
		`\x41\x4a\x4A \101\60 \cA`:   {"AJJ", "A0", "\x01"},
		`\a\b\E\f\n\r\t\v\q\\\"`:     {"\a\b\x1b\f\n\r\t\v" + `q\"`},
		`"a\"b" 'c\'d'`:              {`a"b`, "c'd"},
		`\x`:                         {"x"},
		`\c`:                         {"c"},
		`"" ''`:                      {"", ""},
		`"/bin/sh -c 'exit 1'" root`: {"/bin/sh -c 'exit 1'", "root"},
	} {
		got, ok := splitEscaped(line)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("splitEscaped(%q), %t: %s", line, ok, diff)
		}
	}
	for _, line := range []string{`a "b`, `a 'b`, `a \`, `'it\'s`} {
		if got, ok := splitEscaped(line); ok {
			t.Errorf("splitEscaped(%q) = %q, want none", line, got)
		}
	}
}

func TestCutBrace(t *testing.T) {
	for line, want := range map[string][2]string{
		"":              {"", ""},
		"a b":           {"a b", ""},
		"a {":           {"a", "{"},
		"{ a }":         {"{", "a }"},
		"}  }":          {"}", "}"},
		`a "{" {`:       {`a "{"`, "{"},
		"a ${X} b":      {"a $", "{X} b"},
		`a 'b { c'`:     {"a 'b", "{ c'"},
		"auth_pass p}q": {"auth_pass p", "}q"},
	} {
		if head, rest := cutBrace(line); head != want[0] || rest != want[1] {
			t.Errorf("cutBrace(%q) = %q, %q; want %q", line, head, rest, want)
		}
	}
}

// outline writes statements as one line: words with _ between them, blocks in
// brackets.
func outline(all []*statement) string {
	var parts []string
	for _, s := range all {
		part := strings.Join(s.Words, "_")
		if s.block {
			part += "(" + outline(s.Block) + ")"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

func TestRead(t *testing.T) {
	deep := strings.Repeat("$A=1 \n", 3)
	for name, tc := range map[string]struct{ text, want string }{
		"nothing":                       {"", ""},
		"comments only":                 {"# a\n! b\n\n  # c", ""},
		"a block":                       {"a {\n b 1\n c {\n d\n }\n}\n e", "a(b_1 c(d)) e"},
		"a block on one line":           {"a { b 1 }", "a(b_1)"},
		"a block on the next line":      {"a\n# c\n{\nb\n}", "a(b)"},
		"white space of other kinds":    {"a\n \f \n\r {\n\v\n}", "a()"},
		"an empty block":                {"a { }", "a()"},
		"blocks behind one another":     {"a { b } c { d } }"[:15], "a(b) c(d)"},
		"carriage returns":              {"a {\r\n b\r\n}\r\n", "a(b)"},
		"no end of the last line":       {"a\nb", "a b"},
		"for this host":                 {"@db1 a\n@db2 b\n@^db1 c\n@^db2 d", "a d"},
		"a condition in a block":        {"a { @db1 b\n@db2 c\n}", "a(b)"},
		"a condition and nothing":       {"@db1\na", "a"},
		"a condition from a variable":   {"$C=@db1\n$C a\n$C=@db2\n$C b", "a"},
		"a variable":                    {"$X=5\na $X\na ${X}6\na $X/6\na \"$X\"", "a_5 a_56 a_$X/6 a_$X"},
		"a variable before a comma":     {"$X=5\na $X,$X)", "a_5,5)"},
		"a variable of a variable":      {"$X=${Y}1\n$Y=2\na $X\n$Y=3\na $X", "a_21 a_31"},
		"an empty variable":             {"$X=\na $X b", "a_b"},
		"one that is not defined":       {"a $X", "a_$X"},
		"defined for this host":         {"@db1 $X=1\n@db2 $X=2\na $X", "a_1"},
		"no definition":                 {"$X =1\n$1=2", "$X_=1 $1=2"},
		"a value with blanks":           {"$X=  a   b \n$X", "a_b"},
		"a hash":                        {"a \"${_HASH}${_BANG}\"", "a_#!"},
		"the folder":                    {"a ${_PWD} ${_INSTANCE}", "a_/etc/keepalived_db1"},
		"several lines":                 {"$X= \\\na { \\\nb \\\n}\n$X\n$X", "a(b) a(b)"},
		"several lines, first at once":  {"$X=a { \\\nb }\n$X", "a(b)"},
		"several lines, a comment":      {"$X= \\\na \\\n# c \\\nb\n$X", "a b"},
		"several lines, a blank one":    {"$X= \\\na \\\n\nb\n$X", "b a"},
		"several lines, not at the end": {"$X= \\\na \\\nb\nc $X d", "c_$X_d"},
		"several lines inside another":  {"$Y= \\\nc \\\nd\n$X= \\\na { \\\n$Y \\\n}\n$X", "a(c d)"},
		"nothing in several lines":      {"$X= \\\n\na $X b", "a_b"},
		"a sequence":                    {"~SEQ(I, 3) a $I", "a_1 a_2 a_3"},
		"a sequence down":               {"~SEQ(I, 2, 0) a $I", "a_2 a_1 a_0"},
		"a sequence in steps":           {"~SEQ(I, 1, 4, 9) a $I", "a_1 a_5 a_9"},
		"a sequence of a variable":      {"$N=2\n~SEQ(I, $N) a $I", "a_1 a_2"},
		"a sequence in hexadecimal":     {"~SEQx(I, 0xfe, 0x100) a $I", "a_fe a_ff a_100"},
		"a sequence in a sequence":      {"~SEQ(I, 2) ~SEQ(J, 2) a ${I}$J", "a_11 a_12 a_21 a_22"},
		"a sequence of blocks":          {"~SEQ(I, 2) a { b $I }", "a(b_1) a(b_2)"},
		"a sequence in several lines":   {"$X= \\\na { \\\n~SEQ(J, 2) b ${I}$J \\\n}\n~SEQ(I, 2) $X", "a(b_11 b_12) a(b_21 b_22)"},
		"a list":                        {"~LST(I, x, y) a $I", "a_x a_y"},
		"a list of groups":              {"~LST({I, J}, {1,2},{3}) a ${I}x$J", "a_1x2 a_3x"},
		"another ~":                     {"~foo", "~foo"},
		"an include":                    {"include one.conf\nb", "one b"},
		"an include in a block":         {"a { include one.conf\n}", "a(one)"},
		"an include of several":         {"include *.conf", "one two"},
		"an include with braces":        {"includea {two,one}.conf", "two one"},
		"an include in a folder":        {"include sub/three.inc", "three one"},
		"an include of nothing":         {"include none*\nb", "b"},
		"an include for this host":      {"@db1 include one.conf\n@db2 include two.conf", "one"},
		"no include":                    {"included one.conf\ninclude_check on", "included_one.conf include_check_on"},
		"variables stay":                {deep + "include one.conf\na $A", "one a_1"},
		"a line that is too long":       {"a " + strings.Repeat("x", 1020) + "yz w", "a_" + strings.Repeat("x", 1020) + "y z_w"},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := read(included(tc.text), etc+"keepalived.conf.test", "db1")
			if err != nil {
				t.Fatal(err)
			}
			if got := outline(src.statements); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// included is a configuration and what it may include.
func included(text string) memory {
	return memory{
		etc + "keepalived.conf.test": text,
		etc + "one.conf":             "one",
		etc + "two.conf":             "# two\ntwo\n",
		etc + ".three.conf":          "an editor's",
		etc + "loop.inc":             "include sub/loop.inc",
		etc + "self.inc":             "a\ninclude self.inc",
		etc + "sub/loop.inc":         "\n\ninclude ../loop.inc",
		etc + "sub/three.inc":        "three\ninclude ../one.conf",
		etc + "open.inc":             "a {\n",
	}
}

func TestReadRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"a quote":                  {"a\nb \"c", `:2: a " is opened and not closed on this line`},
		"a quote by a variable":    {"$Q=\\\"\na $Q", `:2: a " is opened and not closed before the end`},
		"a block that stays open":  {"a {\nb {\n}\n", ":1: the block that begins here is never closed"},
		"a } too many":             {"a {\n}\n}\n", ":3: a } that closes nothing"},
		"a { too many":             {"a {\n{\n}\n}", ":2: a { without a keyword before it"},
		"a { at the beginning":     {"{ }", ":1: a { without a keyword"},
		"two blocks for a keyword": {"a { }\n{ }", ":2: a { without a keyword"},
		"blocks without end":       {strings.Repeat("a {\n", 20), ":17: more than 16 blocks inside one another"},
		"a loop":                   {"include loop.inc", etc + "loop.inc: includes itself, by way of " + etc + "sub/loop.inc"},
		"itself":                   {"include keepalived.conf.test", "keepalived.conf.test: includes itself"},
		"itself, inside":           {"include self.inc", "self.inc: includes itself"},
		"an include of nothing":    {"\nincluder none.conf", ":2: no file matches, and includer asks for one"},
		"an include with a set":    {"include [", ":1: syntax error in pattern"},
		"braces without end":       {"include {1,2,3}{1,2,3}{1,2,3}{1,2,3}{1,2,3}", ":1: \"/etc/keepalived/{1,2,3}{1,2,3}{1,2,3}{1,2,3}{1,2,3}\" stands for more than 100"},
		"an open block, included":  {"include open.inc", etc + "open.inc:1: the block that begins here is never closed"},
		"a variable of itself":     {"$A=$A\nb $A", ":2: the variable $A names itself"},
		"a variable that grows":    {"$A=${A}x${A}\nb $A", ":2: with $A in it this line has more than 1023 bytes"},
		"no end of repetitions":    {"~SEQ(I, 0, 2000000000) a", ":1: more than 20000 statements"},
		"a repetition of nothing":  {"~SEQ(I, 0, 2000000000) $X\n", ":1: more than 20000 statements"},
		"a repetition of blanks":   {"$X=\n~SEQ(I, 0, 2000000000) $X", ":2: with this line there are more than 50000 lines"},
		"a sequence of words":      {"~SEQ(I, a) b", ":1: ~SEQ has something in its brackets that is no number"},
		"a sequence backwards":     {"~SEQ(I, 1, 1, 0) b", ":1: ~SEQ never gets from 1 to 0 in steps of 1"},
		"a sequence that stands":   {"~SEQ(I, 1, 0, 5) b", ":1: ~SEQ never gets from 1 to 5 in steps of 0"},
		"a sequence of four":       {"~SEQ(I, 1, 2, 3, 4) b", ":1: ~SEQ has more than three numbers"},
		"a sequence below zero":    {"~SEQx(I, -2) b", ":1: ~SEQ counts below zero"},
		"a sequence, too large":    {"~SEQ(I, 0, 99999999999999999999) b", ":1: ~SEQ has something in its brackets that is no number, or too large"},
		"a sequence, not closed":   {"~SEQ(I, 1 b", ":1: ~SEQ is not followed by (variable"},
		"a sequence of itself":     {"$A=$A\n~SEQ(I, $A) b", ":2: ~SEQ has a variable in its brackets"},
		"a sequence without name":  {"~SEQ(1x, 2) b", ":1: ~SEQ: a variable needs a name"},
		"a list, not closed":       {"~LST(I, 1, 2 b", ":1: ~LST is not followed by"},
		"a list of nothing":        {"~LST(I) b", ":1: ~LST is not followed by"},
		"a list, half a group":     {"~LST({I, J}, {1, 2) b", ":1: ~LST is not followed by"},
		"a list with too many":     {"~LST(I, {1, 2}) b", ":1: ~LST has more values than variables"},
		"a NUL byte":               {"a\x00b", ": has a NUL byte in it"},
		"a large file":             {strings.Repeat("#\n", 1<<19) + "#", ": has more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			src, err := read(included(tc.text), etc+"keepalived.conf.test", "db1")
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("got %v, %v; want an *Error", src, err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// An error never has the text of a line in it: that may be a password.
func TestErrorsHideText(t *testing.T) {
	for _, text := range []string{
		"a { auth_pass \"s3cr3t\n}", "auth_pass s3cr3t {", "$P=s3cr3t${P}x\nauth_pass $P", "~SEQ(s3cr3t", "~LST(s3cr3t", "auth_pass s3cr3t\n}",
	} {
		if _, err := read(included(text), etc+"keepalived.conf.test", "db1"); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// On a disk: folders count from the including file, links and modes are looked at.
func TestReadFromDisk(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("keepalived.conf", "include conf.d/*\n", 0o600)
	write("conf.d/a", "a ${_PWD}\ninclude ../more/[\\!x]", 0o600)
	write("conf.d/b", "never read {", 0o700)
	write("conf.d/.c", "never read {", 0o600)
	write("conf.d/d/e", "never read {", 0o600)
	write("more/x", "never read {", 0o600)
	write("more/y", "y", 0o600)
	t.Chdir(dir)
	src, err := Read("keepalived.conf", "db1")
	if err != nil {
		t.Fatal(err)
	}
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := outline(src.statements), fmt.Sprintf("a_%s/conf.d y", target); got != want && got != fmt.Sprintf("a_%s/conf.d y", dir) {
		t.Errorf("got %s, want %s", got, want)
	}
	if diff := cmp.Diff([]string{"keepalived.conf", "conf.d/a", "more/y"}, src.Files); diff != "" {
		t.Error(diff)
	}
	var skipped []string
	for _, n := range src.notes {
		if n.outcome.Left != "" {
			skipped = append(skipped, n.at.String())
		}
	}
	if diff := cmp.Diff([]string{"conf.d/b", "conf.d/d"}, skipped); diff != "" {
		t.Errorf("what is told as passed over: %s", diff)
	}
	for _, name := range []string{"conf.d/b", "conf.d", "none"} {
		if _, err := Read(name, "db1"); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// Whatever is in a file, it is read or refused, and every line that says something
// is told.
func FuzzRead(f *testing.F) {
	tree := sampleTree(f)
	for _, text := range tree {
		f.Add(text)
	}
	f.Add("$A= \\\n$A\\\n~SEQ(I, 2) $A\n\n$A")
	f.Add("a \"b\\\" { # c\n} ${_RANDOM 1 2} ${_RANDOM}\ninclude one.conf # x")
	f.Add("vrrp_instance \"\" {\n}\nvrrp_script \xff { script '\\x00' }")
	f.Fuzz(func(t *testing.T, text string) {
		const name = etc + "keepalived.conf.test"
		src, err := read(included(text), name, "db1")
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || src != nil {
				t.Fatalf("read() = %v, %v; want an *Error and nothing", src, err)
			}
			return
		}
		for _, keep := range []bool{false, true} {
			res := Convert(src, Options{KeepVRRP: keep})
			for _, l := range res.Lines {
				if len(l.Outcomes) == 0 {
					t.Errorf("%s: nothing is said of it", l.Pos)
				}
			}
			if len(res.YAML) < 1<<16 { // the reader of YAML is slow
				allThere(t, res)
			}
			if longest(text) >= maxLine {
				continue // keepalived, and so this, sees several lines
			}
			if why := toldWrong(text, told(res, name)); why != "" {
				t.Errorf("keep %t: -lines that say something +told\n%s", keep, why)
			}
		}
	})
}

func longest(text string) int {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n = max(n, len(line))
	}
	return n
}
