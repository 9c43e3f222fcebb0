package ipam

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// pools are the configured pools with all that is in use of them.
type pools struct {
	inOrder []*pool // of the document
	auto    []*pool // those with auto-assign
	byName  map[string]*pool
	sorted  []*addressRange // of all pools, by address; they don't overlap
}

// pool is one configured pool.
type pool struct {
	name   string
	v4, v6 stock
}

// stock is what a pool has of one family.
type stock struct {
	ranges   []*addressRange // in document order
	size     uint64          // addresses that may be given out; saturates
	inUse    uint64
	draining uint64
	groups   map[sharing]*group // addresses that Services with these keys share
}

// newPools returns the document's pools; records says what is in use of them.
func newPools(document []config.Pool, records map[netip.Addr]*record) *pools {
	ps := &pools{byName: map[string]*pool{}}
	for i := range document {
		d := &document[i]
		p := &pool{name: d.Name}
		for _, r := range d.Ranges {
			ar := newAddressRange(p, r, d, records)
			s := p.stock(ar.family)
			ar.order = len(s.ranges)
			s.ranges = append(s.ranges, ar)
			s.size = saturatingAdd(s.size, ar.size())
			ps.sorted = append(ps.sorted, ar)
		}
		ps.inOrder = append(ps.inOrder, p)
		ps.byName[p.name] = p
		if d.AutoAssign {
			ps.auto = append(ps.auto, p)
		}
	}
	slices.SortFunc(ps.sorted, func(a, b *addressRange) int { return a.from.Compare(b.from) })
	return ps
}

// find returns the range that addr is in, or nil. With it, usable says whether
// the range may give addr out.
func (ps *pools) find(addr netip.Addr) (r *addressRange, usable bool) {
	i, found := slices.BinarySearchFunc(ps.sorted, addr, func(r *addressRange, addr netip.Addr) int { return r.from.Compare(addr) })
	if !found {
		i--
	}
	if i < 0 || ps.sorted[i].to.Less(addr) {
		return nil, false
	}
	return ps.sorted[i], !ps.sorted[i].avoids(addr)
}

// forbids refuses addr to r when the pools don't allow r to have it, whoever
// has it now.
func (ps *pools) forbids(r *Request, addr netip.Addr) *Refusal {
	ar, usable := ps.find(addr)
	var refusal *Refusal
	switch {
	case ar == nil:
		refusal = r.refuse(NotInPool, "%v is in no pool; use an address of a pool, or add a range with it to one", addr)
	case !usable:
		refusal = r.refuse(NotInPool, "%v is left out of pool %q by avoid-buggy-ips; use another address", addr, ar.pool.name)
		refusal.Pool = ar.pool.name
	case r.Pool == "" || r.Pool == ar.pool.name:
		return nil
	default:
		if refusal = ps.missing(r); refusal == nil {
			refusal = r.refuse(PoolConflict, "%v is of pool %q, but the Service asks for pool %q; ask for one or the other", addr, ar.pool.name, r.Pool)
			refusal.Pool = r.Pool
		}
	}
	refusal.Address = addr
	return refusal
}

// missing refuses r when the pool that it names does not exist.
func (ps *pools) missing(r *Request) *Refusal {
	if ps.byName[r.Pool] != nil {
		return nil
	}
	refusal := r.refuse(NoSuchPool, "there is no pool %q; name one of: %s", r.Pool,
		enumerate(ps.inOrder, func(p *pool) string { return fmt.Sprintf("%q", p.name) }))
	if len(ps.inOrder) == 0 {
		refusal.Detail = fmt.Sprintf("there is no pool %q; the configuration has no address-pools, add one", r.Pool)
	}
	refusal.Pool = r.Pool
	return refusal
}

// stock returns what p has of family f.
func (p *pool) stock(f Family) *stock {
	if f == IPv4 {
		return &p.v4
	}
	return &p.v6
}

// size returns how many addresses of family f the pool may give out.
func (p *pool) size(f Family) uint64 { return p.stock(f).size }

// usage says in words how much of family f is in use.
func (p *pool) usage(f Family) string {
	s := p.stock(f)
	if s.draining > 0 {
		return fmt.Sprintf("%d of %d in use, %d about to be free", s.inUse, s.size, s.draining)
	}
	return fmt.Sprintf("%d of %d in use", s.inUse, s.size)
}

// lowest returns the first address of family f, in the pool's order, that
// suits r: a free one, or one that r may share.
func (p *pool) lowest(f Family, r *Request) (netip.Addr, bool) {
	s := p.stock(f)
	var shared *record
	if r.SharingKey != "" {
		shared = s.groups[r.sharing()].lowest(r.Ports)
	}
	for _, ar := range s.ranges {
		free, ok := ar.lowestFree()
		switch {
		case shared != nil && shared.in == ar && (!ok || shared.addr.Less(free)):
			return shared.addr, true
		case ok:
			return free, true
		}
	}
	return netip.Addr{}, false
}

// byPosition orders records of one stock by the pool's order.
func byPosition(a, b *record) int {
	return cmp.Or(cmp.Compare(a.in.order, b.in.order), a.addr.Compare(b.addr))
}

// count adds n to the addresses in phase p.
func (s *stock) count(p phase, n int) {
	switch p {
	case inUse:
		s.inUse += uint64(n)
	case leaving:
		s.draining += uint64(n)
	case unused:
	}
}

// source returns the range that may give addr out, or nil.
func (ps *pools) source(addr netip.Addr) *addressRange {
	if r, usable := ps.find(addr); usable {
		return r
	}
	return nil
}
