// Package pkg_test holds the rules that keep the packages apart, each with its
// reason: what a package may import is most of what the architecture is. What
// the core packages may import, their own tests list.
package pkg_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/herald-lb/herald"

// goPackage is the part of `go list -json` that the rules look at.
type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
}

// A rule forbids a package, or all but a few, to import what lies below a path.
type rule struct {
	of     string   // the package; "" is all
	except []string // but these
	forbid []string
	reason string
}

const (
	edges  = "edges do not know each other: only cmd/announcer sees several"
	apart  = "the two programs meet in the cluster, so that either can be replaced"
	gobgp  = "only pkg/announce/bgp knows GoBGP, so that another BGP library is a day's work"
	kernel = "one package owns each kind of I/O"
)

var rules = append(edgeRules("agent", "kube", "member", "link", "layer2", "bgp", "bfd"),
	rule{of: "pkg/provider", forbid: []string{module + "/pkg/announce"}, reason: apart},
	rule{forbid: []string{"github.com/osrg/gobgp"}, except: []string{"pkg/announce/bgp"}, reason: gobgp},
	rule{forbid: []string{"github.com/vishvananda/netlink"}, except: []string{"pkg/announce/link", "pkg/announce/announcetest"}, reason: kernel},
	rule{forbid: []string{"github.com/hashicorp/memberlist"}, except: []string{"pkg/announce/member"}, reason: kernel},
	rule{forbid: []string{"k8s.io/client-go"}, except: []string{"pkg/provider", "pkg/announce/kube", "cmd/announcer", "cmd/cloud-controller-manager"}, reason: kernel},
)

// edgeRules forbid each of the packages below pkg/announce to import another.
func edgeRules(names ...string) []rule {
	var out []rule
	for _, name := range names {
		var others []string
		for _, other := range names {
			if other != name {
				others = append(others, module+"/pkg/announce/"+other)
			}
		}
		out = append(out, rule{of: "pkg/announce/" + name, forbid: append(others, module+"/pkg/provider", module+"/pkg/ipam"), reason: edges})
	}
	return out
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, r := range rules {
			if r.of != "" && r.of != name || slices.Contains(r.except, name) {
				continue
			}
			for _, imported := range p.Imports {
				if below(imported, r.forbid) {
					t.Errorf("%s imports %s: %s", name, imported, r.reason)
				}
			}
		}
	}
}

// below reports whether path is, or lies below, one of the others.
func below(path string, others []string) bool {
	return slices.ContainsFunc(others, func(o string) bool { return path == o || strings.HasPrefix(path, o+"/") })
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests only
		}
		var with []string
		for _, f := range p.GoFiles {
			parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Doc != nil && strings.TrimSpace(parsed.Doc.Text()) != "" {
				with = append(with, f)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s: the package comment stands in %d files %v, it belongs in one", p.ImportPath, len(with), with)
		}
	}
}

func TestModuleHasNoReplace(t *testing.T) {
	b, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(strings.TrimSpace(line), "replace") {
			t.Errorf("go.mod: %q: whoever imports this module would not get it; replacements belong in test/", strings.TrimSpace(line))
		}
	}
}

// What is generated or built must not be committed; the cheapest sign of it is size.
func TestNoLargeFiles(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	for _, f := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Stat(filepath.Join("..", f))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 512<<10 {
			t.Errorf("%s has %d bytes: is it generated, or built?", f, info.Size())
		}
	}
}
