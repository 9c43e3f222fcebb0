package announce

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
)

func testAddrs(n int) []netip.Addr {
	addrs := make([]netip.Addr, n)
	a := netip.MustParseAddr("10.0.0.0")
	for i := range addrs {
		addrs[i] = a
		a = a.Next()
	}
	return addrs
}

func nodeHashes(pattern string, n int) []uint64 {
	hashes := make([]uint64, n)
	for i := range hashes {
		hashes[i] = NodeHash(fmt.Sprintf(pattern, i))
	}
	return hashes
}

// A chi-squared test over the winners: rendezvous must be fair for any number
// of nodes with names as alike as real ones are.
func TestScoreSpreadsEvenly(t *testing.T) {
	const n = 30000
	addrs := testAddrs(n)
	for _, nodes := range []int{2, 3, 5, 10, 100} {
		wins := make([]float64, nodes)
		hashes := nodeHashes("n%d", nodes)
		for _, a := range addrs {
			best, owner, addr := uint64(0), 0, AddrHash(a)
			for i, node := range hashes {
				if s := Score(node, addr); s > best {
					best, owner = s, i
				}
			}
			wins[owner]++
		}
		chi, want := 0.0, float64(n)/float64(nodes)
		for _, w := range wins {
			chi += (w - want) * (w - want) / want
		}
		// Mean of the distribution is nodes-1, its variance twice that.
		if limit := float64(nodes-1) + 5*math.Sqrt(2*float64(nodes-1)); chi > limit {
			t.Errorf("%d nodes: chi² %.1f > %.1f: %v", nodes, chi, limit, wins)
		}
	}
}

// The second place must be as fair as the first: it is who takes over.
func TestScoreSpreadsSuccessorsEvenly(t *testing.T) {
	const n = 30000
	var second [5]float64
	hashes := nodeHashes("worker-%d", len(second))
	for _, a := range testAddrs(n) {
		var r ranking
		for i, node := range hashes {
			r.offer(int32(i), Score(node, AddrHash(a)))
		}
		if r.nodes[0] == 0 {
			second[r.nodes[1]]++
		}
	}
	for i, got := range second[1:] {
		if want := n / 5.0 / 4.0; math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("node %d follows node 0 for %.0f addresses, want about %.0f", i+1, got, want)
		}
	}
}

// All nodes of a cluster must agree on hashes, also while two versions of the
// program run side by side: these values may never change.
func TestHashesAreFrozen(t *testing.T) {
	for _, c := range []struct {
		name string
		got  uint64
		want uint64
	}{
		{"node n1", NodeHash("n1"), 0x676b8bb84ce7267d},
		{"IPv4", AddrHash(netip.MustParseAddr("192.168.31.240")), 0xd82f97f00aa50706},
		{"IPv6", AddrHash(netip.MustParseAddr("fd00::1")), 0x68465f2bdecd5c32},
		{"score", Score(1, 2), 0x4aa1ea2091a17380},
	} {
		if c.got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, c.got, c.want)
		}
	}
}
