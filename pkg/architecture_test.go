// Package pkg_test holds the rules that keep the packages apart, each with its
// reason: what a package may import is most of what the architecture is.
package pkg_test

import (
	"encoding/json"
	"errors"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// A rule forbids the packages below Of to import what begins with one of
// Forbid, but for what begins with one of Except.
type rule struct {
	of     string
	forbid []string
	except []string
	reason string
}

const (
	core   = "the core takes values and returns values, so that the daemon, the preview and the tests share one rule"
	edges  = "edges do not know each other: only cmd/announcer sees several"
	gobgp  = "only pkg/announce/bgp knows GoBGP, so that another BGP library is a day's work"
	kernel = "one package owns each kind of I/O"
)

var (
	sideEffects = []string{"log", "log/slog", "net/http", "os", "sync", "k8s.io/", "github.com/osrg/", "github.com/hashicorp/", "github.com/mdlayher/", "github.com/vishvananda/", "github.com/prometheus/"}
	kubernetes  = []string{"k8s.io/"}
	allEdges    = []string{
		module + "/pkg/provider", module + "/pkg/announce/agent", module + "/pkg/announce/kube", module + "/pkg/announce/member",
		module + "/pkg/announce/link", module + "/pkg/announce/layer2", module + "/pkg/announce/bgp", module + "/pkg/announce/bfd",
	}
)

var rules = []rule{
	{of: "pkg/config", forbid: append(allEdges, sideEffects...), except: []string{"k8s.io/apimachinery/pkg/labels", "k8s.io/apimachinery/pkg/selection", "log/slog"},
		reason: core + " (label selectors are the library's grammar; slog only for Secret's LogValue)"},
	{of: "pkg/ipam", forbid: append(append(allEdges, module+"/pkg/announce"), sideEffects...), reason: core},
	{of: "pkg/announce", forbid: append(append(allEdges, module+"/pkg/ipam"), sideEffects...), except: []string{"k8s.io/apimachinery/pkg/labels"}, reason: core},
	{of: "pkg/announce/agent", forbid: append(kubernetes, allEdges...), except: []string{module + "/pkg/announce/agent"}, reason: edges},
	{of: "pkg/announce/kube", forbid: allEdges, except: []string{module + "/pkg/announce/kube"}, reason: edges},
	{of: "pkg/announce/member", forbid: append(kubernetes, allEdges...), except: []string{module + "/pkg/announce/member"}, reason: edges},
	{of: "pkg/announce/link", forbid: append(kubernetes, allEdges...), except: []string{module + "/pkg/announce/link"}, reason: edges},
	{of: "pkg/announce/layer2", forbid: append(kubernetes, allEdges...), except: []string{module + "/pkg/announce/layer2"}, reason: edges},
	{of: "pkg/announce/bgp", forbid: append(kubernetes, allEdges...), except: []string{module + "/pkg/announce/bgp"}, reason: edges},
	{of: "pkg/announce/bfd", forbid: append(kubernetes, allEdges...), except: []string{module + "/pkg/announce/bfd"}, reason: edges},
	{of: "pkg/provider", forbid: append([]string{module + "/pkg/announce"}, sideEffects...), except: []string{"k8s.io/", "sync", "log/slog", "os"}, reason: edges},
	{of: "", forbid: []string{"github.com/osrg/gobgp"}, except: []string{}, reason: gobgp},
	{of: "", forbid: []string{"github.com/vishvananda/netlink"}, reason: kernel},
	{of: "", forbid: []string{"github.com/hashicorp/memberlist"}, reason: kernel},
}

// owners are the packages for which a rule about the whole module does not hold.
var owners = map[string]string{
	"github.com/osrg/gobgp":           "pkg/announce/bgp",
	"github.com/vishvananda/netlink":  "pkg/announce/link",
	"github.com/hashicorp/memberlist": "pkg/announce/member",
}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, r := range rules {
			if r.of != "" && r.of != name {
				continue
			}
			for _, imported := range p.Imports {
				forbidden := begins(imported, r.forbid)
				if forbidden == "" || begins(imported, r.except) != "" || r.of == "" && owners[forbidden] == name {
					continue
				}
				t.Errorf("%s imports %s: %s", name, imported, r.reason)
			}
		}
	}
}

// begins returns the first of prefixes that path is, or lies below.
func begins(path string, prefixes []string) string {
	for _, p := range prefixes {
		if path == p || strings.HasPrefix(path, strings.TrimSuffix(p, "/")+"/") {
			return p
		}
	}
	return ""
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
			if parsed.Doc != nil && doc.Synopsis(parsed.Doc.Text()) != "" {
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
