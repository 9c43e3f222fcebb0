package config

import (
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// routes are what one pool advertises.
type routes struct {
	entries []entry
	ads     []placedAd
}

// placedAd is an advertisement and the place of its local preference.
type placedAd struct {
	place
	Advertisement
}

// length returns the prefix length of the routes to addresses of so many bits.
func (a Advertisement) length(bitLen int) int {
	if bitLen == 32 {
		return a.AggregationLength
	}
	return a.AggregationLengthV6
}

// lengths returns the prefix lengths of the routes to addresses of so many
// bits, each once.
func (r routes) lengths(bitLen int) []int {
	all := make([]int, len(r.ads))
	for i, ad := range r.ads {
		all[i] = ad.length(bitLen)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// block is the run of prefixes of one length that cover one entry.
type block struct {
	pool, bits  int
	first, last netip.Addr // first addresses of the first and the last prefix
}

// checkLocalPrefs finds pairs of advertisements that give one prefix two local
// preferences, as a router would take either. Entries must not overlap.
func (p *parser) checkLocalPrefs() {
	if p.oneLocalPref() {
		return
	}
	type meeting struct{ a, b, bits, bitLen int }
	met := map[meeting]bool{}
	blocks := p.blocks()
	for i, a := range blocks {
		bitLen := a.first.BitLen()
		for _, b := range blocks[i:] { // from a itself on: the advertisements of one pool
			if b.bits != a.bits || b.first.BitLen() != bitLen || a.last.Less(b.first) {
				break
			}
			m := meeting{min(a.pool, b.pool), max(a.pool, b.pool), a.bits, bitLen}
			if !met[m] {
				met[m] = true
				p.compareAds(m.a, m.b, netip.PrefixFrom(b.first, a.bits))
			}
		}
	}
}

// oneLocalPref reports whether all advertisements have the same one.
func (p *parser) oneLocalPref() bool {
	seen := map[uint32]bool{}
	for _, r := range p.routes {
		for _, ad := range r.ads {
			seen[ad.LocalPref] = true
		}
	}
	return len(seen) <= 1
}

// blocks returns those of all pools, sorted by family, length and address.
func (p *parser) blocks() []block {
	var blocks []block
	for i, r := range p.routes {
		lengths := map[int][]int{32: r.lengths(32), 128: r.lengths(128)}
		for _, e := range r.entries {
			for _, bits := range lengths[e.From().BitLen()] {
				first, last := netip.PrefixFrom(e.From(), bits).Masked(), netip.PrefixFrom(e.To(), bits).Masked()
				blocks = append(blocks, block{pool: i, bits: bits, first: first.Addr(), last: last.Addr()})
			}
		}
	}
	slices.SortFunc(blocks, func(a, b block) int {
		return cmp.Or(cmp.Compare(a.first.BitLen(), b.first.BitLen()), cmp.Compare(a.bits, b.bits), a.first.Compare(b.first))
	})
	return blocks
}

// compareAds compares the advertisements of two pools, or of one with each
// other, that both make prefix.
func (p *parser) compareAds(first, second int, prefix netip.Prefix) {
	bits, bitLen := prefix.Bits(), prefix.Addr().BitLen()
	for j, b := range p.routes[second].ads {
		for i, a := range p.routes[first].ads {
			if first == second && i >= j {
				break
			}
			if a.LocalPref == b.LocalPref || a.length(bitLen) != bits || b.length(bitLen) != bits ||
				!peersMeet(a.Peers, b.Peers) || !nodesMeet(a.NodeSelectors, b.NodeSelectors) {
				continue
			}
			p.errorf(b.place, "%s gets localpref %d here and %d in line %d", prefix, b.LocalPref, a.LocalPref, a.line).
				hint("one route has one: make them equal, or give the two different peers or node-selectors")
			break
		}
	}
}

// peersMeet reports whether two lists have a peer in common; none means all.
func peersMeet(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 ||
		slices.ContainsFunc(a, func(name string) bool { return slices.Contains(b, name) })
}

// nodesMeet reports whether some node is sure to be matched by both lists, if
// it is matched by one. Selectors that merely differ are taken to be meant for
// different nodes: which labels nodes have is not known here.
func nodesMeet(a, b []labels.Selector) bool {
	matchesAll := func(list []labels.Selector) bool {
		return len(list) == 0 || slices.ContainsFunc(list, labels.Selector.Empty)
	}
	return matchesAll(a) || matchesAll(b) || slices.ContainsFunc(a, func(x labels.Selector) bool {
		return slices.ContainsFunc(b, func(y labels.Selector) bool { return x.String() == y.String() })
	})
}
