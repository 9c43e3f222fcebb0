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
	prints := map[string]place{}
	for _, item := range p.list(v) {
		before := len(p.errs)
		o := p.object(item, &advertisementKeys)
		ad := p.advertisement(o, entries)
		ads = append(ads, ad)
		if !p.clean(before) {
			continue
		}
		print := fmt.Sprint(ad.AggregationLength, ad.AggregationLengthV6, ad.LocalPref, ad.Communities, ad.LargeCommunities,
			audience(ad))
		if same, twice := prints[print]; twice {
			p.errorf(item.place, "the advertisement is there twice").
				hint("%s (line %d) is the same: remove one of the two", same.path, same.line)
			continue
		}
		prints[print] = item.place
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
func (p *parser) advertisement(o object, entries []entry) Advertisement {
	ad := Advertisement{
		AggregationLength:   p.aggregation(o, "aggregation-length", entries),
		AggregationLengthV6: p.aggregation(o, "aggregation-length-v6", entries),
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

// aggregation reads one of the two lengths and compares it with the entries of
// its family: a route wider than the widest block of an entry would cover
// addresses that are not the pool's.
func (p *parser) aggregation(o object, name string, entries []entry) int {
	before := len(p.errs)
	length := int(o.number(name))
	if !p.clean(before) {
		return 0
	}
	k, _ := o.section.key(name)
	least, narrowest := 0, entry{}
	for _, e := range entries {
		if e.From().BitLen() != int(k.max) {
			continue
		}
		if bits := widestBlock(e.IPRange).Bits(); bits > least {
			least, narrowest = bits, e
		}
	}
	if length < least {
		p.errorf(o.get(name).place, "a /%d route is larger than the range %s (line %d)",
			length, show(narrowest.text), narrowest.line).hint("write %d or more", least)
	}
	return length
}

// widestBlock returns the largest prefix inside a range.
func widestBlock(r netipx.IPRange) netip.Prefix {
	return slices.MinFunc(r.Prefixes(), func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
}
