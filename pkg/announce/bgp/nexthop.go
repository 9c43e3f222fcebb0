package bgp

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/herald-lb/herald/pkg/announce"
)

// FindNextHops returns this node's addresses towards a router: the one that a
// session with it uses (source, or the kernel's choice if that is the zero
// Addr), and of the other family a global address of the same interface. Either
// may be missing. It sends nothing.
func FindNextHops(router, source netip.Addr) (announce.NextHops, error) {
	if !source.IsValid() {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, 179)))
		if err != nil {
			return announce.NextHops{}, fmt.Errorf("no way to %s: %s", router, rootCause(err))
		}
		source = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		c.Close()
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return announce.NextHops{}, fmt.Errorf("listing interfaces: %w", err)
	}
	for _, i := range interfaces {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		if hops, ok := hopsAmong(source, addrs); ok {
			return hops, nil
		}
	}
	return announce.NextHops{}, fmt.Errorf("%s is not an address of this node", source)
}

// hopsAmong picks the next hops from an interface's addresses, if source is
// one of them.
func hopsAmong(source netip.Addr, addrs []net.Addr) (hops announce.NextHops, found bool) {
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		addr, ok := netip.AddrFromSlice(n.IP)
		if !ok {
			continue
		}
		addr = addr.Unmap()
		switch {
		case addr == source:
			found = true
		case !addr.IsGlobalUnicast():
		case addr.Is4() && !hops.IPv4.IsValid():
			hops.IPv4 = addr
		case addr.Is6() && !hops.IPv6.IsValid():
			hops.IPv6 = addr
		}
	}
	if source.Is4() {
		hops.IPv4 = source
	} else {
		hops.IPv6 = source
	}
	return hops, found
}
