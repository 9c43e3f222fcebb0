package announce_test

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

// Addresses that one Service shows, and those of Services that share one with
// it, have one owner where any node may have them.
func TestServicesHaveOneOwner(t *testing.T) {
	document, err := config.Parse([]byte("address-pools:\n- name: a\n  protocol: layer2\n  addresses: [10.0.0.0/24, \"fd00::/120\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	link := announce.Link{Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}}
	members, nodes := map[string]announce.Member{}, map[string]announce.Node{}
	for i := range 7 {
		name := fmt.Sprintf("n%d", i)
		members[name] = announce.Member{Name: name, Ready: true, Links: []announce.Link{link}}
		nodes[name] = announce.Node{Name: name}
	}
	rapid.Check(t, func(t *rapid.T) {
		four := rapid.Uint8Range(0, 5)
		var services []announce.Service
		for i := range rapid.IntRange(1, 8).Draw(t, "services") {
			s := announce.Service{Name: fmt.Sprintf("s%d", i), Ready: true}
			if rapid.Bool().Draw(t, "v4") {
				s.Addresses = append(s.Addresses, netip.AddrFrom4([4]byte{10, 0, 0, four.Draw(t, "last4")}))
			}
			if rapid.Bool().Draw(t, "v6") {
				s.Addresses = append(s.Addresses, netip.AddrFrom16([16]byte{0xfd, 15: four.Draw(t, "last6")}))
			}
			services = append(services, s)
		}
		plan := announce.Decide(announce.Snapshot{Self: "n0", Config: document, Services: services, Nodes: nodes, Members: members})
		for _, s := range services {
			owners := map[string]bool{}
			for _, a := range s.Addresses {
				d, ok := plan.Lookup(a)
				if !ok || d.Owner == "" {
					t.Fatalf("%s: %v has no owner", s.Name, a)
				}
				owners[d.Owner] = true
				for _, name := range d.Order[1:] {
					if !announce.Outranks(d.Owner, name, d.Lead) {
						t.Fatalf("%s owns %v, and %s outranks it: a dispute would end otherwise than the election", d.Owner, a, name)
					}
				}
			}
			if len(owners) > 1 {
				t.Fatalf("%s has owners %v for %v", s.Name, owners, s.Addresses)
			}
		}
	})
}
