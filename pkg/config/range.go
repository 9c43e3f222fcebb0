package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"go4.org/netipx"
)

// entry is one of a pool's addresses, as written.
type entry struct {
	place
	text string
	pool string
	netipx.IPRange
}

// addresses reads a pool's addresses into p.entries and returns the ranges.
func (p *parser) addresses(o object, pool string) []netipx.IPRange {
	v := o.get("addresses")
	items := p.list(v)
	if len(items) == 0 && (v.absent() || v.node.Kind == yaml.SequenceNode) {
		o.missing("addresses")
	}
	var ranges []netipx.IPRange
	for _, item := range items {
		text, ok := p.text(item)
		if !ok {
			continue
		}
		r, bad := parseRange(text)
		if bad != nil {
			p.errorf(item.place, "%s", bad.Problem).Hint = bad.Hint
			continue
		}
		ranges = append(ranges, r)
		p.entries = append(p.entries, entry{place: item.place, text: text, pool: pool, IPRange: r})
	}
	return ranges
}

// wrong makes an Error that has no place yet.
func wrong(format string, args ...any) *Error {
	return &Error{Problem: fmt.Sprintf(format, args...)}
}

// parseRange reads a prefix or a range.
func parseRange(text string) (netipx.IPRange, *Error) {
	if from, to, ok := strings.Cut(text, "-"); ok {
		return parseFromTo(text, strings.TrimSpace(from), strings.TrimSpace(to))
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netipx.IPRange{}, wrong("%q is not a range of addresses", show(text)).hint("%s", rangeHint(text))
	}
	if a := prefix.Addr(); a.Is4In6() {
		if prefix.Bits() < 96 {
			return netipx.IPRange{}, wrong("%q mixes IPv4 and IPv6", show(text)).hint("write IPv4 prefixes such as 192.168.1.0/24")
		}
		prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
	}
	return netipx.RangeOfPrefix(prefix.Masked()), nil
}

// rangeHint says how to write what text may have been meant to be.
func rangeHint(text string) string {
	trimmed := strings.TrimSpace(text)
	if a, err := netip.ParseAddr(trimmed); err == nil && a.Zone() == "" {
		return fmt.Sprintf("write %s/%d for the single address", a, a.BitLen())
	}
	if _, err := netip.ParsePrefix(trimmed); err == nil {
		return "write it without spaces: " + trimmed
	}
	if strings.ContainsAny(text, "–—") {
		return "write the plain - between the two addresses"
	}
	return "write a prefix such as 192.168.1.0/24 or a range such as 192.168.1.10-192.168.1.20"
}

// parseFromTo reads the two ends of a range.
func parseFromTo(text, from, to string) (netipx.IPRange, *Error) {
	first, err := netip.ParseAddr(from)
	if err != nil || first.Zone() != "" {
		return netipx.IPRange{}, wrong("%q: the start %q is not an IP address", show(text), show(from)).
			hint("write both ends in full: 192.168.1.10-192.168.1.20")
	}
	last, err := netip.ParseAddr(to)
	if err != nil || last.Zone() != "" {
		e := wrong("%q: the end %q is not an IP address", show(text), show(to)).
			hint("write both ends in full: 192.168.1.10-192.168.1.20")
		if full, ok := abbreviated(first, to); ok {
			e.hint("write the end in full: %s-%s", first, full)
		}
		return netipx.IPRange{}, e
	}
	first, last = first.Unmap(), last.Unmap()
	switch {
	case first.BitLen() != last.BitLen():
		return netipx.IPRange{}, wrong("%q has an IPv4 and an IPv6 end", show(text)).hint("write one range for each family")
	case last.Less(first):
		return netipx.IPRange{}, wrong("%q ends before it starts", show(text)).hint("write %s-%s", last, first)
	}
	return netipx.IPRangeFrom(first, last), nil
}

// abbreviated reads the 20 of 192.168.1.10-20.
func abbreviated(first netip.Addr, end string) (netip.Addr, bool) {
	if !first.Is4() {
		return netip.Addr{}, false
	}
	s := first.String()
	last, err := netip.ParseAddr(s[:strings.LastIndexByte(s, '.')+1] + end)
	return last, err == nil && !last.Less(first)
}

// checkOverlaps finds entries that share addresses, in one pool or in two. Of
// each such pair the one later in the document is the mistake.
func (p *parser) checkOverlaps() {
	order := make([]int, len(p.entries))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return p.entries[a].From().Compare(p.entries[b].From()) })
	reported := map[int]bool{}
	furthest := -1 // of the entries so far, the one that ends last
	for _, i := range order {
		if furthest >= 0 && p.entries[i].From().Compare(p.entries[furthest].To()) <= 0 {
			earlier, later := min(i, furthest), max(i, furthest)
			if !reported[later] {
				reported[later] = true
				p.overlap(p.entries[earlier], p.entries[later])
			}
		}
		if furthest < 0 || p.entries[furthest].To().Less(p.entries[i].To()) {
			furthest = i
		}
	}
}

func (p *parser) overlap(earlier, later entry) {
	e := p.errorf(later.place, "%q overlaps %q of pool %q (%s, line %d)",
		show(later.text), show(earlier.text), show(earlier.pool), earlier.path, earlier.line)
	e.hint("an address may be in one place only: shorten or remove one of the two")
	if later.IPRange == earlier.IPRange {
		e.hint("it is the same range: remove one of the two")
	}
}
