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
	told       map[toldKey]bool
}

func newDecider(s *Snapshot) *decider {
	d := &decider{
		snapshot: s,
		index:    make(map[string]int32, len(s.Members)),
		self:     -1,
		regions:  map[regionKey]*region{},
		told:     map[toldKey]bool{},
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
		out := Address{Addr: a, Services: slices.Clip(names[first:]), Lead: d.siblings.lowest(a)}
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
	if pool.Protocol == config.BGP {
		out.Reason = d.reasonBGP(pool, tenants)
		return order
	}
	reg := d.regionOf(pool, out.Addr)
	out.Links = reg.links
	if !d.locals.require(tenants, d.index) {
		out.Reason = NoReadyEndpoint
		return order
	}
	best := d.rank(reg, AddrHash(out.Lead))
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
