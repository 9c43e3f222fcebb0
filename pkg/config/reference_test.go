package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestReference keeps REFERENCE.md equal to the tables that the decoder uses.
func TestReference(t *testing.T) {
	golden(t, "REFERENCE.md", reference())
}

// reference renders the tables as Markdown.
func reference() string {
	var b strings.Builder
	b.WriteString(`# The configuration document

<!-- Made from the tables in keys.go by go test ./pkg/config -update; don't edit. -->

Herald reads one YAML document: the text under the key ` + "`config`" + ` of its ConfigMap. It is MetalLB's, with
additions. "Since" is MetalLB's first version that has the key (0.9 stands for 0.9 and older), or Herald for keys of
its own. What Herald refuses that MetalLB took, how peers without a name are called and which communities are well
known is in the [package documentation](doc.go).
`)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| Key | Value | Default | Rule | Meaning | Since |\n|---|---|---|---|---|---|\n", heading(s), s.about)
		for _, k := range s.keys {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", k.name, k.kind, k.defaultText(), k.ruleText(), k.doc, k.since)
		}
	}
	return b.String()
}

func heading(s *section) string {
	if s == &documentKeys {
		return "The document"
	}
	return "`" + s.title + "`"
}

func (k key) defaultText() string {
	switch {
	case k.required:
		return "**required**"
	case k.def != "":
		return "`" + k.def + "`"
	}
	return k.absent
}

func (k key) ruleText() string {
	var rules []string
	if k.max > 0 {
		rules = append(rules, fmt.Sprintf("%d to %d", k.min, k.max))
	}
	if k.rule != "" {
		rules = append(rules, k.rule)
	}
	return strings.Join(rules, "; ")
}

// TestKeyTables checks what the tables promise each other.
func TestKeyTables(t *testing.T) {
	for _, s := range sections {
		seen := map[string]bool{}
		for _, k := range s.keys {
			name := s.title + " " + k.name
			if seen[k.name] {
				t.Errorf("%s is there twice", name)
			}
			seen[k.name] = true
			if k.kind == "" || k.doc == "" || k.since == "" {
				t.Errorf("%s lacks its kind, doc or since", name)
			}
			said := 0
			for _, is := range []bool{k.required, k.def != "", k.absent != ""} {
				if is {
					said++
				}
			}
			if said != 1 {
				t.Errorf("%s must be required, or have a default, or say what absence means: one of these", name)
			}
			if k.required != (k.example != "") {
				t.Errorf("%s: a required key, and only that, has an example", name)
			}
			if (k.kind == numberKind) != (k.max > 0) {
				t.Errorf("%s: a number, and only that, has bounds", name)
			}
		}
	}
}

// TestDefaults shows that a key written with its default means the same as no
// key.
func TestDefaults(t *testing.T) {
	frames := map[*section]string{
		&poolKeys:          "address-pools: [{name: a, protocol: layer2, addresses: [10.0.0.0/24]%s}]",
		&advertisementKeys: "address-pools: [{name: a, protocol: bgp, addresses: [10.0.0.0/24], bgp-advertisements: [{communities: []%s}]}]",
		&peerKeys:          "peers: [{my-asn: 1, peer-asn: 2, peer-address: 10.0.0.1%s}]",
		&profileKeys:       "bfd-profiles: [{name: a%s}]",
	}
	for _, s := range sections {
		for _, k := range s.keys {
			if k.def == "" {
				continue
			}
			want := dump(mustParse(t, fmt.Sprintf(frames[s], "")))
			got := dump(mustParse(t, fmt.Sprintf(frames[s], fmt.Sprintf(", %s: %s", k.name, k.def))))
			if got != want {
				t.Errorf("%s: %s gives\n%swithout it\n%s", k.name, k.def, got, want)
			}
		}
	}
}
