package config

import (
	"strings"
	"unicode"
)

// parsePools reads address-pools.
func (p *parser) parsePools(v value) []Pool {
	var pools []Pool
	lines := map[string]int{}
	for _, item := range p.list(v) {
		o := p.object(item, &poolKeys)
		pool := p.pool(o)
		p.unique(lines, o, pool.Name)
		pools = append(pools, pool)
	}
	return pools
}

// pool reads one pool.
func (p *parser) pool(o object) Pool {
	pool := Pool{
		Name:          o.name("name"),
		Protocol:      p.protocol(o),
		AvoidBuggyIPs: o.flag("avoid-buggy-ips"),
		AutoAssign:    o.flag("auto-assign"),
	}
	firstEntry := len(p.entries)
	pool.Ranges = p.addresses(o, pool.Name)
	pool.Interfaces = p.interfaces(o.get("interfaces"))
	ads := o.get("bgp-advertisements")
	pool.Advertisements = p.advertisements(ads, p.entries[firstEntry:])
	switch pool.Protocol {
	case Layer2:
		if len(pool.Advertisements) > 0 {
			p.errorf(ads.place, "a layer2 pool has no BGP advertisements").hint("remove them, or set protocol: bgp")
		}
	case BGP:
		if len(pool.Interfaces) > 0 {
			p.errorf(o.get("interfaces").place, "a bgp pool has no interfaces").hint("remove them, or set protocol: layer2")
		}
		if len(pool.Advertisements) == 0 {
			pool.Advertisements = []Advertisement{p.advertisement(p.object(value{place: o.place}, &advertisementKeys))}
		}
	}
	return pool
}

func (p *parser) protocol(o object) Protocol {
	text, ok := o.word("protocol")
	switch protocol := Protocol(text); {
	case !ok:
	case protocol == Layer2 || protocol == BGP:
		return protocol
	default:
		e := p.errorf(o.get("protocol").place, "%q is not a protocol", show(text)).hint("write layer2 or bgp")
		if near, ok := nearest(text, []string{string(Layer2), string(BGP)}); ok {
			e.hint("did you mean %s?", near)
		}
	}
	return ""
}

// interfaces reads a list of network interfaces.
func (p *parser) interfaces(v value) []string {
	var names []string
	p.each(v, func(item value, name string) {
		if problem := interfaceProblem(name); problem != "" {
			p.errorf(item.place, "%q is not the name of a network interface: %s", show(name), problem).
				hint("write a name such as eth0; ip link shows them")
			return
		}
		names = append(names, name)
	})
	return names
}

// interfaceProblem says what keeps Linux from giving an interface that name.
func interfaceProblem(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > 15:
		return "it is longer than 15 bytes"
	case name == "." || name == "..":
		return "it is a directory"
	case strings.ContainsAny(name, "/:"):
		return "it contains / or :"
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "it contains a space"
	}
	return ""
}

// each calls do with every text of a list, and finds those that are there
// twice.
func (p *parser) each(v value, do func(item value, text string)) {
	lines := map[string]int{}
	for _, item := range p.list(v) {
		text, ok := p.text(item)
		if !ok {
			continue
		}
		if line, twice := lines[text]; twice {
			p.errorf(item.place, "%q is there twice", show(text)).hint("line %d has it already", line)
			continue
		}
		lines[text] = item.line
		do(item, text)
	}
}
