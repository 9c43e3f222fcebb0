package announce

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// Decide elects an owner for every address of a layer-2 pool that a Service of
// ours shows, and says of every address why this node does not announce it.
// It is a pure function: nodes with equal snapshots (but for Self) elect the
// same owners.
func Decide(s Snapshot) Plan {
	d := newDecider(&s)
	return Plan{Self: s.Self, Addresses: d.decide(tenants(s.Services))}
}

// tenancy is one Service's use of one address.
type tenancy struct {
	addr    netip.Addr
	service *Service
}

// tenants lists who uses which address, in order of address and Service name.
func tenants(services []Service) []tenancy {
	var all []tenancy
	for i := range services {
		for _, a := range services[i].Addresses {
			all = append(all, tenancy{addr: a, service: &services[i]})
		}
	}
	slices.SortFunc(all, func(x, y tenancy) int {
		if c := x.addr.Compare(y.addr); c != 0 {
			return c
		}
		return cmp.Compare(x.service.Name, y.service.Name)
	})
	return slices.CompactFunc(all, func(x, y tenancy) bool {
		return x.addr == y.addr && x.service.Name == y.service.Name
	})
}

// candidate is a node with a live announcer.
type candidate struct {
	name     string
	hash     uint64
	links    []Link
	verdict  Reason // Announced unless something about the node itself is in the way
	draining bool
}

// region is a set of addresses that no node's links and no pool tell apart:
// what is true of one of them is true of all.
type region struct {
	links    []string // of this node
	able     []int32  // candidates that reach it, by name
	draining []int32  // those of them that are about to stop
	self     Reason   // why this node is not among them, or Announced
}

type regionKey struct {
	pool string
	cut  int
}

// decider holds what is worked out once for all addresses.
type decider struct {
	snapshot   *Snapshot
	candidates []candidate // sorted by name
	index      map[string]int32
	self       int32        // -1 if this node is not a candidate
	cuts       []netip.Addr // where the set of prefixes that contain an address changes
	regions    map[regionKey]*region
	siblings   siblings
	locals     localNodes
}

func newDecider(s *Snapshot) *decider {
	d := &decider{
		snapshot: s,
		index:    make(map[string]int32, len(s.Members)),
		self:     -1,
		regions:  map[regionKey]*region{},
		siblings: siblingsOf(s.Services),
	}
	for i, name := range slices.Sorted(maps.Keys(s.Members)) {
		m := s.Members[name]
		d.candidates = append(d.candidates, candidate{
			name: name, hash: NodeHash(name), links: m.Links,
			verdict: nodeVerdict(s, name), draining: m.Draining,
		})
		d.index[name] = int32(i)
		if name == s.Self {
			d.self = int32(i)
		}
	}
	d.cuts = cuts(s.Members)
	d.locals.marks = make([]int, len(d.candidates))
	return d
}

// nodeVerdict says what about the node itself keeps it from announcing
// anything, or Announced if nothing does.
func nodeVerdict(s *Snapshot, name string) Reason {
	member, alive := s.Members[name]
	node, known := s.Nodes[name]
	switch {
	case !alive:
		return NotAMember
	case !member.Ready:
		return NotReady
	case !known:
		return NodeUnknown
	case node.Excluded:
		return NodeExcluded
	case node.NetworkUnavailable:
		return NetworkUnavailable
	}
	return Announced
}

