package announce

import (
	"fmt"
	"net/netip"
	"testing"
)

func bigSnapshot(b *testing.B, addresses, nodes int) Snapshot {
	s := Snapshot{Self: "node-0", Config: mustConfig(b), Nodes: map[string]Node{}, Members: map[string]Member{}}
	ready := make([]string, 0, nodes)
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		s.Nodes[name] = Node{Name: name}
		s.Members[name] = Member{Name: name, Ready: true, Links: []Link{
			{Name: "eth0", Index: 2, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/64")}, Default4: true},
			{Name: "cni0", Index: 3, Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)}},
		}}
		if i%7 == 0 {
			ready = append(ready, name)
		}
	}
	for i, a := range testAddrs(addresses) {
		s.Services = append(s.Services, Service{Name: fmt.Sprintf("ns/%05d", i), Addresses: []netip.Addr{a}, Ready: true, Local: i%4 == 0, ReadyNodes: ready})
	}
	return s
}

func BenchmarkDecide(b *testing.B) {
	for _, size := range []struct{ addresses, nodes int }{{10, 3}, {1000, 10}, {10000, 100}} {
		b.Run(fmt.Sprintf("%dx%d", size.addresses, size.nodes), func(b *testing.B) {
			s := bigSnapshot(b, size.addresses, size.nodes)
			b.ReportAllocs()
			for b.Loop() {
				if len(Decide(s).Addresses) != size.addresses {
					b.Fatal("addresses are missing")
				}
			}
		})
	}
}

func BenchmarkDiff(b *testing.B) {
	s := bigSnapshot(b, 10000, 100)
	before := Decide(s)
	delete(s.Members, "node-7")
	after := Decide(s)
	for b.Loop() {
		Diff(before, after)
	}
}
