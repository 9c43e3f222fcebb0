package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"k8s.io/apimachinery/pkg/labels"
)

// advertisements reads those of a pool with these entries.
func (p *parser) advertisements(v value, entries []entry) []Advertisement {
	var ads []Advertisement
	r := routes{entries: entries}
	limit4, limit6 := newLimit(entries, 32), newLimit(entries, 128)
	seen := map[string]place{}
	for _, item := range p.list(v) {
		before := len(p.errs)
		o := p.object(item, &advertisementKeys)
		ad := p.advertisement(o)
		p.checkAggregation(o.get("aggregation-length").place, ad.AggregationLength, limit4)
		p.checkAggregation(o.get("aggregation-length-v6").place, ad.AggregationLengthV6, limit6)
		ads = append(ads, ad)
		if !p.clean(before) {
			continue
		}
		alike := fmt.Sprint(ad.AggregationLength, ad.AggregationLengthV6, ad.LocalPref, ad.Communities, ad.LargeCommunities,
			audience(ad))
		if same, twice := seen[alike]; twice {
			p.errorf(item.place, "the advertisement is there twice").
				hint("%s (line %d) is the same: remove one of the two", same.path, same.line)
			continue
		}
		seen[alike] = item.place
		r.ads = append(r.ads, placedAd{o.get("localpref").place, ad})
	}
	p.routes = append(p.routes, r)
	return ads
}

// audience describes who advertises to whom: equal for equal sets.
func audience(ad Advertisement) string {
	return fmt.Sprintf("%q %s", slices.Sorted(slices.Values(ad.Peers)), selectorsText(ad.NodeSelectors))
}

// selectorsText describes a list of selectors: equal for equal sets.
func selectorsText(selectors []labels.Selector) string {
	texts := make([]string, len(selectors))
	for i, s := range selectors {
		texts[i] = s.String()
	}
	slices.Sort(texts)
	return fmt.Sprintf("%q", texts)
}

// advertisement reads one.
func (p *parser) advertisement(o object) Advertisement {
	ad := Advertisement{
		AggregationLength:   o.length("aggregation-length"),
		AggregationLengthV6: o.length("aggregation-length-v6"),
		LocalPref:           uint32(o.number("localpref")),
		NodeSelectors:       p.nodeSelectors(o.get("node-selectors")),
	}
	ad.Communities, ad.LargeCommunities = p.communities(o.get("communities"))
	p.each(o.get("peers"), func(item value, name string) {
		if !p.known[name] {
			p.errorf(item.place, "there is no peer %q", show(name)).hint("%s", p.unknownPeer(name))
			return
		}
		ad.Peers = append(ad.Peers, name)
	})
	return ad
}

func (p *parser) unknownPeer(name string) string {
	var names []string
	for _, peer := range p.peers {
		names = append(names, peer.Name)
	}
	if near, ok := nearest(name, names); ok {
		return "did you mean " + show(near) + "?"
	}
	if len(names) == 0 {
		return "define the peer under peers"
	}
	return "the peers are " + show(strings.Join(names, ", "))
}

// length returns a prefix length; after a mistake the longest, which needs no
// further checks.
func (o object) length(name string) int {
	before := len(o.errs)
	n := int(o.number(name))
	if !o.clean(before) {
		k, _ := o.section.key(name)
		return int(k.max)
	}
	return n
}

// limit is the shortest length to which a pool's addresses of one family may
// be aggregated, and the entry that says so.
type limit struct {
	bits int
	entry
}

// newLimit looks at the entries whose addresses have so many bits. Of each the
// widest block counts.
func newLimit(entries []entry, bitLen int) limit {
	var l limit
	for _, e := range entries {
		if e.From().BitLen() != bitLen {
			continue
		}
		if bits := widestBlock(e.IPRange).Bits(); bits > l.bits {
			l = limit{bits, e}
		}
	}
	return l
}

// widestBlock returns the largest prefix inside a range.
func widestBlock(r netipx.IPRange) netip.Prefix {
	return slices.MinFunc(r.Prefixes(), func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
}

// checkAggregation refuses a route wider than the limit: it would cover
// addresses that are not the pool's.
func (p *parser) checkAggregation(at place, length int, l limit) {
	if length < l.bits {
		p.errorf(at, "a /%d route is larger than the range %s (line %d)", length, show(l.text), l.line).
			hint("write %d or more", l.bits)
	}
}
