package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/agent"
	"github.com/herald-lb/herald/pkg/announce/layer2"
	"github.com/herald-lb/herald/pkg/announce/member"
)

func ips(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func TestPeersAreOfThisNodesFamily(t *testing.T) {
	announcers := map[string][]netip.Addr{
		"n1": ips("10.0.0.1", "fd00::1"), "n2": ips("fd00::2", "10.0.0.2"), "n3": ips("10.0.0.3"),
	}
	for host, want := range map[string][]netip.Addr{"10.0.0.1": ips("10.0.0.2", "10.0.0.3"), "fd00::1": ips("fd00::2")} {
		got := peers(announcers, "n1", netip.MustParseAddr(host))
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("peers of %s (-want +got):\n%s", host, diff)
		}
	}
}

func TestTranslateView(t *testing.T) {
	since := time.Unix(1, 0)
	links := []announce.Link{{Name: "eth0", MAC: announce.MAC{2}}}
	got := translateView(member.View{
		Members: map[string]member.State{
			"n1": {Name: "n1", Addr: ips("10.0.0.1")[0], Ready: true, Draining: true, Links: links, ConfigHash: [8]byte{9}, Alive: true, Since: since},
			"n2": {Name: "n2", Down: member.HostGone, NeedsWitness: true},
		},
		Isolated: true, Known: 4,
	})
	want := agent.Members{
		All: map[string]agent.Member{
			"n1": {Member: announce.Member{Name: "n1", Ready: true, Draining: true, Links: links}, Address: ips("10.0.0.1")[0], ConfigHash: [8]byte{9}, Alive: true, Since: since},
			"n2": {Member: announce.Member{Name: "n2"}, Down: "host gone", NeedsWitness: true},
		},
		Others: 4, Isolated: true,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestTranslateDesired(t *testing.T) {
	a := &announce.Address{Addr: ips("10.0.0.9")[0], Lead: ips("10.0.0.8")[0], Owner: "n1", Reason: announce.Announced, Order: []string{"n1", "n2"}, Links: []string{"eth0"}}
	d := agent.Desired{
		Self:      "n1",
		Addresses: []agent.Address{{Address: a, From: "n2", Predecessor: agent.Down, NeedsWitness: true}},
		Members: map[string]agent.Member{
			"n1": {Member: announce.Member{Links: []announce.Link{{MAC: announce.MAC{9}}}}, Address: ips("10.0.0.1")[0], Alive: true},
			"n2": {Member: announce.Member{Links: []announce.Link{{MAC: announce.MAC{2}}, {MAC: announce.MAC{3}}}}, Address: ips("10.0.0.2")[0]},
			"n3": {Alive: true},
		},
		Pools: []netipx.IPRange{netipx.MustParseIPRange("10.0.0.0-10.0.0.9")},
		Links: []announce.Link{{Name: "eth0", MAC: announce.MAC{1}}},
	}
	want := layer2.Desired{
		Addresses: map[netip.Addr]layer2.Address{
			a.Addr: {Links: a.Links, Mine: true, Owner: "n1", Lead: a.Lead, Previous: layer2.Down, NeedsWitness: true, Order: a.Order},
		},
		Pools:     d.Pools,
		Members:   map[announce.MAC]string{{1}: "n1", {9}: "n1", {2}: "n2", {3}: "n2"},
		Down:      []string{"n2"},
		Witnesses: ips("10.0.0.254", "10.0.0.2"),
		Links:     d.Links,
	}
	got := translateDesired(d, ips("10.0.0.254"))
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netipx.IPRange{})); diff != "" {
		t.Errorf("desired (-want +got):\n%s", diff)
	}
}

// The two enumerations are converted by number.
func TestPredecessorsAreAlike(t *testing.T) {
	for a, l := range map[agent.Predecessor]layer2.Predecessor{agent.Nobody: layer2.Nobody, agent.Alive: layer2.Alive, agent.Itself: layer2.Itself, agent.Down: layer2.Down, agent.Unheard: layer2.Unheard} {
		if layer2.Predecessor(a) != l {
			t.Errorf("%v is converted to %v", a, layer2.Predecessor(a))
		}
	}
}

// A node that can still serve an address waits for a good moment to hand it over.
func TestUnserved(t *testing.T) {
	for reason, want := range map[announce.Reason]bool{
		announce.Announced: false, announce.NotElected: false, announce.MemberDraining: false, announce.NodeExcluded: false,
		announce.NoLocalEndpoint: true, announce.NetworkUnavailable: true,
	} {
		a := announce.Address{Addr: ips("10.0.0.1")[0], Owner: "n2", Reason: reason}
		d := translateDesired(agent.Desired{Self: "n1", Addresses: []agent.Address{{Address: &a}}}, nil)
		if got := d.Addresses[a.Addr].Unserved; got != want {
			t.Errorf("%v: unserved %v, want %v", reason, got, want)
		}
	}
}

func TestObservation(t *testing.T) {
	addr := ips("10.0.0.9")[0]
	mac := announce.MAC{2, 0, 0, 0, 0, 7}
	for name, c := range map[string]struct {
		event   layer2.Event
		took    bool
		reason  string
		message string
	}{
		"took over":                {layer2.Event{Kind: layer2.TookOver, Address: addr}, true, "", ""},
		"yielded":                  {layer2.Event{Kind: layer2.Yielded, Address: addr, Node: "n2", MAC: mac}, false, "", ""},
		"held by a stranger":       {layer2.Event{Kind: layer2.Held, Address: addr, Link: "eth0", MAC: mac}, false, "AddressInUse", "10.0.0.9 is used by 02:00:00:00:00:07 on link eth0, which is no node"},
		"held by a router":         {layer2.Event{Kind: layer2.Held, Address: addr, Link: "eth0", MAC: announce.MAC{0, 0, 0x5e, 0, 1, 3}}, false, "AddressInUse", "proxy ARP"},
		"held by a node":           {layer2.Event{Kind: layer2.Held, Address: addr, Link: "eth0", MAC: mac, Node: "n2"}, false, "", ""},
		"held for want of witness": {layer2.Event{Kind: layer2.Held, Address: addr}, false, "NotAnnounced", "cut off"},
		"conflict":                 {layer2.Event{Kind: layer2.Conflict, Address: addr, Link: "eth0", MAC: mac}, false, "AddressConflict", "also used by 02:00:00:00:00:07"},
		"split brain":              {layer2.Event{Kind: layer2.SplitBrain, Address: addr, Node: "n2", MAC: mac}, false, "", ""},
	} {
		got := observation(c.event)
		if got.Addr != addr || got.Took != c.took || got.Reason != c.reason || !strings.Contains(got.Message, c.message) || (c.message == "") != (got.Message == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
