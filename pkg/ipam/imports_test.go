package ipam

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed are the imports of this package, each with its reason. The allocator
// is pure: whatever else it wants to know, its owner tells it.
var allowed = map[string]string{
	"cmp":             "ordering",
	"container/heap":  "the freed addresses of a range",
	"encoding/binary": "addresses as numbers",
	"fmt":             "the words of refusals",
	"maps":            "ordering",
	"math":            "saturation",
	"math/bits":       "IPv6 addresses as numbers",
	"net/netip":       "addresses",
	"slices":          "ordering",
	"sort":            "bisection",
	"strings":         "the words of refusals",
	"time":            "creation times as values; never the clock",

	"go4.org/netipx":                         "ranges of addresses",
	"github.com/herald-lb/herald/pkg/config": "the pools",
}

func TestImports(t *testing.T) {
	for name, file := range parseFiles(t) {
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if allowed[path] == "" {
				t.Errorf("%s imports %q, which is not on the list: this package does no I/O and keeps no time, and it knows no Kubernetes type, lock or log", name, path)
			}
		}
	}
}

func TestPure(t *testing.T) {
	for name, file := range parseFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine: the owner serialises the calls", name)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name != "Time" {
					t.Errorf("%s uses time.%s: times are values that the owner gives", name, n.Sel.Name)
				}
			case *ast.GenDecl:
				if n.Tok == token.VAR && slices.Contains(file.Decls, ast.Decl(n)) {
					t.Errorf("%s has a package-level variable: all state is in the Allocator", name)
				}
			}
			return true
		})
	}
}

// parseFiles returns the package's files that are no tests, by name.
func parseFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if files[name], err = parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
