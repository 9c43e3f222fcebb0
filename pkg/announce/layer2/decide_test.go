package layer2

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"
	"go4.org/netipx"
	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/announce"
)

var (
	other4  = netip.MustParseAddr("10.9.0.201") // in the plan, not answered by this node
	other6  = netip.MustParseAddr("fd09::201")
	away4   = netip.MustParseAddr("10.9.0.202") // answered on another link
	spare4  = netip.MustParseAddr("10.9.0.203") // of a pool, but no Service has it
	spare6  = netip.MustParseAddr("fd09::203")
	unknown = netip.MustParseAddr("10.9.0.220")
	gateway = netip.MustParseAddr("10.9.0.254")
)

// judge is node 1's table, with node 2 as the other member and host 3 as a
// second link of node 1.
func judge() *table {
	t := &table{
		self: "n1", addresses: make(map[netip.Addr]*entry), pools: pools,
		members:   map[announce.MAC]string{macOf(1): "n1", macOf(2): "n2", macOf(3): "n1"},
		witnesses: map[netip.Addr]struct{}{gateway: {}, netip.MustParseAddr("fe80::fe"): {}},
	}
	for _, a := range []netip.Addr{vip4, vip6, other4, other6, away4} {
		t.addresses[a] = &entry{links: []int{1}}
		t.addresses[a].answers.Store(a != other4 && a != other6)
	}
	t.addresses[away4].links = []int{9}
	return t
}

