package announce

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/config"
)

// naiveOrder is the election written down as it is explained, without care for
// its cost.
func naiveOrder(s Snapshot, a netip.Addr) []string {
	pool, ok := s.Config.PoolOf(a)
	if !ok || pool.Protocol != config.Layer2 {
		return nil
	}
	var tenants []Service
	for _, svc := range s.Services {
		if svc.Ready && slices.Contains(svc.Addresses, a) {
			tenants = append(tenants, svc)
		}
	}
	if len(tenants) == 0 {
		return nil
	}
	someOnLink := slices.ContainsFunc(slices.Collect(maps.Values(s.Members)), func(m Member) bool { return onLink(m.Links, a) != nil })
	var eligible []string
	for name, m := range s.Members {
		n, known := s.Nodes[name]
		if !m.Ready || !known || n.Excluded || n.NetworkUnavailable || len(LinksFor(m.Links, pool.Interfaces, a)) == 0 {
			continue
		}
		if len(pool.Interfaces) == 0 && someOnLink && onLink(m.Links, a) == nil {
			continue
		}
		if slices.ContainsFunc(tenants, func(t Service) bool { return t.Local && !slices.Contains(t.ReadyNodes, name) }) {
			continue
		}
		eligible = append(eligible, name)
	}
	elects := AddrHash(naiveLowest(s.Services, a))
	slices.SortFunc(eligible, func(x, y string) int {
		if dx, dy := s.Members[x].Draining, s.Members[y].Draining; dx != dy {
			if dx {
				return 1
			}
			return -1
		}
		return cmp.Compare(Score(NodeHash(y), elects), Score(NodeHash(x), elects))
	})
	return eligible[:min(len(eligible), MaxOrder)]
}

// naiveLowest is the lowest of the addresses that are bound to a through Services.
func naiveLowest(services []Service, a netip.Addr) netip.Addr {
	group := map[netip.Addr]bool{a: true}
	for size := 0; size != len(group); {
		size = len(group)
		for _, svc := range services {
			if slices.ContainsFunc(svc.Addresses, func(b netip.Addr) bool { return group[b] }) {
				for _, b := range svc.Addresses {
					group[b] = true
				}
			}
		}
	}
	return slices.MinFunc(slices.Collect(maps.Keys(group)), netip.Addr.Compare)
}

// mustConfig gives a configuration with a pool of each kind.
func mustConfig(t testing.TB) *config.Config {
	c, err := config.Parse([]byte(`
address-pools:
- {name: lan, protocol: layer2, addresses: [10.0.0.0/16, "fd00::100-fd00::1ff"]}
- {name: named, protocol: layer2, interfaces: [eth1], addresses: [10.5.0.0/24]}
- {name: core, protocol: bgp, addresses: [10.9.0.0/24]}
peers:
- {my-asn: 64512, peer-asn: 64512, peer-address: 10.0.0.1}
`))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var linkChoices = [][]Link{
	nil,
	{{Name: "eth0", Index: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}, Default4: true}},
	{{Name: "eth0", Index: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}, Default4: true, Default6: true}},
	{
		{Name: "eth0", Index: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/25")}, Default4: true},
		{Name: "eth1", Index: 3, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.5.0.0/24")}},
	},
	{{Name: "eth1", Index: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.5.0.0/24")}}},
}

func drawSnapshot(t *rapid.T, c *config.Config) Snapshot {
	s := Snapshot{Config: c, Nodes: map[string]Node{}, Members: map[string]Member{}}
	var names []string
	for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
		name := fmt.Sprintf("n%d", i)
		names = append(names, name)
		if rapid.IntRange(0, 9).Draw(t, "known") > 0 {
			s.Nodes[name] = Node{Name: name, Excluded: rapid.IntRange(0, 9).Draw(t, "excluded") == 0, NetworkUnavailable: rapid.IntRange(0, 9).Draw(t, "unavailable") == 0}
		}
		if rapid.IntRange(0, 9).Draw(t, "alive") > 0 {
			s.Members[name] = Member{
				Name: name, Ready: rapid.IntRange(0, 9).Draw(t, "ready") > 0,
				Draining: rapid.IntRange(0, 4).Draw(t, "draining") == 0,
				Links:    rapid.SampledFrom(linkChoices).Draw(t, "links"),
			}
		}
	}
	s.Self = names[0]
	addr := rapid.Map(rapid.SampledFrom([]string{"10.0.0.3", "10.0.0.200", "10.0.1.5", "10.0.77.1", "10.5.0.1", "10.9.0.1", "172.16.0.1", "fd00::101", "fd00::1ff"}), netip.MustParseAddr)
	for i := range rapid.IntRange(0, 8).Draw(t, "services") {
		svc := Service{Name: fmt.Sprintf("ns/%d", i), Addresses: rapid.SliceOfN(addr, 0, 3).Draw(t, "addresses"), Local: rapid.Bool().Draw(t, "local")}
		svc.ReadyNodes = rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "readyNodes")
		slices.Sort(svc.ReadyNodes)
		svc.Ready = len(svc.ReadyNodes) > 0 || rapid.Bool().Draw(t, "readyElsewhere")
		s.Services = append(s.Services, svc)
	}
	return s
}

func TestDecideAgreesWithTheRulesAndAllNodesAgree(t *testing.T) {
	c := mustConfig(t)
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t, c)
		first := Decide(s)
		for _, a := range first.Addresses {
			if diff := gocmp.Diff(naiveOrder(s, a.Addr), a.Order, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s: order (-rules +decided):\n%s", a.Addr, diff)
			}
		}
		owners := map[netip.Addr]int{}
		for name := range s.Members {
			view := s
			view.Self = name
			for i, a := range Decide(view).Addresses {
				if !a.Layer2() {
					continue
				}
				if !slices.Equal(a.Order, first.Addresses[i].Order) {
					t.Fatalf("%s: %s sees %v, %s sees %v", a.Addr, s.Self, first.Addresses[i].Order, name, a.Order)
				}
				if a.Mine() != (a.Owner == name) {
					t.Fatalf("%s at %s: owner %q but reason %s", a.Addr, name, a.Owner, a.Reason)
				}
				if a.Mine() {
					owners[a.Addr]++
					if len(a.Links) == 0 {
						t.Fatalf("%s: owner %s has no link for it", a.Addr, name)
					}
				}
			}
		}
		for _, a := range first.Addresses {
			if !a.Layer2() {
				continue
			}
			if want := min(len(a.Order), 1); owners[a.Addr] != want {
				t.Fatalf("%s: %d owners, want %d", a.Addr, owners[a.Addr], want)
			}
		}
	})
}

