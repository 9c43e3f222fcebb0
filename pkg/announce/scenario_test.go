package announce_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// TestScenarios reads each testdata/*.txtar: a comment that says what it is
// about, a file "cluster" with one fact a line, and the expected "plan" as each
// node sees it.
func TestScenarios(t *testing.T) {
	golden(t, "testdata", "plan", []string{"cluster"}, func(t *testing.T, given [][]byte) string {
		return render(t, parseCluster(t, string(given[0])))
	})
}

// golden compares what comes of the given files of each archive in a directory
// with the archive's last file, called want.
func golden(t *testing.T, dir, want string, given []string, render func(t *testing.T, given [][]byte) string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var data [][]byte
			for i, name := range given {
				if i >= len(archive.Files) || archive.Files[i].Name != name {
					t.Fatalf("the first files must be %v", given)
				}
				data = append(data, archive.Files[i].Data)
			}
			got := render(t, data)
			if *update {
				archive.Files = append(archive.Files[:len(given)], txtar.File{Name: want, Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(archive.Files) != len(given)+1 {
				t.Fatalf("no %s: run with -update and read what it writes", want)
			}
			if diff := cmp.Diff(string(archive.Files[len(given)].Data), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", want, diff)
			}
		})
	}
}

// render prints the plan, and why each node is or is not the owner.
func render(t *testing.T, s announce.Snapshot) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	plan := announce.Decide(s)
	for _, a := range plan.Addresses {
		fmt.Fprintf(w, "%s\tpool=%s\towner=%s\torder=%s\tlinks=%s\tself=%s\n",
			a.Addr, dash(a.Pool), dash(a.Owner), dash(strings.Join(a.Order, ",")), dash(strings.Join(a.Links, ",")), a.Reason)
		why, ok := announce.Explain(s, a.Addr)
		if !ok {
			t.Fatalf("no explanation of %s", a.Addr)
		}
		for _, v := range why.Nodes {
			fmt.Fprintf(w, "\t%s\t%s\n", v.Node, v.Reason)
		}
	}
	w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// parseCluster reads lines such as
//
//	self n1
//	no-config
//	pool lan layer2 192.168.31.240-192.168.31.254 [only=eth0,eth1]
//	node n1 [excluded] [no-network] [cordoned]
//	member n1 [not-ready] [draining] [eth0=192.168.31.1/24,fd00::1/64] [default=eth0]
//	service ns/name 192.168.31.241,fd00::5 [local] [ready=n1,n2] [ready]
func parseCluster(t *testing.T, text string) announce.Snapshot {
	s := announce.Snapshot{Config: &config.Config{}, Nodes: map[string]announce.Node{}, Members: map[string]announce.Member{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "self":
			s.Self = f[1]
		case "no-config":
			s.Config = nil
		case "pool":
			s.Config.Pools = append(s.Config.Pools, parsePool(t, f[1:]))
		case "node":
			n := announce.Node{Name: f[1]}
			for _, word := range f[2:] {
				n.Excluded = n.Excluded || word == "excluded"
				n.NetworkUnavailable = n.NetworkUnavailable || word == "no-network"
				n.Unschedulable = n.Unschedulable || word == "cordoned"
			}
			s.Nodes[n.Name] = n
		case "member":
			m := parseMember(t, f[1:])
			s.Members[m.Name] = m
		case "service":
			s.Services = append(s.Services, parseService(t, f[1:]))
		default:
			t.Fatalf("line %q: unknown fact", line)
		}
	}
	return s
}

func parsePool(t *testing.T, f []string) config.Pool {
	r, err := netipx.ParseIPRange(f[2])
	if err != nil {
		t.Fatal(err)
	}
	p := config.Pool{Name: f[0], Protocol: config.Protocol(f[1]), Ranges: []netipx.IPRange{r}}
	for _, word := range f[3:] {
		p.Interfaces = strings.Split(strings.TrimPrefix(word, "only="), ",")
	}
	return p
}

func parseMember(t *testing.T, f []string) announce.Member {
	m := announce.Member{Name: f[0], Ready: true}
	for _, word := range f[1:] {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "not-ready":
			m.Ready = false
		case "draining":
			m.Draining = true
		case "default":
			for i := range m.Links {
				m.Links[i].Default4 = m.Links[i].Name == value
				m.Links[i].Default6 = m.Links[i].Name == value
			}
		default:
			l := announce.Link{Name: name, Index: len(m.Links) + 2}
			for p := range strings.SplitSeq(value, ",") {
				if p == "" {
					continue
				}
				prefix, err := netip.ParsePrefix(p)
				if err != nil {
					t.Fatal(err)
				}
				l.Prefixes = append(l.Prefixes, prefix.Masked())
			}
			m.Links = append(m.Links, l)
		}
	}
	return m
}

func parseService(t *testing.T, f []string) announce.Service {
	svc := announce.Service{Name: f[0], UID: f[0]}
	for a := range strings.SplitSeq(f[1], ",") {
		addr, err := netip.ParseAddr(a)
		if err != nil {
			t.Fatal(err)
		}
		svc.Addresses = append(svc.Addresses, addr)
	}
	for _, word := range f[2:] {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "local":
			svc.Local = true
		case "ready":
			svc.Ready = true
			if value != "" {
				svc.ReadyNodes = strings.Split(value, ",")
			}
		default:
			t.Fatalf("service %s: %q?", f[0], word)
		}
	}
	return svc
}
