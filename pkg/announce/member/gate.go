package member

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	maxStreams          = 32 // incoming, at a time
	maxStreamsPerSource = 2

	// A stream is the state of all members: half a kilobyte each, and room
	// for growth. What is longer is an attack or a mistake.
	streamBase    = 1 << 20
	streamPerNode = 512
)

// gate says who may knock: the nodes known from the API and the members. Until
// it is told any, everyone may, as a node that restarts without the API server
// has to be found by those who know it.
type gate struct {
	known atomic.Pointer[map[netip.Addr]struct{}]

	mu        sync.Mutex // guards the fields below
	perSource map[netip.Addr]int
	streams   int
}

func newGate() *gate { return &gate{perSource: map[netip.Addr]int{}} }

// admit replaces the addresses that may knock.
func (g *gate) admit(known map[netip.Addr]struct{}) { g.known.Store(&known) }

// knows reports whether an address may knock.
func (g *gate) knows(a netip.Addr) bool {
	known := g.known.Load()
	if known == nil {
		return true
	}
	_, ok := (*known)[a]
	return ok
}

// budget is the longest stream to take.
func (g *gate) budget() int64 {
	n := 0
	if known := g.known.Load(); known != nil {
		n = len(*known)
	}
	return streamBase + int64(n)*streamPerNode
}

// enter takes a place for an incoming stream, which leave gives back. The
// refusal is empty if there is one.
func (g *gate) enter(a netip.Addr) refusal {
	if !g.knows(a) {
		return refusedSource
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.perSource[a] >= maxStreamsPerSource:
		return refusedPerSource
	case g.streams >= maxStreams:
		return refusedStreams
	}
	g.perSource[a]++
	g.streams++
	return ""
}

func (g *gate) leave(a netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams--
	if g.perSource[a]--; g.perSource[a] == 0 {
		delete(g.perSource, a)
	}
}
