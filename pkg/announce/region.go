package announce

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

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
