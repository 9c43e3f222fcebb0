package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxBytes is the size of the largest ConfigMap that Kubernetes stores.
	maxBytes = 1 << 20

	// maxNodes bounds the document after its aliases are written out. It is
	// more than maxBytes of YAML can hold without aliases, so only documents
	// made to explode meet it.
	maxNodes = 1 << 20
)

// load reads the one YAML document of doc. It returns nil for an empty one.
// What it returns is finite: no alias contains itself, and writing out all
// aliases gives at most maxNodes nodes.
func load(doc []byte) (*yaml.Node, *Error) {
	if err := checkText(doc); err != nil {
		return nil, err
	}
	dec := yaml.NewDecoder(bytes.NewReader(doc))
	var root *yaml.Node
	for first := true; ; first = false {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntaxError(doc, err)
		}
		content := n.Content[0]
		switch {
		case first:
			root = content
		case !isNull(content):
			e := &Error{Line: content.Line, Column: content.Column, Problem: "a second YAML document begins here"}
			return nil, e.hint("put everything into one document: remove the line --- and what belongs to one list under one key")
		}
	}
	if root == nil {
		return nil, nil
	}
	if _, err := expand(root, map[*yaml.Node]int{}); err != nil {
		return nil, err
	}
	return root, nil
}

// checkText refuses what can't be YAML text, with better positions than the
// YAML library gives.
func checkText(doc []byte) *Error {
	if len(doc) > maxBytes {
		e := &Error{Line: 1, Problem: "the document is larger than 1 MiB"}
		return e.hint("Kubernetes stores no larger ConfigMap")
	}
	line, column := 1, 0
	for rest := doc; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		column++
		switch {
		case r == utf8.RuneError && size == 1:
			return &Error{Line: line, Column: column, Problem: "this is not UTF-8 text"}
		case r == '\n':
			line, column = line+1, 0
		case r != '\t' && r != '\r' && unicode.IsControl(r) && r != '\u0085':
			return &Error{Line: line, Column: column, Problem: "there is a control character here"}
		}
	}
	return nil
}

var (
	lineOf      = regexp.MustCompile(`^line (\d+): `)
	unknownName = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxError turns the YAML library's error into ours. It repeats no text of
// the document: that might be part of a password.
func syntaxError(doc []byte, err error) *Error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &Error{Line: 1}
	if m := lineOf.FindStringSubmatch(text); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
		if strings.HasPrefix(text, "did not find") { // the library counts from 0 here
			e.Line++
		}
	}
	if m := unknownName.FindStringSubmatch(text); m != nil {
		if before, _, ok := bytes.Cut(doc, []byte("*"+m[1])); ok {
			e.Line = 1 + bytes.Count(before, []byte("\n"))
		}
		text = "an alias (*name) refers to an anchor (&name) that is not there"
		e.Hint = "put text that begins with * in quotes"
	}
	e.Problem = "not YAML: " + text
	if strings.Contains(text, "cannot start any token") && bytes.ContainsRune(doc, '\t') {
		e.Hint = "indent with spaces, not with tabs"
	}
	return e
}

// expand returns how many nodes n has after its aliases are written out, with
// sizes as its memory: -1 stands for a node that is being counted.
func expand(n *yaml.Node, sizes map[*yaml.Node]int) (int, *Error) {
	switch size := sizes[n]; {
	case size > 0:
		return size, nil
	case size < 0:
		return 0, &Error{Line: n.Line, Column: n.Column, Problem: "an anchor (&name) contains its own alias (*name)"}
	}
	sizes[n] = -1
	total := 1
	children := n.Content
	if n.Kind == yaml.AliasNode {
		children = []*yaml.Node{n.Alias}
	}
	for _, child := range children {
		size, err := expand(child, sizes)
		if err != nil {
			return 0, err
		}
		if total += size; total > maxNodes {
			e := &Error{Line: n.Line, Column: n.Column, Problem: "the aliases (*name) make the document too large"}
			return 0, e.hint("written out, it would have more than %d values", maxNodes)
		}
	}
	sizes[n] = total
	return total, nil
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// isText reports whether a scalar can only be text: it is quoted, or tagged so.
func isText(n *yaml.Node) bool {
	if n.Style&yaml.TaggedStyle != 0 {
		return n.Tag == "!!str"
	}
	return n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// kindOf names what a node is, without its content.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping (key: value)"
	case yaml.SequenceNode:
		return "a list (- item)"
	default:
		return "a single value"
	}
}