// cuts returns, sorted, the first address of each on-link prefix and the first
// address behind it. Between two cuts all addresses are in the same prefixes.
func cuts(members map[string]Member) []netip.Addr {
	seen := map[netip.Addr]struct{}{netip.IPv6Unspecified(): {}} // the border between the families
	for _, m := range members {
		for _, l := range m.Links {
			for _, p := range l.Prefixes {
				p = p.Masked()
				seen[p.Addr()] = struct{}{}
				if next := lastOf(p).Next(); next.IsValid() {
					seen[next] = struct{}{}
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(seen), netip.Addr.Compare)
}

// lastOf returns the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(b); bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// decide turns the sorted tenancies into one Address each. Lists of the result
// are cut from a few large arrays: there may be thousands of them.
func (d *decider) decide(all []tenancy) []Address {
	names := make([]string, 0, len(all))
	order := make([]string, 0, len(all)*min(MaxOrder, len(d.candidates)))
	addresses := make([]Address, 0, len(all))
	for len(all) > 0 {
		a, n := all[0].addr, 1
		for n < len(all) && all[n].addr == a {
			n++
		}
		first := len(names)
		for _, t := range all[:n] {
			names = append(names, t.service.Name)
		}
		out := Address{Addr: a, Services: slices.Clip(names[first:])}
		first = len(order)
		order = d.elect(&out, all[:n], order)
		if len(order) > first {
			out.Order = slices.Clip(order[first:])
			out.Owner = out.Order[0]
		}
		addresses = append(addresses, out)
		all = all[n:]
	}
	return addresses
}

// elect appends the eligible nodes to order, best first, and fills in the rest
// of out.
func (d *decider) elect(out *Address, tenants []tenancy, order []string) []string {
	if d.snapshot.Config == nil {
		out.Reason = NoConfiguration
		return order
	}
	pool, ok := d.snapshot.Config.PoolOf(out.Addr)
	if !ok {
		out.Reason = NotInPool
		return order
	}
	out.Pool, out.Protocol = pool.Name, pool.Protocol
	if pool.Protocol != config.Layer2 {
		out.Reason = PoolProtocolIsBGP
		return order
	}
	reg := d.regionOf(pool, out.Addr)
	out.Links = reg.links
	if !d.locals.require(tenants, d.index) {
		out.Reason = NoReadyEndpoint
		return order
	}
	best := d.rank(reg, AddrHash(d.siblings.lowest(out.Addr)))
	for _, i := range best.nodes[:best.n] {
		order = append(order, d.candidates[i].name)
	}
	out.Reason = d.reason(reg, best)
	return order
}

// rank orders the eligible nodes of a region for one address. Draining ones
// come last.
func (d *decider) rank(reg *region, addr uint64) ranking {
	var best, rest ranking
	for _, i := range reg.able {
		if d.locals.has(i) {
			best.offer(i, Score(d.candidates[i].hash, addr))
		}
	}
	for _, i := range reg.draining {
		if d.locals.has(i) {
			rest.offer(i, Score(d.candidates[i].hash, addr))
		}
	}
	best.append(rest)
	return best
}

// reason says why this node is not the best, or Announced.
func (d *decider) reason(reg *region, best ranking) Reason {
	switch {
	case reg.self != Announced:
		return reg.self
	case !d.locals.has(d.self):
		return NoLocalEndpoint
	case best.nodes[0] == d.self:
		return Announced
	case d.candidates[d.self].draining && !d.candidates[best.nodes[0]].draining:
		return MemberDraining
	}
	return NotElected
}

// regionOf returns the region of an address of a pool.
func (d *decider) regionOf(pool *config.Pool, a netip.Addr) *region {
	cut, found := slices.BinarySearchFunc(d.cuts, a, netip.Addr.Compare)
	if found {
		cut++
	}
	key := regionKey{pool: pool.Name, cut: cut}
	reg, ok := d.regions[key]
	if !ok {
		reg = d.newRegion(pool, a)
		d.regions[key] = reg
	}
	return reg
}

// newRegion works out what is true of all addresses in the region of a.
func (d *decider) newRegion(pool *config.Pool, a netip.Addr) *region {
	reg := &region{self: nodeVerdict(d.snapshot, d.snapshot.Self)}
	// A node that has the address on link is where its clients are: others,
	// which would answer on the link of their default route, then stand back.
	onLinkOnly := len(pool.Interfaces) == 0 && slices.ContainsFunc(d.candidates, func(c candidate) bool {
		return onLink(c.links, a) != nil
	})
	for i := range d.candidates {
		c := &d.candidates[i]
		var links []Link
		if onLinkOnly {
			links = onLink(c.links, a)
		} else {
			links = LinksFor(c.links, pool.Interfaces, a)
		}
		if int32(i) == d.self {
			reg.links = linkNames(links)
			if reg.self == Announced && len(links) == 0 {
				reg.self = NoMatchingLink
			}
		}
		switch {
		case c.verdict != Announced || len(links) == 0:
		case c.draining:
			reg.draining = append(reg.draining, int32(i))
		default:
			reg.able = append(reg.able, int32(i))
		}
	}
	return reg
}

func linkNames(links []Link) []string {
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Name
	}
	return names
}

// localNodes knows which candidates have the endpoints that the Services on
// one address demand of its owner. A candidate that meets all k demands is
// marked base+k; raising base forgets all marks at once.
type localNodes struct {
	marks   []int
	base    int
	demands int
}

// require takes in the Services of the next address. It reports whether any of
// them has a ready endpoint; those that have none demand nothing.
func (l *localNodes) require(tenants []tenancy, index map[string]int32) (ready bool) {
	l.base += l.demands + 1
	l.demands = 0
	for _, t := range tenants {
		if !t.service.Ready {
			continue
		}
		ready = true
		if !t.service.Local {
			continue
		}
		for _, name := range t.service.ReadyNodes {
			i, ok := index[name]
			if ok && (l.demands == 0 || l.marks[i] == l.base+l.demands) {
				l.marks[i] = l.base + l.demands + 1
			}
		}
		l.demands++
	}
	return ready
}

// has reports whether a candidate meets all demands.
func (l *localNodes) has(i int32) bool {
	return l.demands == 0 || l.marks[i] == l.base+l.demands
}
