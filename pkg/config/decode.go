package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// place is where something stands in the document.
type place struct {
	path         string
	line, column int
}

// value is a node of the document, and where it stands. Its node is never an
// alias; it is nil for a key that is not there, or null: then the place is
// that of the mapping around it.
type value struct {
	place
	node *yaml.Node
}

func (v value) absent() bool { return v.node == nil }

// decoder collects the mistakes of a document while it is read.
type decoder struct {
	errs Errors
}

// errorf records a mistake. The caller may add a hint to what it returns.
func (d *decoder) errorf(at place, format string, args ...any) *Error {
	e := &Error{Path: at.path, Line: max(at.line, 1), Column: at.column, Problem: fmt.Sprintf(format, args...)}
	d.errs = append(d.errs, e)
	return e
}

// clean reports whether nothing has been wrong since there were n mistakes.
func (d *decoder) clean(n int) bool { return len(d.errs) == n }

// valueOf resolves an alias and checks the tag. path is that of the result.
func (d *decoder) valueOf(path string, n *yaml.Node) value {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	v := value{place: place{path: path, line: n.Line, column: n.Column}, node: n}
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.Tag {
		case "!!str", "!!int", "!!bool", "!!float", "!!null", "!!timestamp", "!!seq", "!!map":
		default:
			d.errorf(v.place, "has a YAML tag that means nothing here").hint("put text that begins with ! in quotes")
		}
	}
	if isNull(n) {
		v.node = nil
	}
	return v
}

// pair is one entry of a mapping.
type pair struct {
	name string
	at   place // of the key
	value
}

// pairs returns the entries of a mapping: its own, then those it merges with
// the key <<, where its own don't win over them. An absent value has none.
func (d *decoder) pairs(v value) []pair {
	if v.absent() {
		return nil
	}
	if v.node.Kind != yaml.MappingNode {
		d.errorf(v.place, "is %s, should be a mapping (key: value)", kindOf(v.node))
		return nil
	}
	var own []pair
	var merged []*yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := d.valueOf(v.path, v.node.Content[i])
		switch {
		case key.node != nil && key.node.Tag == "!!merge":
			merged = append(merged, v.node.Content[i+1])
			continue
		case key.node != nil && key.node.Kind != yaml.ScalarNode:
			d.errorf(key.place, "a key is %s, should be text", kindOf(key.node))
			continue
		case key.node == nil:
			d.errorf(key.place, "a key is missing before its colon")
			continue
		}
		name := key.node.Value
		at := place{path: join(v.path, showKey(name)), line: key.line, column: key.column}
		if line, ok := seen[name]; ok {
			d.errorf(at, "the key is there twice").hint("line %d has it already", line)
			continue
		}
		seen[name] = key.line
		own = append(own, pair{name: name, at: at, value: d.valueOf(at.path, v.node.Content[i+1])})
	}
	for _, n := range merged {
		for _, p := range d.merge(v.path, n) {
			if _, ok := seen[p.name]; !ok {
				seen[p.name] = p.at.line
				own = append(own, p)
			}
		}
	}
	return own
}

// merge returns the entries that <<: n brings: n is a mapping or a list of
// mappings, of which earlier ones win.
func (d *decoder) merge(path string, n *yaml.Node) []pair {
	v := d.valueOf(path, n)
	if v.absent() || v.node.Kind != yaml.SequenceNode {
		return d.pairs(v)
	}
	var all []pair
	for _, item := range v.node.Content {
		all = append(all, d.pairs(d.valueOf(path, item))...)
	}
	return all
}

// list returns the items of a list; an absent value has none.
func (d *decoder) list(v value) []value {
	if v.absent() {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		d.errorf(v.place, "is %s, should be a list", kindOf(v.node)).hint("write each item on a line of its own: - item")
		return nil
	}
	items := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		items[i] = d.valueOf(fmt.Sprintf("%s[%d]", v.path, i), n)
	}
	return items
}

// object is a mapping whose keys are all known.
type object struct {
	*decoder
	place
	section *section
	values  map[string]value
	broken  bool // it is no mapping at all: nothing more is said of what it lacks
}

// object reads a mapping with the keys of s. Anything absent is an object
// without keys, as in MetalLB: a list item "-" has all defaults.
func (d *decoder) object(v value, s *section) object {
	o := object{decoder: d, place: v.place, section: s, values: map[string]value{}}
	o.broken = !v.absent() && v.node.Kind != yaml.MappingNode
	for _, p := range d.pairs(v) {
		if _, ok := s.key(p.name); !ok {
			d.errorf(p.at, "unknown key").Hint = s.suggest(p.name)
			continue
		}
		o.values[p.name] = p.value
	}
	return o
}

// get returns the value of a key, which must be one of the section's.
func (o object) get(name string) value {
	if v, ok := o.values[name]; ok {
		return v
	}
	return value{place: place{path: join(o.path, name), line: o.line, column: o.column}}
}

// missing records that a key which must be there is not.
func (o object) missing(name string) {
	if o.broken {
		return
	}
	k, _ := o.section.key(name)
	o.errorf(o.get(name).place, "is missing").hint("write %s, such as %s: %s", k.doc, name, k.example)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// showKey is show for a key: a word of letters and dashes may be "password".
func showKey(name string) string {
	if strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz-_") == "" && len(name) <= longest {
		return name
	}
	return show(name)
}

// longest is how many bytes of the document's text a message repeats.
const longest = 64

// show makes text of the document fit for a message: one line, not endless,
// and nothing that may be a mistyped password.
func show(text string) string {
	if strings.Contains(strings.ToLower(text), "password") {
		return "(text not shown)"
	}
	if len(text) > longest {
		text = text[:longest] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
}
