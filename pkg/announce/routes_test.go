package announce_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

// TestRoutes reads each testdata/routes/*.txtar: the configuration as a user
// writes it, a file "cluster" with one fact a line, and the expected "routes"
// of each node.
func TestRoutes(t *testing.T) {
	golden(t, "testdata/routes", "routes", []string{"config", "cluster"}, func(t *testing.T, given [][]byte) string {
		return renderRoutes(parseBGPCluster(t, given[0], string(given[1])))
	})
}

// bgpCluster is a cluster as a scenario gives it.
type bgpCluster struct {
	announce.Snapshot
	facts map[string]announce.RouteFacts // by node
	fresh map[string]bool
}

// parseBGPCluster reads lines such as
//
//	node n1 10.0.0.1,2001:db8::1 [excluded] [no-network] [cordoned] [label=value …]
//	dead n1                 its announcer is not alive
//	member n1 …             as for layer 2; nodes without such a line are ready
//	service ns/name …       as for layer 2
//	hops n1 peer 10.0.0.9   this node's addresses towards a router
//	waited n1 peer 192.0.2.1/32
//	keeping n1 peer         the router keeps routes while n1 restarts
//	fresh n1                it has not announced anything before
//	secret name [problem]   a Secret with a password
func parseBGPCluster(t *testing.T, doc []byte, text string) bgpCluster {
	t.Helper()
	c := bgpCluster{facts: map[string]announce.RouteFacts{}, fresh: map[string]bool{}}
	passwords := map[string]announce.Password{}
	c.Nodes, c.Members = map[string]announce.Node{}, map[string]announce.Member{}
	if len(doc) > 0 {
		var err error
		if c.Config, err = config.Parse(doc); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		switch f[0] {
		case "node":
			n := parseBGPNode(f[1:])
			c.Nodes[n.Name] = n
			if _, ok := c.Members[n.Name]; !ok {
				c.Members[n.Name] = announce.Member{Name: n.Name, Ready: true}
			}
			c.facts[n.Name] = announce.RouteFacts{
				NextHops: map[string]announce.NextHops{}, Waited: map[announce.RouteKey]bool{}, Keeping: map[string]bool{}, Passwords: passwords,
			}
		case "dead":
			delete(c.Members, f[1])
		case "member":
			m := parseMember(t, f[1:])
			c.Members[m.Name] = m
		case "service":
			c.Services = append(c.Services, parseService(t, f[1:]))
		case "hops":
			c.facts[f[1]].NextHops[f[2]] = nextHops(f[3])
		case "waited":
			c.facts[f[1]].Waited[announce.RouteKey{Peer: f[2], Prefix: netip.MustParsePrefix(f[3])}] = true
		case "keeping":
			c.facts[f[1]].Keeping[f[2]] = true
		case "fresh":
			c.fresh[f[1]] = true
		case "secret":
			passwords[f[1]] = announce.Password{Value: "key", Problem: strings.Join(f[2:], " ")}
		default:
			t.Fatalf("line %q: unknown fact", line)
		}
	}
	return c
}

// before is what a node announced when all was calm.
func (c bgpCluster) before(self string) map[string]announce.PeerRoutes {
	if c.fresh[self] {
		return nil
	}
	s := c.Snapshot
	s.Self, s.Nodes, s.Members = self, maps.Clone(s.Nodes), maps.Clone(s.Members)
	n, m := s.Nodes[self], s.Members[self]
	n.Unschedulable, n.Excluded, m.Draining = false, false, false
	s.Nodes[self], s.Members[self] = n, m
	all, _ := announce.Routes(s, c.facts[self])
	return all
}

