package layer2

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"go4.org/netipx"
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
func rangesOf(addresses []netipx.IPRange) []Range {
	ranges := make([]Range, 0, len(addresses))
	for _, r := range addresses {
		ranges = append(ranges, rangeOf(r))
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

// rangeOf covers r, by all there is if its addresses differ in more than their end.
func rangeOf(r netipx.IPRange) Range {
	first, last := r.From().As16(), r.To().As16()
	if [12]byte(first[:12]) != [12]byte(last[:12]) {
		return Range{0, math.MaxUint32}
	}
	return Range{binary.BigEndian.Uint32(first[12:]), binary.BigEndian.Uint32(last[12:])}
}

// closeGaps joins those that overlap or are at most gap apart.
func closeGaps(sorted []Range, gap uint32) []Range {
	var out []Range
	for _, r := range sorted {
		if n := len(out); n > 0 && (r.First <= out[n-1].Last || r.First-out[n-1].Last <= gap) {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}

// program is a filter under construction, of conditions that each drop the
// frame, pass it or go on. Register X says how much of it is passed.
type program []bpf.Instruction

// pass are the last instructions of a frame that is passed.
func pass() []bpf.Instruction { return []bpf.Instruction{bpf.TXA{}, bpf.RetA{}} }

// require drops the frame unless c holds for the loaded value.
func (p *program) require(load bpf.Instruction, cond bpf.JumpTest, value uint32) {
	*p = append(*p, load, bpf.JumpIf{Cond: cond, Val: value, SkipTrue: 1}, bpf.RetConstant{Val: 0})
}

// passIf passes the frame if c holds for the loaded value and else goes on.
func (p *program) passIf(load bpf.Instruction, cond bpf.JumpTest, value uint32) {
	*p = append(append(*p, load, bpf.JumpIf{Cond: cond, Val: value, SkipFalse: uint8(len(pass()))}), pass()...)
}

// oneOf passes frames whose loaded value lies in one of the ranges and goes on
// with the others.
func (p *program) oneOf(load bpf.Instruction, ranges []Range) {
	*p = append(append(*p, load), searchTree(ranges)...)
}

// searchTree ends in a pass or falls out of its end.
func searchTree(ranges []Range) []bpf.Instruction {
	if len(ranges) == 1 {
		skip := uint8(len(pass()))
		return append([]bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: ranges[0].First, SkipTrue: skip + 1},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: ranges[0].Last, SkipTrue: skip},
		}, pass()...)
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
	packetHost      = 0
	packetBroadcast = 1
	packetMulticast = 2
	packetOtherHost = 3
)

// groupBit is that of a destination's first byte, of multicast and broadcast.
const groupBit = 1

// filter is the program that a socket of the family runs in the kernel on each
// received frame. It passes what concerns the ranges, well formed or not: what
// is refused is to be counted. VLAN-tagged frames reach AF_PACKET with the tag
// taken off, and nothing but the filter can tell them from untagged ones: they
// are for another host, though broadcast, or before Linux 5.3 marked as tagged.
// It leaves taggedFrame bytes of them.
func filter(f Family, ranges []Range) ([]bpf.RawInstruction, error) {
	most := uint32(packetBroadcast)
	if f == IPv6 {
		most = packetMulticast
	}
	p := program{
		bpf.LoadConstant{Dst: bpf.RegX, Val: taggedFrame},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: most, SkipTrue: 4}, // for this host
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: packetOtherHost, SkipTrue: 2},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: groupBit, SkipTrue: 4}, // tagged, past all of this
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 1},
		bpf.LoadConstant{Dst: bpf.RegX, Val: maxFrame},
	}
	if f == IPv4 {
		p.arp(ranges)
	} else {
		p.neighbor(ranges)
	}
	p = append(p, bpf.RetConstant{Val: 0})
	return bpf.Assemble(p)
}

// trafficFilter is the program for the IP packets to the ranges that come in for
// this host, on this LAN.
func trafficFilter(f Family, ranges []Range) ([]bpf.RawInstruction, error) {
	destination := uint32(30)
	if f == IPv6 {
		destination = 50
	}
	p := program{bpf.LoadConstant{Dst: bpf.RegX, Val: maxFrame}}
	p.require(bpf.LoadExtension{Num: bpf.ExtType}, bpf.JumpEqual, packetHost)
	p.require(bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}, bpf.JumpEqual, 0)
	if len(ranges) > 0 {
		p.oneOf(bpf.LoadAbsolute{Off: destination, Size: 4}, ranges)
	}
	p = append(p, bpf.RetConstant{Val: 0})
	return bpf.Assemble(p)
}

// arp passes what is about the ranges, by target or by sender, and what is too
// short to tell.
func (p *program) arp(ranges []Range) {
	p.passIf(bpf.LoadExtension{Num: bpf.ExtLen}, bpf.JumpLessThan, ethernetHeader+arpLength)
	if len(ranges) > 0 {
		p.oneOf(bpf.LoadAbsolute{Off: 38, Size: 4}, ranges)
		p.oneOf(bpf.LoadAbsolute{Off: 28, Size: 4}, ranges)
	}
}

// neighbor passes solicitations and advertisements about the ranges, by the end
// of their target or of their source, and those too short to tell.
func (p *program) neighbor(ranges []Range) {
	p.require(bpf.LoadAbsolute{Off: 20, Size: 1}, bpf.JumpEqual, icmpv6)
	*p = append(*p,
		bpf.LoadAbsolute{Off: 54, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeAdvertisement, SkipTrue: 1},
		bpf.RetConstant{Val: 0})
	p.passIf(bpf.LoadExtension{Num: bpf.ExtLen}, bpf.JumpLessThan, ethernetHeader+ipv6Header+neighborLength)
	if len(ranges) > 0 {
		p.oneOf(bpf.LoadAbsolute{Off: 74, Size: 4}, ranges)
		p.oneOf(bpf.LoadAbsolute{Off: 34, Size: 4}, ranges)
	}
}
