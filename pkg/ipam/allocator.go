package ipam

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// Allocator knows which Service has which address, and gives out the rest. It
// is for one goroutine at a time: its owner serialises the calls.
type Allocator struct {
	pools    *pools                 // nil until the first Reconfigure
	services map[string]*service    // by UID; only those with claims
	records  map[netip.Addr]*record // every address in use
}

// New returns an allocator without pools: Allocate refuses all that is new, with
// NoConfiguration, until Reconfigure has been called.
func New() *Allocator {
	return &Allocator{services: map[string]*service{}, records: map[netip.Addr]*record{}}
}

// Reconfigure puts the pools in the place of the present ones. Their ranges
// must not overlap, as config.Parse makes sure. Addresses that the pools don't
// allow any more stay with their holders until the holder's next Allocate,
// which clears them; Stranded tells beforehand which these are.
func (a *Allocator) Reconfigure(document []config.Pool) {
	a.pools = newPools(document, a.records)
	for _, rec := range a.sortedRecords() {
		rec.in, rec.phase, rec.group = a.pools.source(rec.addr), unused, nil
		rec.settle()
	}
}

// AdoptAll adopts Services in the order in which they are entitled to what they
// show: those not being deleted first, then those that ask for the very
// address, then those that ask for none, then the oldest, then by name.
func (a *Allocator) AdoptAll(adoptions []Adoption) {
	sorted := slices.Clone(adoptions)
	slices.SortStableFunc(sorted, func(x, y Adoption) int {
		return cmp.Or(
			x.rank()-y.rank(),
			x.Created.Compare(y.Created),
			cmp.Compare(x.Request.Service, y.Request.Service),
			cmp.Compare(x.Request.UID, y.Request.UID),
		)
	})
	for _, ad := range sorted {
		a.Adopt(ad.Request, ad.Held)
	}
}

// rank is the lower the better the Service is entitled to what it shows.
func (ad *Adoption) rank() int {
	wanted := canonical(ad.Request.Addresses)
	switch {
	case ad.Deleting:
		return 3
	case slices.ContainsFunc(canonical(ad.Held), func(addr netip.Addr) bool { return slices.Contains(wanted, addr) }):
		return 0
	case len(wanted) == 0:
		return 1
	}
	return 2 // it asks for another address, and will lose the one that it shows
}

// Adopt records that the API shows the Service with these addresses. It is
// meant for the time before the first Allocate, and it refuses nothing:
// addresses outside the pools are reserved too, and of two Services that may
// not share an address the first to be adopted holds it, while the second
// loses it in its next Allocate.
func (a *Allocator) Adopt(r Request, shown []netip.Addr) {
	r = r.canonical()
	svc := a.services[r.UID]
	if svc == nil {
		svc = &service{req: r}
	}
	a.update(svc, r)
	shown = canonical(shown)
	for _, addr := range shown {
		if addr.IsValid() {
			a.claim(svc, addr)
		}
	}
	for _, c := range svc.claims {
		isShown := slices.Contains(shown, c.rec.addr)
		switch {
		case c.state == draining && !isShown:
		case c.rec.refuses(&r) != nil:
			c.become(conflict)
		case isShown:
			c.become(held)
		}
	}
}

// Release ends what the Service holds. Its addresses drain: they are free for
// others when Observe has been told that the API does not show them.
func (a *Allocator) Release(uid string) {
	svc := a.services[uid]
	if svc == nil {
		return
	}
	for _, c := range svc.claims {
		c.become(draining)
	}
}

// Observe takes note of what the API shows for the Service: nil if it is gone,
// has no status or is not ours. Addresses of it that drain and are not shown
// are free from now on. It returns those on which room was made by that: they
// are free altogether, or only free of this Service's ports.
//
// What is shown must be no older than the last write of the Service's status:
// an address that is on its way there must not look like one that has gone.
func (a *Allocator) Observe(uid string, shown []netip.Addr) []netip.Addr {
	svc := a.services[uid]
	if svc == nil {
		return nil
	}
	shown = canonical(shown)
	var freed []netip.Addr
	for _, c := range slices.Clone(svc.claims) {
		if c.state == draining && !slices.Contains(shown, c.rec.addr) {
			a.drop(c)
			freed = append(freed, c.rec.addr)
		}
	}
	return freed
}

// Held returns what the Service holds, and false when it holds nothing. What
// drains is not held.
func (a *Allocator) Held(uid string) (Assignment, bool) {
	held := a.assignment(a.services[uid])
	return held, len(held.Addresses) > 0
}

// Stranded tells which addresses their holders would lose under these pools,
// ordered by Service. Addresses that the present pools don't allow are not
// told: they are lost already. Nor is the second address of a Service that
// requires dual stack, which it keeps if the pool can complete it. Stranded
// changes nothing.
func (a *Allocator) Stranded(document []config.Pool) []Stranded {
	next := newPools(document, a.records)
	var out []Stranded
	for _, svc := range a.services {
		for _, c := range svc.claims {
			if c.state != held || a.pools != nil && a.pools.forbids(&svc.req, c.rec.addr) != nil {
				continue
			}
			if refusal := next.forbids(&svc.req, c.rec.addr); refusal != nil {
				out = append(out, Stranded{Service: svc.req.Service, UID: svc.req.UID, Address: c.rec.addr, Reason: refusal})
			}
		}
	}
	slices.SortFunc(out, func(x, y Stranded) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.UID, y.UID), x.Address.Compare(y.Address))
	})
	return out
}

// Usage counts the addresses of each pool and family, in document order, IPv4
// first. Families of which a pool has no range are left out.
func (a *Allocator) Usage() []PoolUsage {
	if a.pools == nil {
		return nil
	}
	var out []PoolUsage
	for _, p := range a.pools.inOrder {
		for _, f := range []Family{IPv4, IPv6} {
			if s := p.stock(f); len(s.ranges) > 0 {
				out = append(out, PoolUsage{Pool: p.name, Family: f, Size: s.size, InUse: s.inUse, Draining: s.draining})
			}
		}
	}
	return out
}

// sortedRecords returns all records by address.
func (a *Allocator) sortedRecords() []*record {
	return slices.SortedFunc(maps.Values(a.records), func(x, y *record) int { return x.addr.Compare(y.addr) })
}

// assignment returns what svc, which may be nil, holds.
func (a *Allocator) assignment(svc *service) Assignment {
	var out Assignment
	if svc == nil {
		return out
	}
	var claims []*claim
	for _, c := range svc.claims {
		if c.state == held {
			claims = append(claims, c)
		}
	}
	slices.SortStableFunc(claims, func(x, y *claim) int { return cmp.Compare(svc.req.index(x.rec.addr), svc.req.index(y.rec.addr)) })
	for _, c := range claims {
		out.Addresses = append(out.Addresses, c.rec.addr)
		out.Pools = append(out.Pools, c.rec.poolName())
	}
	return out
}