func TestDecide(t *testing.T) {
	client, node2 := macOf(clientHost), macOf(2)
	ll := linkOf(clientHost).LinkLocal
	request := func(mac announce.MAC, from, to netip.Addr) []byte {
		return arpPacket{op: 1, senderMAC: mac, senderIP: from, targetIP: to}.appendTo(nil, broadcastMAC())
	}
	reply := func(mac announce.MAC, a netip.Addr) []byte {
		return arpPacket{op: 2, senderMAC: mac, senderIP: a, targetMAC: macOf(1), targetIP: netip.IPv4Unspecified()}.appendTo(nil, macOf(1))
	}
	nd := func(mac announce.MAC, src, dst netip.Addr, m ndp.Message) []byte {
		return appendNeighbor(nil, ethernet{dst: multicastMAC(dst), src: mac}, src, dst, m)
	}
	ns := func(mac announce.MAC, src, a netip.Addr) []byte {
		return nd(mac, src, solicitedNode(a), &ndp.NeighborSolicitation{TargetAddress: a})
	}
	na := func(mac announce.MAC, a netip.Addr) []byte {
		return nd(mac, ll, allNodes(), &ndp.NeighborAdvertisement{Override: true, TargetAddress: a, Options: target(mac)})
	}
	change := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	unspecified := netip.IPv4Unspecified()
	tests := []struct {
		name    string
		frame   []byte
		replies bool
		want    sighting
	}{
		{"a client asks", request(client, clientIP, vip4), true, sighting{kind: sawRequest, addr: vip4, mac: client}},
		{"a client checks its entry by unicast", arpPacket{op: 1, senderMAC: client, senderIP: clientIP, targetMAC: macOf(1), targetIP: vip4}.appendTo(nil, macOf(1)),
			true, sighting{kind: sawRequest, addr: vip4, mac: client}},
		{"a host about to use the address probes", request(client, unspecified, vip4), true, sighting{kind: sawProbe, addr: vip4, mac: client}},
		{"a node asks, to forward", request(node2, netip.MustParseAddr("10.9.0.2"), vip4), false, sighting{kind: sawMember, addr: vip4, mac: node2, node: "n2"}},
		{"a node probes", request(node2, unspecified, vip4), true, sighting{kind: sawProbe, addr: vip4, mac: node2, node: "n2"}},
		{"for an address that is not this node's", request(client, clientIP, other4), false, sighting{kind: sawRequest, addr: other4, mac: client}},
		{"a node probes for an address that is not this node's", request(node2, unspecified, other4), false, sighting{kind: sawProbe, addr: other4, mac: node2, node: "n2"}},
		{"for an address of another link", request(client, clientIP, away4), false, sighting{}},
		{"for an address that is nobody's", request(client, clientIP, unknown), false, sighting{}},
		{"for an address of a pool that no Service has", request(client, clientIP, spare4), false, sighting{kind: sawUnassigned, addr: spare4, mac: client}},
		{"a host probes for an address of a pool that no Service has", request(client, unspecified, spare4), false, sighting{kind: sawUnassigned, addr: spare4, mac: client}},
		{"a node asks for an address of a pool that no Service has", request(node2, netip.MustParseAddr("10.9.0.2"), spare4), false, sighting{kind: sawUnassigned, addr: spare4, mac: node2, node: "n2"}},
		{"a host that has an address of a pool answers another", reply(client, spare4), false, sighting{}},
		{"a reply between others", arpPacket{op: 2, senderMAC: client, senderIP: clientIP, targetMAC: macOf(1), targetIP: vip4}.appendTo(nil, macOf(1)), false, sighting{}},
		{"a stranger's gratuitous request", request(client, vip4, vip4), false, sighting{kind: sawClaim, addr: vip4, mac: client}},
		{"a stranger's gratuitous reply", arpAnnounceReply(nil, client, vip4), false, sighting{kind: sawClaim, addr: vip4, mac: client}},
		{"a stranger uses the address to ask for another", request(client, vip4, clientIP), false, sighting{kind: sawClaim, addr: vip4, mac: client}},
		{"a stranger uses an address to ask for an owned one", request(client, other4, vip4), false, sighting{kind: sawClaim, addr: other4, mac: client}},
		{"a stranger's answer to a probe", reply(client, other4), false, sighting{kind: sawClaim, addr: other4, mac: client}},
		{"a node's announcement", arpAnnounceRequest(nil, node2, vip4), false, sighting{kind: sawClaim, addr: vip4, mac: node2, node: "n2"}},
		{"a node's answer to a probe", reply(node2, vip4), false, sighting{kind: sawClaim, addr: vip4, mac: node2, node: "n2"}},
		{"a node's kernel uses the address to ask", request(node2, vip4, clientIP), false, sighting{kind: sawMember, addr: vip4, mac: node2, node: "n2"}},
		{"a witness answers", reply(client, gateway), false, sighting{kind: sawWitness, addr: gateway, mac: client}},
		{"a witness asks for somebody", request(client, gateway, clientIP), false, sighting{}},
		{"a witness asks for an owned address", request(client, gateway, vip4), true, sighting{kind: sawRequest, addr: vip4, mac: client}},
		{"an own frame came back", arpAnnounceRequest(nil, macOf(1), vip4), false, sighting{kind: sawOwn}},
		{"an own frame came in on another link", arpAnnounceRequest(nil, macOf(3), vip4), false, sighting{kind: sawOwn}},
		{"for a foreign MAC, flooded by a switch", change(request(client, clientIP, vip4), 0, 2), false, sighting{}},
		{"Ethernet source and sender differ", change(request(client, clientIP, vip4), 11, 99), false, refused(spoofedSender)},
		{"a broadcast source", change(request(client, clientIP, vip4), 6, 0xff), false, refused(badSender)},
		{"no source", request(announce.MAC{}, clientIP, vip4), false, refused(badSender)},
		{"a VLAN tag", change(change(request(client, clientIP, vip4), 12, 0x81), 13, 0), false, refused(badEtherType)},
		{"what the filter leaves of a frame with a VLAN tag", []byte{0xff}, false, refused(vlanTagged)},
		{"no ARP", change(request(client, clientIP, vip4), 19, 3), false, refused(badHeader)},
		{"nothing", nil, false, refused(tooShort)},

		{"v6: a client asks", ns(client, ll, vip6), true, sighting{kind: sawRequest, addr: vip6, mac: client}},
		{"v6: a client checks its entry by unicast", appendNeighbor(nil, ethernet{dst: macOf(1), src: client}, ll, vip6, &ndp.NeighborSolicitation{TargetAddress: vip6}),
			true, sighting{kind: sawRequest, addr: vip6, mac: client}},
		{"v6: duplicate address detection", ns(client, netip.IPv6Unspecified(), vip6), true, sighting{kind: sawProbe, addr: vip6, mac: client}},
		{"v6: a node asks, to forward", ns(node2, ll, vip6), false, sighting{kind: sawMember, addr: vip6, mac: node2, node: "n2"}},
		{"v6: a node probes", ns(node2, netip.IPv6Unspecified(), vip6), true, sighting{kind: sawProbe, addr: vip6, mac: node2, node: "n2"}},
		{"v6: for an address that is not this node's", ns(client, ll, other6), false, sighting{kind: sawRequest, addr: other6, mac: client}},
		{"v6: for an address of a pool that no Service has", ns(client, ll, spare6), false, sighting{kind: sawUnassigned, addr: spare6, mac: client}},
		{"v6: for an address that is nobody's", ns(client, ll, netip.MustParseAddr("fd09::210")), false, sighting{}},
		{"v6: a stranger advertises", na(client, vip6), false, sighting{kind: sawClaim, addr: vip6, mac: client}},
		{"v6: a stranger uses the address to ask", ns(client, vip6, other6), false, sighting{kind: sawClaim, addr: vip6, mac: client}},
		{"v6: a node advertises", na(node2, vip6), false, sighting{kind: sawClaim, addr: vip6, mac: node2, node: "n2"}},
		{"v6: a node's kernel uses the address to ask", ns(node2, vip6, other6), false, sighting{kind: sawMember, addr: vip6, mac: node2, node: "n2"}},
		{"v6: a witness answers", na(client, netip.MustParseAddr("fe80::fe")), false, sighting{kind: sawWitness, addr: netip.MustParseAddr("fe80::fe"), mac: client}},
		{"v6: somebody else's advertisement", na(client, netip.MustParseAddr("fe80::fd")), false, sighting{}},
		{"v6: an own frame came back", neighborAnnounce(nil, linkOf(1), vip6), false, sighting{kind: sawOwn}},
		{"v6: Ethernet source and option differ", change(neighborAsk(linkOf(clientHost), vip6), 11, 99), false, refused(spoofedSender)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reply, got := decide(linkOf(1), judge(), tt.frame, nil)
			if (len(reply) > 0) != tt.replies {
				t.Errorf("reply %x", reply)
			}
			equal := cmp.Options{cmp.AllowUnexported(sighting{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
			if diff := cmp.Diff(tt.want, got, equal); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestUnassigned: an address is unassigned if a pool has it and the plan doesn't.
func TestUnassigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.Uint32Range(0, 100), 0, 20, rapid.ID[uint32]).Draw(t, "bounds")
		slices.Sort(bounds)
		judge := &table{addresses: make(map[netip.Addr]*entry)}
		for pair := range slices.Chunk(bounds, 2) {
			judge.pools = append(judge.pools, netipx.IPRangeFrom(addressAt(pair[0]), addressAt(pair[len(pair)-1])))
		}
		for _, v := range rapid.SliceOf(rapid.Uint32Range(0, 100)).Draw(t, "assigned") {
			judge.addresses[addressAt(v)] = &entry{}
		}
		for v := range uint32(102) {
			a := addressAt(v)
			pooled := slices.ContainsFunc(judge.pools, func(r netipx.IPRange) bool { return r.Contains(a) })
			if got, want := judge.unassigned(a), pooled && judge.addresses[a] == nil; got != want {
				t.Fatalf("%s: %v, want %v", a, got, want)
			}
		}
	})
}

func TestDecideWithoutLinkLocalAddress(t *testing.T) {
	l := linkOf(1)
	l.LinkLocal = netip.Addr{}
	if reply, got := decide(l, judge(), neighborAsk(linkOf(clientHost), vip6), nil); len(reply) > 0 || got.kind != sawRequest {
		t.Errorf("%x, %v", reply, got)
	}
}

// FuzzDecide holds for any frame: it is answered only for an owned address on
// its link, to its Ethernet source or all nodes, from this node's MAC.
func FuzzDecide(f *testing.F) {
	f.Add(arpFrame(nil))
	f.Add(arpAnnounceRequest(nil, macOf(2), vip4))
	f.Add(arpProbe(nil, macOf(2), vip4))
	f.Add(arpFrame(func(b []byte) { b[18] = 120 }))
	f.Add(neighborAsk(linkOf(clientHost), vip6))
	f.Add(neighborProbe(nil, macOf(2), vip6))
	f.Add(neighborAnnounce(nil, linkOf(2), vip6))
	f.Fuzz(func(t *testing.T, frame []byte) {
		link, table := linkOf(1), judge()
		reply, seen := decide(link, table, frame, nil)
		if len(reply) == 0 {
			return
		}
		if !table.knows(seen.addr, link) || !table.answers(seen.addr) {
			t.Fatalf("%x answered for %s", frame, seen.addr)
		}
		e, _ := parseEthernet(reply)
		switch {
		case e.src != link.MAC, e.dst != announce.MAC(frame[6:12]) && e.dst != multicastMAC(allNodes()):
			t.Fatalf("%x answered by %x", frame, reply)
		case e.etherType == etherTypeARP:
			p, reason := parseARP(reply[ethernetHeader:])
			if reason != wellFormed || p.op != arp.OperationReply || p.senderIP != seen.addr || p.senderMAC != link.MAC {
				t.Fatalf("%x answered by %x", frame, reply)
			}
		default:
			n, reason := parseNeighbor(reply[ethernetHeader:])
			if reason != wellFormed || !n.advertisement || n.target != seen.addr || n.mac != link.MAC || n.src != link.LinkLocal {
				t.Fatalf("%x answered by %x", frame, reply)
			}
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	t, last := judge(), netip.MustParseAddr("10.10.0.0")
	for range 10_000 {
		last = last.Next()
		t.addresses[last] = &entry{links: []int{1}}
	}
	frames := map[string][]byte{
		"request":      arpFrame(nil),
		"other":        arpPacket{op: 1, senderMAC: macOf(clientHost), senderIP: clientIP, targetIP: unknown}.appendTo(nil, broadcastMAC()),
		"malformed":    arpFrame(func(b []byte) { b[18] = 120 }),
		"solicitation": neighborAsk(linkOf(clientHost), vip6),
	}
	l := linkOf(1)
	for name, frame := range frames {
		b.Run(name, func(b *testing.B) {
			out := make([]byte, 0, maxFrame)
			b.ReportAllocs()
			for b.Loop() {
				decide(l, t, frame, out)
			}
		})
	}
}
