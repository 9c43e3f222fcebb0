package announce

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// NodeHash is the half of a score that belongs to a node. All nodes of a
// cluster must agree on it, so it may never change.
func NodeHash(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:])
}

// AddrHash is the half of a score that belongs to an address. All nodes of a
// cluster must agree on it, so it may never change.
func AddrHash(a netip.Addr) uint64 {
	b := a.As16()
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}

// Score ranks a node for an address: of the eligible nodes the one with the
// highest score owns it. Scores of one address over nodes, and of one node
// over addresses, are independent.
func Score(node, addr uint64) uint64 {
	hi, lo := bits.Mul64(node^0xa0761d6478bd642f, addr^0xe7037ed1a0b428db)
	hi, lo = bits.Mul64(hi^lo^node, 0x8ebc6af09c88c6e3^addr)
	return hi ^ lo
}

// Outranks reports whether node x ranks above node y in the election that is held
// in the name of an address, see Address.Lead. It is a total order that depends
// on nobody's view of the cluster: it settles who yields where two nodes, whose
// views differ, both announce an address.
func Outranks(x, y string, lead netip.Addr) bool {
	addr := AddrHash(lead)
	sx, sy := Score(NodeHash(x), addr), Score(NodeHash(y), addr)
	return sx > sy || sx == sy && x < y
}

// MaxOrder is how many of the eligible nodes an Address lists.
const MaxOrder = 8

// ranking collects the MaxOrder best of the candidates offered to it, without
// allocating. The zero value is empty.
type ranking struct {
	n      int
	scores [MaxOrder]uint64
	nodes  [MaxOrder]int32
}

// offer takes a candidate in. Of equal scores the one offered first wins;
// candidates are offered in order of their names.
func (r *ranking) offer(node int32, score uint64) {
	if r.n == MaxOrder && score <= r.scores[MaxOrder-1] {
		return
	}
	if r.n < MaxOrder {
		r.n++
	}
	i := r.n - 1
	for ; i > 0 && score > r.scores[i-1]; i-- {
		r.scores[i], r.nodes[i] = r.scores[i-1], r.nodes[i-1]
	}
	r.scores[i], r.nodes[i] = score, node
}

// append puts the candidates of another ranking behind those of this one.
func (r *ranking) append(worse ranking) {
	n := copy(r.nodes[r.n:], worse.nodes[:worse.n])
	r.n += n
}
