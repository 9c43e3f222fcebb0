package announce

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/herald-lb/herald/pkg/config"
)

// GracefulShutdown is the community by which a router learns that a path is
// about to go (RFC 8326).
const GracefulShutdown config.Community = 65535 << 16

// PeerRoutes is what one router is to see of this node.
type PeerRoutes struct {
	Peer     config.Peer
	RouterID netip.Addr         // of this node in the session
	BFD      *config.BFDProfile // nil: none
	Multihop bool               // routers may be between this node and the peer
	Routes   []BGPRoute         // sorted by prefix, each prefix once
	Problems []string           // what is left out and why, for people

	// Held says why there is to be no session for now; "" if there is.
	Held string
}

// route returns the route of a prefix.
func (p *PeerRoutes) route(prefix netip.Prefix) (*BGPRoute, bool) {
	i, ok := slices.BinarySearchFunc(p.Routes, prefix, func(r BGPRoute, prefix netip.Prefix) int { return r.Prefix.Compare(prefix) })
	if !ok {
		return nil, false
	}
	return &p.Routes[i], true
}

// BGPRoute is what one router is told of one prefix.
type BGPRoute struct {
	Prefix           netip.Prefix // masked
	NextHop          netip.Addr   // an address of this node
	LocalPref        uint32       // means nothing to eBGP peers, who never see it
	Communities      []config.Community
	LargeCommunities []config.LargeCommunity

	// Leaving says that the node is draining and other nodes serve the prefix,
	// so that it is withdrawn once routers had time to move the traffic.
	Leaving bool
}

// Equal reports whether a router would see no difference.
func (r BGPRoute) Equal(o BGPRoute) bool {
	return r.Prefix == o.Prefix && r.NextHop == o.NextHop && r.LocalPref == o.LocalPref &&
		slices.Equal(r.Communities, o.Communities) && slices.Equal(r.LargeCommunities, o.LargeCommunities)
}

// RouteKey names a route among those of all peers.
type RouteKey struct {
	Peer   string
	Prefix netip.Prefix
}

// NextHops are this node's addresses towards a router. Either may be the zero
// Addr.
type NextHops struct{ IPv4, IPv6 netip.Addr }

// Password is what is known of a Secret that peers name.
type Password struct {
	Value   config.Secret
	Problem string // why there is no Value
}

// RouteFacts is what routes depend on beside the Snapshot.
type RouteFacts struct {
	NextHops map[string]NextHops // by peer; the Node's own addresses where it says nothing

	// Passwords are those in Secrets, by the Secret's name. One that is not
	// there has not been read yet.
	Passwords map[string]Password

	// Before is what Routes said last: only what is announced can leave.
	Before map[string]PeerRoutes

	// Keeping has the peers whose routers keep this node's routes until it has
	// restarted. A node that stops, and is not otherwise on its way out, leaves
	// them alone.
	Keeping map[string]bool

	// Waited has the routes that have been Leaving for long enough. It must
	// keep a route for as long as the node drains.
	Waited map[RouteKey]bool
}

// Routes says what this node announces to which router, by the names of the
// peers: each BGP pool's addresses, through each of its advertisements, if this
// node may announce the address by the rules for layer 2, but for those about
// links and about owners. A node that may not keeps its sessions and announces
// nothing.
//
// A node on its way out (about to stop, cordoned, or excluded) first marks the
// routes that it announces with GracefulShutdown, and gives them up when
// RouteFacts.Waited has them: but only those whose every address another node
// announces to the router. So the last node to announce an address goes on with
// it, unless it is excluded.
//
// The second value is false while nothing can be said: routers are then to be
// left alone, since they may be keeping the routes of an earlier run.
func Routes(s Snapshot, f RouteFacts) (map[string]PeerRoutes, bool) {
	if s.Config == nil || !s.Members[s.Self].Ready {
		return nil, false
	}
	addresses := announcible(&s)
	if v := nodeVerdict(&s, s.Self); v != Announced && v != NodeExcluded {
		addresses = nil
	}
	all := map[string]PeerRoutes{}
	for i := range s.Config.Peers {
		p := &s.Config.Peers[i]
		if selects(p.NodeSelectors, s.Nodes[s.Self].Labels) {
			b := peerBuilder{snapshot: &s, facts: &f, peer: p}
			all[p.Name] = b.build(addresses)
		}
	}
	return all, true
}

// bgpAddress is an address of a BGP pool that some node may announce.
type bgpAddress struct {
	addr    netip.Addr
	pool    *config.Pool
	tenants []tenancy // Services on it that have a ready endpoint
}

// announcible lists the addresses of BGP pools on which a Service has a ready
// endpoint, in order.
func announcible(s *Snapshot) []bgpAddress {
	var list []bgpAddress
	all := tenants(s.Services)
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].addr == all[0].addr {
			n++
		}
		a := bgpAddress{addr: all[0].addr}
		for _, t := range all[:n] {
			if t.service.Ready {
				a.tenants = append(a.tenants, t)
			}
		}
		pool, ok := s.Config.PoolOf(a.addr)
		if ok && pool.Protocol == config.BGP && len(a.tenants) > 0 {
			a.pool = pool
			list = append(list, a)
		}
		all = all[n:]
	}
	return list
}

// servedBy reports whether a node has the endpoints that the Services on the
// address demand of it.
func (a *bgpAddress) servedBy(node string) bool {
	for _, t := range a.tenants {
		if !t.service.Local {
			continue
		}
		if _, found := slices.BinarySearch(t.service.ReadyNodes, node); !found {
			return false
		}
	}
	return true
}

// selects reports whether any selector matches: none at all match everything.
func selects(selectors []labels.Selector, of map[string]string) bool {
	return len(selectors) == 0 || slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(labels.Set(of)) })
}

// directed lists the advertisements of a pool that go from a node to a peer.
func directed(pool *config.Pool, peer *config.Peer, node map[string]string) []*config.Advertisement {
	var ads []*config.Advertisement
	for i := range pool.Advertisements {
		ad := &pool.Advertisements[i]
		if (len(ad.Peers) == 0 || slices.Contains(ad.Peers, peer.Name)) && selects(ad.NodeSelectors, node) {
			ads = append(ads, ad)
		}
	}
	return ads
}

// prefixOf is the prefix by which an advertisement announces an address.
func prefixOf(ad *config.Advertisement, a netip.Addr) netip.Prefix {
	bits := ad.AggregationLength
	if a.Is6() {
		bits = ad.AggregationLengthV6
	}
	return netip.PrefixFrom(a, bits).Masked()
}
