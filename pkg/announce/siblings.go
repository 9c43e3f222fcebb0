package announce

import "net/netip"

// siblings groups addresses that should have one owner: those of one Service,
// so that a dual-stack Service answers on both families from the same node, and
// with them those of Services that share one of its addresses.
type siblings map[netip.Addr]netip.Addr // towards the lowest of the group; only of Services with several addresses

func siblingsOf(services []Service) siblings {
	s := siblings{}
	for i := range services {
		addrs := services[i].Addresses
		for _, a := range addrs[min(1, len(addrs)):] {
			s.join(addrs[0], a)
		}
	}
	return s
}

// lowest returns the address in whose name all of a's group elect their owner.
func (s siblings) lowest(a netip.Addr) netip.Addr {
	for {
		up, ok := s[a]
		if !ok || up == a {
			return a
		}
		a = up
	}
}

func (s siblings) join(a, b netip.Addr) {
	low, high := s.lowest(a), s.lowest(b)
	if high.Less(low) {
		low, high = high, low
	}
	// Both begin at their group's lowest, so that chains stay short.
	s[a], s[b], s[high] = low, low, low
}
