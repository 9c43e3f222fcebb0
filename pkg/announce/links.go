package announce

import (
	"cmp"
	"net/netip"
	"slices"
)

// LinksFor returns the links on which a node answers for a, lowest index
// first, and nil if none reaches it. It is the same function for this node and
// for the others.
//
// A list in only wins: those of its links that exist. Otherwise they are the
// links with an on-link prefix that contains a; two links in one subnet would
// give clients two MACs for one address, so only the first serves. An address
// in no link's prefix is served where the default route of its family leaves.
func LinksFor(links []Link, only []string, a netip.Addr) []Link {
	var found []Link
	switch {
	case len(only) > 0:
		for _, l := range links {
			if slices.Contains(only, l.Name) {
				found = append(found, l)
			}
		}
		sortLinks(found)
	default:
		if found = onLink(links, a); found == nil {
			found = defaultLinks(links, a)
		}
	}
	return found
}

// onLink returns the links that have a in an on-link prefix, one for each
// subnet, and nil if there are none.
func onLink(links []Link, a netip.Addr) []Link {
	var found []Link
	for _, l := range links {
		if slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) }) {
			found = append(found, l)
		}
	}
	if len(found) < 2 {
		return found
	}
	sortLinks(found)
	var subnets []netip.Prefix
	return slices.DeleteFunc(found, func(l Link) bool {
		for _, p := range l.Prefixes {
			if !p.Contains(a) {
				continue
			}
			if slices.Contains(subnets, p) {
				return true
			}
			subnets = append(subnets, p)
		}
		return false
	})
}

func defaultLinks(links []Link, a netip.Addr) []Link {
	var found []Link
	for _, l := range links {
		if a.Is4() && l.Default4 || a.Is6() && l.Default6 {
			found = append(found, l)
		}
	}
	sortLinks(found)
	return found
}

func sortLinks(links []Link) {
	slices.SortFunc(links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Name, b.Name))
	})
}
