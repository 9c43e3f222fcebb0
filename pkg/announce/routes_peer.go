package announce

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// peerBuilder puts the routes for one peer together.
type peerBuilder struct {
	snapshot *Snapshot
	facts    *RouteFacts
	peer     *config.Peer

	ads     map[*config.Pool][]*config.Advertisement // that go from this node to the peer
	staying []Node                                   // other nodes that speak with the peer and will go on
}

// contribution is an address that one advertisement announces under a prefix.
type contribution struct {
	prefix  netip.Prefix
	ad      *config.Advertisement
	address *bgpAddress
}

func (b *peerBuilder) build(addresses []bgpAddress) PeerRoutes {
	out := PeerRoutes{Peer: *b.peer, RouterID: b.routerID(), Multihop: b.multihop()}
	out.Peer.Password, out.Held = b.password()
	if i := slices.IndexFunc(b.snapshot.Config.BFDProfiles, func(p config.BFDProfile) bool { return p.Name == b.peer.BFDProfile }); i >= 0 {
		out.BFD = &b.snapshot.Config.BFDProfiles[i]
	}
	parts := b.contributions(addresses)
	before := b.facts.Before[b.peer.Name]
	excluded := b.snapshot.Nodes[b.snapshot.Self].Excluded
	draining := excluded || b.cordoned(b.snapshot.Self) || b.stops(b.snapshot.Self) && !b.facts.Keeping[b.peer.Name]
	if draining {
		b.findStaying()
	}
	next := b.nextHops()
	without := map[bool]int{}
	out.Routes = make([]BGPRoute, 0, len(parts))
	for len(parts) > 0 {
		n := 1
		for n < len(parts) && parts[n].prefix == parts[0].prefix {
			n++
		}
		r := merged(parts[:n])
		if r.NextHop = next.IPv4; r.Prefix.Addr().Is6() {
			r.NextHop = next.IPv6
		}
		switch {
		case !r.NextHop.IsValid():
			without[r.Prefix.Addr().Is6()]++
		case !draining || !excluded && !b.elsewhere(parts[:n]):
			out.Routes = append(out.Routes, r)
		case !b.facts.Waited[RouteKey{b.peer.Name, r.Prefix}]:
			if _, announced := before.route(r.Prefix); !announced {
				break
			}
			r.Leaving, r.LocalPref = true, 0
			r.Communities = union(r.Communities, []config.Community{GracefulShutdown}, cmp.Compare)
			out.Routes = append(out.Routes, r)
		}
		parts = parts[n:]
	}
	for _, family := range []string{"IPv4", "IPv6"} {
		if n := without[family == "IPv6"]; n > 0 {
			out.Problems = append(out.Problems, fmt.Sprintf("%d %s prefixes are not announced: this node has no global %s address to name as their next hop", n, family, family))
		}
	}
	return out
}

// contributions lists what this node announces to the peer, by prefix.
func (b *peerBuilder) contributions(addresses []bgpAddress) []contribution {
	b.ads = map[*config.Pool][]*config.Advertisement{}
	self := b.snapshot.Nodes[b.snapshot.Self]
	all := make([]contribution, 0, len(addresses))
	for i := range addresses {
		a := &addresses[i]
		if !a.servedBy(b.snapshot.Self) {
			continue
		}
		ads, ok := b.ads[a.pool]
		if !ok {
			ads = directed(a.pool, b.peer, self.Labels)
			b.ads[a.pool] = ads
		}
		for _, ad := range ads {
			all = append(all, contribution{prefixOf(ad, a.addr), ad, a})
		}
	}
	byPrefix := func(x, y contribution) int { return x.prefix.Compare(y.prefix) }
	if !slices.IsSortedFunc(all, byPrefix) { // it is, where there are no aggregates
		slices.SortStableFunc(all, byPrefix)
	}
	return all
}

// merged makes one route of advertisements of the same prefix: it has the
// communities of all. The configuration has seen to it that their local
// preferences are equal.
func merged(parts []contribution) BGPRoute {
	first := parts[0].ad
	r := BGPRoute{Prefix: parts[0].prefix, LocalPref: first.LocalPref, Communities: first.Communities, LargeCommunities: first.LargeCommunities}
	for _, p := range parts[1:] {
		if p.ad == first {
			continue
		}
		r.LocalPref = max(r.LocalPref, p.ad.LocalPref)
		r.Communities = union(r.Communities, p.ad.Communities, cmp.Compare)
		r.LargeCommunities = union(r.LargeCommunities, p.ad.LargeCommunities, compareLarge)
	}
	return r
}

