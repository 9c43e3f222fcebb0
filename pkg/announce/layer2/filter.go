package layer2

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// maxRanges bounds the filter's search trees: about twelve instructions a range,
// and the kernel takes 4,096.
const maxRanges = 128

// Range is an inclusive range of the last 32 bits of addresses: all of an
// IPv4 address, the end of an IPv6 one.
type Range struct{ First, Last uint32 }

// rangesOf covers the addresses by at most maxRanges ranges, disjoint and
// ascending. Where there would be more, the smallest gaps are covered too: the
// filter only spares work, the table decides.
func rangesOf(addresses []netip.Addr) []Range {
	ranges := make([]Range, 0, len(addresses))
	for _, a := range addresses {
		b := a.As16()
		v := binary.BigEndian.Uint32(b[12:])
		ranges = append(ranges, Range{v, v})
	}
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
	ranges = closeGaps(ranges, 1)
	if len(ranges) <= maxRanges {
		return ranges
	}
	gaps := make([]uint32, 0, len(ranges)-1)
	for i := range ranges[1:] {
		gaps = append(gaps, ranges[i+1].First-ranges[i].Last)
	}
	slices.Sort(gaps)
	return closeGaps(ranges, gaps[len(ranges)-maxRanges-1])
}

// closeGaps joins neighbours that are at most gap apart.
func closeGaps(sorted []Range, gap uint32) []Range {
	var out []Range
	for _, r := range sorted {
		if n := len(out); n > 0 && r.First-out[n-1].Last <= gap {
			out[n-1].Last = r.Last
			continue
		}
		out = append(out, r)
	}
	return out
}

// program is a filter under construction, of conditions that each drop the
// frame or go on.
type program []bpf.Instruction

// require drops the frame unless c holds for the loaded value.
func (p *program) require(load bpf.Instruction, cond bpf.JumpTest, value uint32) {
	*p = append(*p, load, bpf.JumpIf{Cond: cond, Val: value, SkipTrue: 1}, bpf.RetConstant{Val: 0})
}

// oneOf passes frames whose loaded value lies in one of the ranges and goes on
// with the others.
func (p *program) oneOf(load bpf.Instruction, ranges []Range) {
	*p = append(append(*p, load), searchTree(ranges)...)
}

// searchTree ends in a pass or falls out of its end.
func searchTree(ranges []Range) []bpf.Instruction {
	if len(ranges) == 1 {
		return []bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: ranges[0].First, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: ranges[0].Last, SkipTrue: 1},
			bpf.RetConstant{Val: maxFrame},
		}
	}
	middle := len(ranges) / 2
	low, high := searchTree(ranges[:middle]), searchTree(ranges[middle:])
	tree := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: ranges[middle].First, SkipFalse: 1},
		bpf.Jump{Skip: uint32(len(low)) + 1},
	}
	tree = append(tree, low...)
	tree = append(tree, bpf.Jump{Skip: uint32(len(high))})
	return append(tree, high...)
}

// Packet types of AF_PACKET, as the filter sees them.
const (
	packetBroadcast = 1
	packetMulticast = 2
)

// filter is the program that a socket of the family runs in the kernel on each
// received frame. It passes what can concern the ranges and is well formed as
// far as the program can tell. VLAN-tagged frames reach AF_PACKET with the tag
// taken off, so that nothing but the filter can tell them from untagged ones.
func filter(f Family, ranges []Range) ([]bpf.RawInstruction, error) {
	var p program
	if f == IPv4 {
		p.require(bpf.LoadExtension{Num: bpf.ExtType}, bpf.JumpLessOrEqual, packetBroadcast)
	} else {
		p.require(bpf.LoadExtension{Num: bpf.ExtType}, bpf.JumpLessOrEqual, packetMulticast)
	}
	p.require(bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}, bpf.JumpEqual, 0)
	if f == IPv4 {
		p.arp(ranges)
	} else {
		p.neighbor(ranges)
	}
	p = append(p, bpf.RetConstant{Val: 0})
	return bpf.Assemble(p)
}

// arp passes requests and replies about the ranges, by target or by sender.
func (p *program) arp(ranges []Range) {
	p.require(bpf.LoadExtension{Num: bpf.ExtLen}, bpf.JumpGreaterOrEqual, ethernetHeader+arpLength)
	p.require(bpf.LoadAbsolute{Off: 14, Size: 4}, bpf.JumpEqual, 0x00010800) // Ethernet, IPv4
	p.require(bpf.LoadAbsolute{Off: 18, Size: 2}, bpf.JumpEqual, 0x0604)     // of lengths 6 and 4
	if len(ranges) > 0 {
		p.oneOf(bpf.LoadAbsolute{Off: 38, Size: 4}, ranges)
		p.oneOf(bpf.LoadAbsolute{Off: 28, Size: 4}, ranges)
	}
}

// neighbor passes solicitations and advertisements that didn't cross a router,
// by the end of their target or of their source.
func (p *program) neighbor(ranges []Range) {
	p.require(bpf.LoadAbsolute{Off: 20, Size: 2}, bpf.JumpEqual, icmpv6<<8|hopLimit)
	*p = append(*p,
		bpf.LoadAbsolute{Off: 54, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 0})
	if len(ranges) > 0 {
		p.oneOf(bpf.LoadAbsolute{Off: 74, Size: 4}, ranges)
		p.oneOf(bpf.LoadAbsolute{Off: 34, Size: 4}, ranges)
	}
}
