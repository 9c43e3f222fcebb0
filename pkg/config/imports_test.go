package config_test

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestImports keeps the package a pure core: what it may not import, and why.
func TestImports(t *testing.T) {
	allowed := map[string]bool{
		"k8s.io/apimachinery/pkg/labels":    true, // the semantics of node selectors are Kubernetes' own
		"k8s.io/apimachinery/pkg/selection": true, // their operators
		"net/netip":                         true, // values, no sockets
	}
	forbidden := []struct{ prefix, reason string }{
		{"k8s.io/", "the document is not a Kubernetes object; only node selectors are theirs"},
		{"sigs.k8s.io/", "as k8s.io"},
		{"sync", "a Config never changes: nothing to guard"},
		{"net", "addresses are net/netip's, and there are no sockets here"},
		{"os", "no input but bytes"},
		{"context", "nothing here takes long enough to be cancelled"},
		{"math/rand", "the same document gives the same Config"},
		{"github.com/osrg/gobgp", "GoBGP types stay in pkg/announce/bgp"},
		{"github.com/herald-lb/herald/", "the bottom of Herald's own packages"},
	}
	eachFile(t, func(name string, imports []string) {
		for _, path := range imports {
			for _, f := range forbidden {
				if !allowed[path] && (path == f.prefix || strings.HasPrefix(path, strings.TrimSuffix(f.prefix, "/")+"/")) {
					t.Errorf("%s imports %s: %s", name, path, f.reason)
				}
			}
			if path == "log/slog" && name != "secret.go" {
				t.Errorf("%s imports log/slog: mistakes are returned, never logged; only a Secret must know how to hide from it", name)
			}
		}
	})
}

// eachFile calls do with every source file of the package, tests apart.
func eachFile(t *testing.T, do func(name string, imports []string)) {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		var imports []string
		for _, spec := range f.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports = append(imports, path)
		}
		do(e.Name(), imports)
	}
	if files == 0 {
		t.Fatal("no source files found")
	}
}
