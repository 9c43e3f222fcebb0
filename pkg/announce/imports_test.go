package announce_test

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImports keeps the core a function of values: with anything else in here
// the debug pages and the tests could no longer ask it what the daemon does.
func TestImports(t *testing.T) {
	allowed := map[string]bool{"github.com/herald-lb/herald/pkg/config": true, "go4.org/netipx": true, "k8s.io/apimachinery/pkg/labels": true} // selectors come with the configuration
	forbidden := map[string]string{
		"time": "a decision does not depend on the clock", "sync": "values need no locks",
		"net": "addresses are net/netip, sockets are for the edges", "log/slog": "reasons are returned, not logged",
		"os": "facts come in the Snapshot", "context": "a decision is not cancelled",
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			if why, bad := forbidden[path]; bad {
				t.Errorf("%s imports %s: %s", file, path, why)
			}
			if strings.Contains(strings.Split(path, "/")[0], ".") && !allowed[path] {
				t.Errorf("%s imports %s: the core knows only the configuration", file, path)
			}
		}
	}
}
