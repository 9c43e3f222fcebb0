package member

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

const (
	watchersEach = 3
	quorum       = 2
)

// place is a node on the ring.
type place struct {
	hash uint64
	name string
}

// ringOf orders nodes by the hash of their name. All nodes that know the same
// names get the same ring.
func ringOf(names []string) []place {
	ring := make([]place, len(names))
	for i, n := range names {
		h := sha256.Sum256([]byte(n))
		ring[i] = place{binary.BigEndian.Uint64(h[:]), n}
	}
	slices.SortFunc(ring, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name))
	})
	return ring
}

// watchersOf returns who watches the node at an index: the three nodes before
// it that count, fewer if there aren't as many.
func watchersOf(ring []place, target int, counts func(name string) bool) []string {
	watchers := make([]string, 0, watchersEach)
	for i := 1; i < len(ring) && len(watchers) < watchersEach; i++ {
		if n := ring[(target-i+len(ring))%len(ring)].name; counts(n) {
			watchers = append(watchers, n)
		}
	}
	return watchers
}