// The reason that a plan gives for an address of a BGP pool is what Routes does.
func TestReasonsOfBGPAddressesAgreeWithRoutes(t *testing.T) {
	c := mustConfig(t)
	hops := map[string]NextHops{c.Peers[0].Name: {IPv4: netip.MustParseAddr("10.0.0.7")}}
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t, c)
		for name, n := range s.Nodes {
			n.Unschedulable = rapid.Bool().Draw(t, name+" cordoned")
			s.Nodes[name] = n
		}
		for name := range s.Members {
			s.Self = name
			all, _ := Routes(s, RouteFacts{NextHops: hops})
			for _, a := range Decide(s).Addresses {
				if a.Protocol != config.BGP {
					continue
				}
				p := all[c.Peers[0].Name]
				_, routed := p.route(netip.PrefixFrom(a.Addr, 32))
				if routed != a.Mine() {
					t.Fatalf("%s at %s: reason %s, but announced: %v", a.Addr, name, a.Reason, routed)
				}
			}
		}
	})
}

// A member that comes or goes moves only addresses that it has: nobody else's
// change hands, unless it was the only one that has them on link.
func TestDecideMovesAsLittleAsItMust(t *testing.T) {
	c := mustConfig(t)
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t, c)
		for name := range s.Members {
			m := s.Members[name]
			m.Links = linkChoices[1]
			s.Members[name] = m
		}
		before := Decide(s)
		gone := rapid.SampledFrom(append(slices.Sorted(maps.Keys(s.Members)), "nobody")).Draw(t, "gone")
		without := s
		without.Members = maps.Clone(s.Members)
		delete(without.Members, gone)
		if len(without.Members) == 0 {
			return
		}
		for _, change := range Diff(before, Decide(without)) {
			if change.From != gone {
				t.Fatalf("%s moved from %q to %q when %s left", change.Addr, change.From, change.To, gone)
			}
		}
	})
}

func TestDiff(t *testing.T) {
	plan := func(owners ...string) Plan {
		var p Plan
		for i, o := range owners {
			if o != "absent" {
				p.Addresses = append(p.Addresses, Address{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), Owner: o})
			}
		}
		return p
	}
	ip := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }
	before := plan("a", "a", "absent", "", "a", "absent", "absent", "b")
	after := plan("a", "b", "c", "a", "", "", "absent", "absent")
	want := []Change{{ip(1), "a", "b"}, {ip(2), "", "c"}, {ip(3), "", "a"}, {ip(4), "a", ""}, {ip(7), "b", ""}}
	if diff := gocmp.Diff(want, Diff(before, after), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got := Diff(before, before); got != nil {
		t.Errorf("a plan differs from itself: %v", got)
	}
}

func TestLookupAndExplainUnknownAddress(t *testing.T) {
	s := Snapshot{Config: mustConfig(t), Services: []Service{{Name: "a/b", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}}
	plan := Decide(s)
	if a, ok := plan.Lookup(netip.MustParseAddr("10.0.0.1")); !ok || a.Pool != "lan" {
		t.Errorf("Lookup: %+v, %v", a, ok)
	}
	if _, ok := plan.Lookup(netip.MustParseAddr("10.0.0.2")); ok {
		t.Error("Lookup found an address that no Service has")
	}
	if _, ok := Explain(s, netip.MustParseAddr("10.0.0.2")); ok {
		t.Error("Explain explained an address that no Service has")
	}
}

func TestCutsAtTheEndsOfTheAddressSpace(t *testing.T) {
	got := cuts(map[string]Member{"a": {Links: []Link{{Prefixes: []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("ffff::/16"), netip.MustParsePrefix("10.0.0.0/31"),
	}}}}})
	var text []string
	for _, a := range got {
		text = append(text, a.String())
	}
	want := []string{"0.0.0.0", "10.0.0.0", "10.0.0.2", "255.255.255.255", "::", "ffff::"}
	if diff := gocmp.Diff(want, text); diff != "" {
		t.Errorf("cuts (-want +got):\n%s", diff)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	for r := Announced; r <= NotElected; r++ {
		if text, _ := r.MarshalText(); len(text) == 0 {
			t.Errorf("reason %d has no name", r)
		}
	}
	if got := (NotElected + 1).String(); got != "Reason(15)" {
		t.Error(got)
	}
}
