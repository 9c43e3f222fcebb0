package announce

import (
	"maps"
	"net/netip"
	"slices"
)

// Explanation tells how the decision about one address came about.
type Explanation struct {
	Address
	Nodes []Verdict // one for each Node and each member, by name; none if the address itself is refused
}

// Verdict says what one node is to an address: Announced for its owner, and for
// each node that announces it by BGP.
type Verdict struct {
	Node   string
	Reason Reason
}

// Explain applies the rules of Decide to one address as seen from every node.
// It returns false if no Service of ours shows the address.
func Explain(s Snapshot, a netip.Addr) (Explanation, bool) {
	s.Services = slices.Collect(func(yield func(Service) bool) {
		for _, svc := range s.Services {
			if slices.Contains(svc.Addresses, a) {
				svc.Addresses = []netip.Addr{a}
				if !yield(svc) {
					return
				}
			}
		}
	})
	if len(s.Services) == 0 {
		return Explanation{}, false
	}
	out := Explanation{Address: Decide(s).Addresses[0]}
	if out.Reason.concernsAddress() {
		return out, true
	}
	names := map[string]struct{}{}
	for name := range s.Nodes {
		names[name] = struct{}{}
	}
	for name := range s.Members {
		names[name] = struct{}{}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		s.Self = name
		out.Nodes = append(out.Nodes, Verdict{Node: name, Reason: Decide(s).Addresses[0].Reason})
	}
	return out, true
}

// concernsAddress reports whether the reason holds for every node.
func (r Reason) concernsAddress() bool {
	switch r {
	case NoConfiguration, NotInPool, NoReadyEndpoint:
		return true
	default:
		return false
	}
}