// union merges two sorted lists without changing them.
func union[T comparable](a, b []T, compare func(T, T) int) []T {
	if len(b) == 0 || slices.Equal(a, b) {
		return a
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}

func compareLarge(a, b config.LargeCommunity) int {
	return cmp.Or(cmp.Compare(a.Global, b.Global), cmp.Compare(a.Local1, b.Local1), cmp.Compare(a.Local2, b.Local2))
}

// nextHops are the addresses by which the peer's router reaches this node. In
// the session's own family a configured source-address comes first.
func (b *peerBuilder) nextHops() NextHops {
	p := b.peer
	next := b.facts.NextHops[p.Name]
	if p.SourceAddress.Is4() {
		next.IPv4 = p.SourceAddress
	}
	if p.SourceAddress.Is6() {
		next.IPv6 = p.SourceAddress
	}
	for _, a := range b.snapshot.Nodes[b.snapshot.Self].Addresses {
		switch {
		case a.IsLinkLocalUnicast():
		case a.Is4() && !next.IPv4.IsValid():
			next.IPv4 = a
		case a.Is6() && !next.IPv6.IsValid():
			next.IPv6 = a
		}
	}
	return next
}

// routerID is the configured one, or the node's first IPv4 address, or made
// from its name: it has to be different on each node, and the same tomorrow.
func (b *peerBuilder) routerID() netip.Addr {
	if b.peer.RouterID.IsValid() {
		return b.peer.RouterID
	}
	for _, a := range b.snapshot.Nodes[b.snapshot.Self].Addresses {
		if a.Is4() {
			return a
		}
	}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], uint32(NodeHash(b.snapshot.Self)))
	id[0] = id[0]%63 + 1 // a plain address: some routers refuse others
	return netip.AddrFrom4(id)
}

// password returns the TCP MD5 key, or why there can be no session without it.
func (b *peerBuilder) password() (config.Secret, string) {
	if b.peer.PasswordSecret == "" {
		return b.peer.Password, ""
	}
	p, ok := b.facts.Passwords[b.peer.PasswordSecret]
	if !ok {
		return "", fmt.Sprintf("Secret %s with its password has not been read yet", b.peer.PasswordSecret)
	}
	return p.Value, p.Problem
}

// multihop reports whether other routers may be on the way to the peer: by its
// settings, or within an autonomous system if no link of this node leads there
// at once.
func (b *peerBuilder) multihop() bool {
	if b.peer.EBGPMultihop || b.peer.MyASN != b.peer.PeerASN {
		return b.peer.EBGPMultihop
	}
	return onLink(b.snapshot.Members[b.snapshot.Self].Links, b.peer.Address) == nil
}

func (b *peerBuilder) cordoned(node string) bool { return b.snapshot.Nodes[node].Unschedulable }
func (b *peerBuilder) stops(node string) bool    { return b.snapshot.Members[node].Draining }

func (b *peerBuilder) findStaying() {
	for name := range b.snapshot.Members {
		node := b.snapshot.Nodes[name]
		if name != b.snapshot.Self && !b.cordoned(name) && !b.stops(name) && nodeVerdict(b.snapshot, name) == Announced && selects(b.peer.NodeSelectors, node.Labels) {
			b.staying = append(b.staying, node)
		}
	}
}

// elsewhere reports whether other nodes, which stay, announce each address of
// a route to the peer under the same prefix.
func (b *peerBuilder) elsewhere(parts []contribution) bool {
	for _, p := range parts {
		if !slices.ContainsFunc(b.staying, func(n Node) bool { return b.announces(n, p) }) {
			return false
		}
	}
	return true
}

func (b *peerBuilder) announces(node Node, p contribution) bool {
	return p.address.servedBy(node.Name) && slices.ContainsFunc(directed(p.address.pool, b.peer, node.Labels), func(ad *config.Advertisement) bool {
		return prefixOf(ad, p.address.addr) == p.prefix
	})
}
