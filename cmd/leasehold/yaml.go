package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxConfig bounds the configuration file: no real one comes near it.
const maxConfig = 1 << 20

// keys says what to do with the value of each key that may stand in a mapping.
// A name behind a ! is a key that is known and refused: it is never suggested.
type keys map[string]func(ast.Node)

// names are the keys that may be written.
func (k keys) names() []string {
	names := make([]string, 0, len(k))
	for name := range k {
		if !strings.HasPrefix(name, "!") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// decoder walks the syntax tree itself instead of unmarshalling into structs:
// that is how every mistake is reported, not only the first, each with its line.
type decoder struct{ *report }

// document parses one YAML document into its mapping, or reports why it cannot.
func (d decoder) document(b []byte, top keys) {
	if len(b) > maxConfig {
		d.problem(0, "has more than %d bytes: that is not a configuration of Leasehold", maxConfig)
		return
	}
	// Duplicates are allowed here and refused in mapping, so that all are listed.
	file, err := parser.ParseBytes(b, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		d.problem(0, "is empty; it needs at least etcd and services")
	case 1:
		d.mapping(bodies[0], "the file", top)
	default:
		d.problem(line(bodies[1]), "a second YAML document starts here, and would be ignored; take out the ---")
	}
}

// syntax reports what the parser could not read.
func (d decoder) syntax(err error) {
	at, what := 0, err.Error()
	if e := yaml.Error(nil); errors.As(err, &e) {
		what = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			at = t.Position.Line
		}
	}
	d.problem(at, "not YAML: %s", what)
}

// line returns the line that a node begins on; 0 when it has none.
func line(n ast.Node) int {
	if n == nil {
		return 0
	}
	if v, ok := n.(*ast.MappingValueNode); ok {
		return line(v.Key)
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return line(m.Values[0])
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return 0
	}
	return t.Position.Line
}

// entries returns the pairs of a mapping; ok is false when n is no mapping.
func entries(n ast.Node) (pairs []*ast.MappingValueNode, ok bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode: // what the parser makes of a mapping with one key
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// mapping hands every value to its key's function. Unknown keys, doubled ones
// and empty values are reported.
func (d decoder) mapping(n ast.Node, where string, known keys) {
	d.pairs(n, where, func(key string, at int, value ast.Node) {
		if refuse := known["!"+key]; refuse != nil {
			refuse(value)
			return
		}
		set := known[key]
		if set == nil || strings.HasPrefix(key, "!") {
			names := known.names()
			d.problem(at, "unknown key %q in %s%s; it takes %s", key, where, didYouMean(key, names), strings.Join(names, ", "))
			return
		}
		if _, null := value.(*ast.NullNode); null || value == nil {
			d.problem(at, "%s has no value; write one, or take the line out for the default", key)
			return
		}
		set(value)
	})
}

// pairs calls each for every pair of a mapping, and reports keys that are
// doubled or no words.
func (d decoder) pairs(n ast.Node, where string, each func(key string, at int, value ast.Node)) {
	pairs, ok := entries(n)
	if !ok {
		d.problem(line(n), "%s is %s; write key: value lines", where, kind(n))
		return
	}
	first := make(map[string]int, len(pairs))
	for _, p := range pairs {
		at := line(p)
		key, ok := keyText(p.Key)
		if !ok {
			d.problem(at, "%s has a key that is %s; keys are plain words (anchors and merge keys are not read)", where, kind(p.Key))
			continue
		}
		if before, twice := first[key]; twice {
			d.problem(at, "%q is in %s twice (first on line %d), and only one of them could count; take one out", key, where, before)
			continue
		}
		first[key] = at
		each(key, at, p.Value)
	}
}

// keyText returns the text of a key; numbers and the like count as written.
func keyText(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return k.GetToken().Value, true
	}
	return "", false
}

// kind names what a node is, for people.
func kind(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
		return "an anchor or alias, which are not read here"
	case *ast.TagNode:
		return "a tagged value, which are not read here"
	case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return fmt.Sprintf("the value %q", scalarText(n))
	}
	return "something else"
}

// scalarText returns a scalar as it is written.
func scalarText(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	if t := n.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

// text sets a string. Numbers are taken as written, so that a user called 007
// needs no quotes.
func (d decoder) text(key string, set func(string, int)) func(ast.Node) {
	return func(n ast.Node) {
		switch n.(type) {
		case *ast.StringNode, *ast.LiteralNode, *ast.IntegerNode, *ast.FloatNode:
			if s := strings.TrimSpace(scalarText(n)); s != "" {
				set(s, line(n))
				return
			}
			d.problem(line(n), "%s is empty; write a value, or take the line out for the default", key)
		default:
			d.problem(line(n), "%s is %s; write one word or a quoted string", key, kind(n))
		}
	}
}

// duration sets a duration, which needs its unit.
func (d decoder) duration(key string, set func(time.Duration, int)) func(ast.Node) {
	return func(n ast.Node) {
		switch n.(type) {
		case *ast.StringNode:
			v, err := time.ParseDuration(scalarText(n))
			if err != nil || v < 0 {
				d.problem(line(n), "%s: %q is not a length of time; write a number with its unit, as in 500ms, 3s, 1m30s", key, scalarText(n))
				return
			}
			set(v, line(n))
		case *ast.IntegerNode, *ast.FloatNode:
			if s := scalarText(n); s == "0" {
				set(0, line(n))
			} else {
				d.problem(line(n), "%s: %s has no unit; write %ss for seconds, %sms for milliseconds", key, s, s, s)
			}
		default:
			d.problem(line(n), "%s is %s; write a length of time, as in 500ms or 3s", key, kind(n))
		}
	}
}

// number sets a whole number between lowest and highest; why says where the
// bounds come from.
func (d decoder) number(key string, lowest, highest int, why string, set func(int)) func(ast.Node) {
	return func(n ast.Node) {
		v, ok := n.(*ast.IntegerNode)
		if !ok {
			d.problem(line(n), "%s is %s; write a whole number from %d to %d", key, kind(n), lowest, highest)
			return
		}
		i := math.MinInt
		switch x := v.Value.(type) {
		case int64:
			i = int(x)
		case uint64:
			i = int(min(x, math.MaxInt))
		}
		if i < lowest || i > highest {
			d.problem(line(n), "%s: %s is not from %d to %d (%s)", key, scalarText(n), lowest, highest, why)
			return
		}
		set(i)
	}
}

// flag sets a boolean.
func (d decoder) flag(key string, set func(bool, int)) func(ast.Node) {
	return func(n ast.Node) {
		if v, ok := n.(*ast.BoolNode); ok {
			set(v.Value, line(n))
			return
		}
		d.problem(line(n), "%s is %s; write true or false", key, kind(n))
	}
}

// word sets one of a few words.
func (d decoder) word(key string, words []string, set func(string)) func(ast.Node) {
	return d.text(key, func(s string, at int) {
		if !slices.Contains(words, s) {
			d.problem(at, "%s: %q%s; write one of %s", key, s, didYouMean(s, words), strings.Join(words, ", "))
			return
		}
		set(s)
	})
}

// list calls each for every element of a list.
func (d decoder) list(key, example string, each func(ast.Node)) func(ast.Node) {
	return func(n ast.Node) {
		seq, ok := n.(*ast.SequenceNode)
		if !ok {
			d.problem(line(n), "%s is %s; write a list, as in %s", key, kind(n), example)
			return
		}
		if len(seq.Values) == 0 {
			d.problem(line(n), "%s is an empty list; write at least one, as in %s", key, example)
		}
		for _, v := range seq.Values {
			each(v)
		}
	}
}
