package ipam

import (
	"container/heap"
	"encoding/binary"
	"math"
	"math/bits"
	"net/netip"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/config"
)

// addressRange finds the lowest free address of a range at a cost that depends
// neither on the size of the range nor on how much of it is in use.
//
// Every address below next is in use or in freed. Addresses from next on are
// free, except those that somebody asked for; next steps over each of these
// once.
type addressRange struct {
	pool       *pool
	family     Family
	order      int // place among the pool's ranges of the family
	from, to   netip.Addr
	avoidBuggy bool

	records map[netip.Addr]*record  // the allocator's: what is in use
	next    netip.Addr              // beyond to, or the zero Addr, at the end
	freed   addressHeap             // became free; some may be in use again
	queued  map[netip.Addr]struct{} // the same addresses as freed
}

// newAddressRange returns r as a range of p; records says what is in use.
func newAddressRange(p *pool, r netipx.IPRange, d *config.Pool, records map[netip.Addr]*record) *addressRange {
	return &addressRange{
		pool:       p,
		family:     FamilyOf(r.From()),
		from:       r.From(),
		to:         r.To(),
		avoidBuggy: d.AvoidBuggyIPs,
		records:    records,
		next:       r.From(),
		queued:     map[netip.Addr]struct{}{},
	}
}

// lowestFree returns the lowest address of the range that is not in use.
func (r *addressRange) lowestFree() (netip.Addr, bool) {
	for len(r.freed) > 0 {
		addr := r.freed[0]
		if r.records[addr] == nil {
			return addr, true
		}
		heap.Pop(&r.freed)
		delete(r.queued, addr)
	}
	for r.next.IsValid() && !r.to.Less(r.next) {
		if r.records[r.next] == nil && !r.avoids(r.next) {
			return r.next, true
		}
		r.next = r.next.Next()
	}
	return netip.Addr{}, false
}

// free takes note that addr, which the range may give out, is not in use any more.
func (r *addressRange) free(addr netip.Addr) {
	if r.next.IsValid() && !addr.Less(r.next) {
		return
	}
	if _, ok := r.queued[addr]; !ok {
		r.queued[addr] = struct{}{}
		heap.Push(&r.freed, addr)
	}
}

// avoids reports whether the range leaves addr out: old equipment takes IPv4
// addresses that end in .0 and .255 for broadcasts.
func (r *addressRange) avoids(addr netip.Addr) bool {
	if !r.avoidBuggy || !addr.Is4() {
		return false
	}
	last := addr.As4()[3]
	return last == 0 || last == 255
}

// size returns how many addresses the range may give out; it saturates.
func (r *addressRange) size() uint64 {
	if r.family == IPv6 {
		return distance(r.from, r.to)
	}
	from, end := number(r.from), number(r.to)+1
	n := end - from
	if r.avoidBuggy {
		n -= (end+255)/256 - (from+255)/256 // those that end in .0
		n -= end/256 - from/256             // and in .255
	}
	return n
}

// number returns an IPv4 address as a number.
func number(a netip.Addr) uint64 {
	b := a.As4()
	return uint64(binary.BigEndian.Uint32(b[:]))
}

// distance returns how many IPv6 addresses there are from one to another, both
// counted; it saturates.
func distance(from, to netip.Addr) uint64 {
	f, t := from.As16(), to.As16()
	low, borrow := bits.Sub64(binary.BigEndian.Uint64(t[8:]), binary.BigEndian.Uint64(f[8:]), 0)
	high, _ := bits.Sub64(binary.BigEndian.Uint64(t[:8]), binary.BigEndian.Uint64(f[:8]), borrow)
	if high > 0 {
		return math.MaxUint64
	}
	return saturatingAdd(low, 1)
}

// saturatingAdd returns a + b, or the largest number there is.
func saturatingAdd(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}

// addressHeap is a container/heap of addresses, the lowest first.
type addressHeap []netip.Addr

func (h addressHeap) Len() int           { return len(h) }
func (h addressHeap) Less(i, j int) bool { return h[i].Less(h[j]) }
func (h addressHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *addressHeap) Push(x any)        { *h = append(*h, x.(netip.Addr)) }
func (h *addressHeap) Pop() any {
	last := len(*h) - 1
	addr := (*h)[last]
	*h = (*h)[:last]
	return addr
}
