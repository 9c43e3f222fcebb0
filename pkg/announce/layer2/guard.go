package layer2

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	repliesPerSecond = 50
	guardSlots       = 1 << 16
)

// guard keeps a flood of requests from becoming a flood of replies: at most 50
// a second to one MAC for one address. It counts in a fixed table of hashes, so
// a flood from invented MACs can't make it grow, nor push an honest client's
// count out of it. The address is part of the key because a router that lost
// its cache asks for thousands of addresses at once and must get them all.
type guard struct {
	seed   maphash.Seed
	window time.Time
	counts [guardSlots]uint8
}

func newGuard() *guard { return &guard{seed: maphash.MakeSeed()} }

// allow counts a reply to mac for a and reports whether it may be sent.
func (g *guard) allow(now time.Time, mac announce.MAC, a netip.Addr) bool {
	if now.Sub(g.window) >= time.Second {
		clear(g.counts[:])
		g.window = now
	}
	var key [22]byte
	copy(key[:6], mac[:])
	a16 := a.As16()
	copy(key[6:], a16[:])
	slot := &g.counts[maphash.Bytes(g.seed, key[:])%guardSlots]
	if *slot >= repliesPerSecond {
		return false
	}
	*slot++
	return true
}
