package config

import (
	"fmt"
	"strings"
)

// suggest says what an unknown key may have been meant to be.
func (s *section) suggest(name string) string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.name
	}
	if near, ok := nearest(name, names); ok {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if s == &documentKeys {
		switch name {
		case "apiVersion", "kind", "metadata", "data", "spec":
			return "this is the text under the ConfigMap's key config, not the ConfigMap itself"
		}
	}
	for _, other := range sections {
		for _, k := range other.keys {
			if other != s && plainKey(k.name) == plainKey(name) {
				return fmt.Sprintf("%s is a key of %s", k.name, other.title)
			}
		}
	}
	return fmt.Sprintf("the keys are %s", strings.Join(names, ", "))
}

// nearest returns the known word that word is a misspelling of, if there is one.
func nearest(word string, known []string) (string, bool) {
	best, least := "", 3
	if len(word) < 4 {
		least = 2
	}
	for _, k := range known {
		if plainKey(k) == plainKey(word) {
			return k, true
		}
		if n := distance(word, k); n < least {
			best, least = k, n
		}
	}
	return best, best != ""
}

// plainKey drops what differs between styles of writing one key: local-pref,
// local_pref, localPref.
func plainKey(name string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
}

// distance is how many letters must be changed, added or removed to make b
// from a (Levenshtein); words that differ much in length give a large number.
func distance(a, b string) int {
	if len(a) > len(b)+3 || len(b) > len(a)+3 {
		return len(a) + len(b)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
