package config

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// community is one as the document names it: of either kind.
type community struct {
	plain   Community
	large   LargeCommunity
	isLarge bool
}

// wellKnown are the names that need no alias (IANA's registry of well-known
// communities).
var wellKnown = map[string]Community{
	"graceful-shutdown":   65535 << 16,   // RFC 8326
	"accept-own":          65535<<16 | 1, // RFC 7611
	"llgr-stale":          65535<<16 | 6, // RFC 9494
	"no-llgr":             65535<<16 | 7, // RFC 9494
	"blackhole":           65535<<16 | 666,
	"no-export":           65535<<16 | 65281,
	"no-advertise":        65535<<16 | 65282,
	"no-export-subconfed": 65535<<16 | 65283,
	"no-peer":             65535<<16 | 65284, // RFC 3765
}

// communityAliases reads bgp-communities. A name with a mistake in its value
// is known all the same, so that its uses are not mistakes too.
func (p *parser) communityAliases(v value) map[string]community {
	aliases := map[string]community{}
	for _, pair := range p.pairs(v) {
		text, isText := p.text(pair.value)
		c, ok := parseCommunity(text)
		if isText && !ok {
			p.errorf(pair.place, "%q is not a community", show(text)).hint("%s", communityHint(text))
		}
		if pair.name == "" {
			p.errorf(pair.at, "a community has an empty name").hint("name: a:b")
		}
		aliases[pair.name] = c
	}
	return aliases
}

// parseCommunity reads a:b or large:a:b:c.
func parseCommunity(text string) (community, bool) {
	parts := strings.Split(text, ":")
	bits := 16
	isLarge := parts[0] == "large"
	if isLarge {
		parts, bits = parts[1:], 32
	}
	var n [3]uint32
	if isLarge && len(parts) != 3 || !isLarge && len(parts) != 2 {
		return community{}, false
	}
	for i, part := range parts {
		x, err := strconv.ParseUint(part, 10, bits)
		if err != nil {
			return community{}, false
		}
		n[i] = uint32(x)
	}
	if isLarge {
		return community{large: LargeCommunity{n[0], n[1], n[2]}, isLarge: true}, true
	}
	return community{plain: Community(n[0]<<16 | n[1])}, true
}

// communityHint says how to write what text may have been meant to be.
func communityHint(text string) string {
	switch parts := strings.Split(text, ":"); {
	case len(parts) == 3 && parts[0] != "large":
		return "write a large community as large:" + show(text)
	case len(parts) == 2 && parts[0] != "large":
		return "write a:b with 0 to 65535 each; larger numbers need large:a:b:c"
	case parts[0] == "large":
		return "write large:a:b:c with 0 to 4294967295 each"
	}
	return "write a:b or large:a:b:c"
}

// communities reads an advertisement's list: sorted, each once.
func (p *parser) communities(v value) ([]Community, []LargeCommunity) {
	var plain []Community
	var large []LargeCommunity
	p.each(v, func(item value, text string) {
		switch c, ok := p.community(text); {
		case !ok:
			p.errorf(item.place, "%q is not a community", show(text)).hint("%s", p.unknownCommunity(text))
		case c.isLarge:
			large = append(large, c.large)
		default:
			plain = append(plain, c.plain)
		}
	})
	slices.Sort(plain)
	slices.SortFunc(large, compareLarge)
	return slices.Compact(plain), slices.Compact(large)
}

func compareLarge(a, b LargeCommunity) int {
	return cmp.Or(cmp.Compare(a.Global, b.Global), cmp.Compare(a.Local1, b.Local1), cmp.Compare(a.Local2, b.Local2))
}

// community finds what text stands for: an alias, a well-known name, a number.
func (p *parser) community(text string) (community, bool) {
	if c, ok := p.aliases[text]; ok {
		return c, true
	}
	if c, ok := wellKnown[text]; ok {
		return community{plain: c}, true
	}
	return parseCommunity(text)
}

func (p *parser) unknownCommunity(text string) string {
	if strings.Contains(text, ":") {
		return communityHint(text)
	}
	names := slices.Sorted(maps.Keys(p.aliases))
	names = append(names, slices.Sorted(maps.Keys(wellKnown))...)
	if near, ok := nearest(text, names); ok {
		return "did you mean " + show(near) + "?"
	}
	return "define the name under bgp-communities, or write a:b or large:a:b:c"
}
