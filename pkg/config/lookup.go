package config

import (
	"net/netip"
	"slices"
	"sort"

	"go4.org/netipx"
)

// span is a range and the pool that has it.
type span struct {
	netipx.IPRange
	pool int // in Config.Pools
}

// newIndex returns all ranges of all pools, sorted; they don't overlap.
func newIndex(pools []Pool) []span {
	var index []span
	for i := range pools {
		for _, r := range pools[i].Ranges {
			index = append(index, span{r, i})
		}
	}
	slices.SortFunc(index, func(a, b span) int { return a.From().Compare(b.From()) })
	return index
}

// Pool returns the pool of that name. A nil Config has none.
func (c *Config) Pool(name string) (*Pool, bool) {
	if c == nil {
		return nil, false
	}
	for i := range c.Pools {
		if c.Pools[i].Name == name {
			return &c.Pools[i], true
		}
	}
	return nil, false
}

// PoolOf returns the pool that contains a, see Pool.Contains. A nil Config
// has none. Its cost grows with the logarithm of the number of ranges.
func (c *Config) PoolOf(a netip.Addr) (*Pool, bool) {
	if c == nil {
		return nil, false
	}
	index := c.index
	if index == nil { // not made by Parse
		index = newIndex(c.Pools)
	}
	next := sort.Search(len(index), func(i int) bool { return a.Less(index[i].From()) })
	if next == 0 {
		return nil, false
	}
	s := index[next-1]
	p := &c.Pools[s.pool]
	if !s.Contains(a) || !p.allows(a) {
		return nil, false
	}
	return p, true
}

// Contains reports whether a may be used out of the pool: it is in one of the
// ranges, and not one that AvoidBuggyIPs leaves out. IPv4 in IPv6 and
// addresses with a zone are in no pool.
func (p *Pool) Contains(a netip.Addr) bool {
	return p.allows(a) && slices.ContainsFunc(p.Ranges, func(r netipx.IPRange) bool { return r.Contains(a) })
}

// allows reports whether AvoidBuggyIPs lets a be used.
func (p *Pool) allows(a netip.Addr) bool {
	if !p.AvoidBuggyIPs || !a.Is4() {
		return true
	}
	last := a.As4()[3]
	return last != 0 && last != 255
}