func parseBGPNode(f []string) announce.Node {
	n := announce.Node{Name: f[0], Labels: map[string]string{}}
	for _, word := range f[1:] {
		switch name, value, labelled := strings.Cut(word, "="); {
		case labelled:
			n.Labels[name] = value
		case word == "excluded":
			n.Excluded = true
		case word == "no-network":
			n.NetworkUnavailable = true
		case word == "cordoned":
			n.Unschedulable = true
		default:
			for a := range strings.SplitSeq(word, ",") {
				n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
			}
		}
	}
	return n
}

func nextHops(list string) announce.NextHops {
	var h announce.NextHops
	for a := range strings.SplitSeq(list, ",") {
		if addr := netip.MustParseAddr(a); addr.Is4() {
			h.IPv4 = addr
		} else {
			h.IPv6 = addr
		}
	}
	return h
}

// renderRoutes prints what each node announces.
func renderRoutes(c bgpCluster) string {
	var b strings.Builder
	for _, node := range slices.Sorted(keys(c.Nodes)) {
		s := c.Snapshot
		s.Self = node
		facts := c.facts[node]
		facts.Before = c.before(node)
		all, ok := announce.Routes(s, facts)
		if !ok {
			fmt.Fprintf(&b, "%s: nothing can be said\n", node)
			continue
		}
		for _, name := range slices.Sorted(keys(all)) {
			p := all[name]
			fmt.Fprintf(&b, "%s -> %s: router-id=%s", node, name, p.RouterID)
			if p.BFD != nil {
				fmt.Fprintf(&b, " bfd=%s", p.BFD.Name)
			}
			if p.Multihop {
				b.WriteString(" multihop")
			}
			if p.Peer.Password != "" {
				b.WriteString(" md5")
			}
			if p.Held != "" {
				fmt.Fprintf(&b, " held: %s", p.Held)
			}
			b.WriteString("\n")
			for _, r := range p.Routes {
				fmt.Fprintf(&b, "  %s\n", routeText(r))
			}
			for _, problem := range p.Problems {
				fmt.Fprintf(&b, "  %s\n", problem)
			}
		}
	}
	return b.String()
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func routeText(r announce.BGPRoute) string {
	s := fmt.Sprintf("%s via %s localpref=%d", r.Prefix, r.NextHop, r.LocalPref)
	for _, c := range r.Communities {
		s += fmt.Sprintf(" %d:%d", c>>16, c&0xffff)
	}
	for _, c := range r.LargeCommunities {
		s += fmt.Sprintf(" large:%d:%d:%d", c.Global, c.Local1, c.Local2)
	}
	if r.Leaving {
		s += " leaving"
	}
	return s
}

// In whatever state a cluster is, and whoever drains: an address that a node
// would announce if nobody drained is announced by some node.
func TestDrainingNeverTakesTheLastRoute(t *testing.T) {
	doc := []byte(`
peers:
- {name: all, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.254}
- {name: rack, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.253, node-selectors: [{match-labels: {rack: a}}]}
address-pools:
- name: p
  protocol: bgp
  addresses: [192.0.2.0/24]
  bgp-advertisements:
  - {aggregation-length: 32}
  - {aggregation-length: 28, node-selectors: [{match-labels: {rack: a}}]}
`)
	parsed, err := config.Parse(doc)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		calm := randomCluster(t, parsed)
		drained := calm
		drained.Nodes, drained.Members = map[string]announce.Node{}, map[string]announce.Member{}
		waited := map[announce.RouteKey]bool{}
		for _, name := range slices.Sorted(keys(calm.Nodes)) {
			n, m := calm.Nodes[name], calm.Members[name]
			n.Unschedulable = rapid.Bool().Draw(t, name+" cordoned")
			m.Draining = rapid.Bool().Draw(t, name+" draining")
			drained.Nodes[name], drained.Members[name] = n, m
		}
		before := announcedAnywhere(calm, nil)
		for key := range before {
			waited[announce.RouteKey{Peer: key.peer, Prefix: key.prefix}] = true
		}
		after := announcedAnywhere(drained, waited)
		for key := range before {
			if !after[key] {
				t.Fatalf("nobody announces %v any more", key)
			}
		}
		for key := range after {
			if !before[key] {
				t.Fatalf("%v is announced although it was not before", key)
			}
		}
	})
}

// announcement is an address at a router under a prefix.
type announcement struct {
	peer   string
	addr   netip.Addr
	prefix netip.Prefix
}

// announcedAnywhere lists the addresses that reach a node with endpoints.
func announcedAnywhere(s announce.Snapshot, waited map[announce.RouteKey]bool) map[announcement]bool {
	all := map[announcement]bool{}
	for name := range s.Nodes {
		s.Self = name
		routes, _ := announce.Routes(s, announce.RouteFacts{Waited: waited})
		for peer, p := range routes {
			for _, r := range p.Routes {
				for _, svc := range s.Services {
					if r.Prefix.Contains(svc.Addresses[0]) && svc.Ready && (!svc.Local || slices.Contains(svc.ReadyNodes, name)) {
						all[announcement{peer, svc.Addresses[0], r.Prefix}] = true
					}
				}
			}
		}
	}
	return all
}

func randomCluster(t *rapid.T, c *config.Config) announce.Snapshot {
	s := announce.Snapshot{Config: c, Nodes: map[string]announce.Node{}, Members: map[string]announce.Member{}}
	names := []string{"n1", "n2", "n3", "n4"}[:rapid.IntRange(1, 4).Draw(t, "nodes")]
	for i, name := range names {
		s.Nodes[name] = announce.Node{
			Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)})},
			Labels:   map[string]string{"rack": rapid.SampledFrom([]string{"a", "b"}).Draw(t, name+" rack")},
			Excluded: rapid.IntRange(0, 5).Draw(t, name+" excluded") == 0,
		}
		s.Members[name] = announce.Member{Name: name, Ready: rapid.IntRange(0, 5).Draw(t, name+" ready") > 0}
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "services") {
		svc := announce.Service{Name: fmt.Sprint("s", i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(7 * i)})}}
		svc.Local = rapid.Bool().Draw(t, svc.Name+" local")
		for _, name := range names {
			if rapid.Bool().Draw(t, svc.Name+" on "+name) {
				svc.ReadyNodes = append(svc.ReadyNodes, name)
			}
		}
		svc.Ready = len(svc.ReadyNodes) > 0
		s.Services = append(s.Services, svc)
	}
	return s
}

func BenchmarkRoutes(b *testing.B) {
	doc := []byte(`
peers:
- {name: a, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.251}
- {name: b, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.252}
- {name: c, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.253}
- {name: d, my-asn: 64512, peer-asn: 65000, peer-address: 10.0.0.254}
address-pools:
- {name: p, protocol: bgp, addresses: [100.64.0.0/16]}
`)
	c, err := config.Parse(doc)
	if err != nil {
		b.Fatal(err)
	}
	s := announce.Snapshot{Self: "n1", Config: c, Nodes: map[string]announce.Node{}, Members: map[string]announce.Member{}}
	for i := range 10 {
		name := fmt.Sprint("n", i)
		s.Nodes[name] = announce.Node{Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})}}
		s.Members[name] = announce.Member{Name: name, Ready: true}
	}
	for i := range 10_000 {
		s.Services = append(s.Services, announce.Service{Name: fmt.Sprintf("ns/s%05d", i), Ready: true, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})}})
	}
	before, _ := announce.Routes(s, announce.RouteFacts{})
	for name, cordoned := range map[string]bool{"calm": false, "draining": true} {
		b.Run(name, func(b *testing.B) {
			n := s.Nodes["n1"]
			n.Unschedulable = cordoned
			s.Nodes["n1"] = n
			for b.Loop() {
				if all, ok := announce.Routes(s, announce.RouteFacts{Before: before}); !ok || len(all["a"].Routes) != 10_000 {
					b.Fatal(len(all["a"].Routes))
				}
			}
		})
	}
}
