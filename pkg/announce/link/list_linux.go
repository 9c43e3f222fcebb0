package link

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
)

// listTries is how often a dump is repeated that a change interrupted: what it
// returned is not what is there. Under heavy churn one in a hundred is.
const listTries = 5

// list reads everything from the kernel.
func list() (Snapshot, error) {
	links, err := retry(netlink.LinkList)
	if err != nil {
		return Snapshot{}, fmt.Errorf("list links: %w", err)
	}
	addresses, err := retry(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return Snapshot{}, fmt.Errorf("list addresses: %w", err)
	}
	var routes []netlink.Route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		some, err := retry(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST)
		})
		if err != nil {
			return Snapshot{}, fmt.Errorf("list default routes: %w", err)
		}
		for _, r := range some {
			if r.Type == unix.RTN_UNICAST {
				routes = append(routes, r)
			}
		}
	}
	return assemble(links, addresses, routes), nil
}

func retry[T any](dump func() ([]T, error)) ([]T, error) {
	for i := 1; ; i++ {
		got, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || i == listTries {
			return got, err
		}
	}
}

// assemble makes one snapshot of three lists. Routes are default routes.
func assemble(links []netlink.Link, addresses []netlink.Addr, routes []netlink.Route) Snapshot {
	vrf := make(map[int]bool)
	for _, l := range links {
		vrf[l.Attrs().Index] = l.Type() == "vrf"
	}
	byIndex := make(map[int]*announce.Link)
	for _, l := range links {
		if a := l.Attrs(); usable(a, vrf) {
			byIndex[a.Index] = &announce.Link{Name: a.Name, Index: a.Index, MAC: announce.MAC(a.HardwareAddr)}
		}
	}
	for _, a := range addresses {
		if l := byIndex[a.LinkIndex]; l != nil && a.IPNet != nil {
			addAddress(l, a)
		}
	}
	var s Snapshot
	best := bestMetrics(routes)
	for _, r := range routes {
		for _, hop := range hopsOf(r) {
			if l := byIndex[hop.LinkIndex]; l != nil && r.Priority == best[r.Family] {
				l.Default4 = l.Default4 || r.Family == unix.AF_INET
				l.Default6 = l.Default6 || r.Family == unix.AF_INET6
			}
			if gw, ok := netip.AddrFromSlice(hop.Gw); ok {
				s.Gateways = append(s.Gateways, gw.Unmap())
			}
		}
	}
	slices.SortFunc(s.Gateways, netip.Addr.Compare)
	s.Gateways = slices.Compact(s.Gateways)
	for _, l := range byIndex {
		slices.SortFunc(l.Prefixes, netip.Prefix.Compare)
		l.Prefixes = slices.Compact(l.Prefixes)
		s.Links = append(s.Links, *l)
	}
	slices.SortFunc(s.Links, func(a, b announce.Link) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// addAddress adds what an address says of its link: its prefix is on it, unless
// the prefix is the address alone. A link-local address counts once it is known
// to be unique.
func addAddress(l *announce.Link, a netlink.Addr) {
	ip, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		return
	}
	ip = ip.Unmap()
	if ip.Is6() && ip.IsLinkLocalUnicast() {
		if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 && (!l.LinkLocal.IsValid() || ip.Less(l.LinkLocal)) {
			l.LinkLocal = ip
		}
		return
	}
	bits, _ := a.Mask.Size()
	if bits == ip.BitLen() {
		return
	}
	if p, err := ip.Prefix(bits); err == nil {
		l.Prefixes = append(l.Prefixes, p)
	}
}

// bestMetrics returns the metric of the default route in use, by family.
func bestMetrics(routes []netlink.Route) map[int]int {
	best := make(map[int]int)
	for _, r := range routes {
		if m, ok := best[r.Family]; !ok || r.Priority < m {
			best[r.Family] = r.Priority
		}
	}
	return best
}

type hop struct {
	LinkIndex int
	Gw        net.IP
}

// hopsOf returns the next hops of a route, of which it may have several.
func hopsOf(r netlink.Route) []hop {
	if len(r.MultiPath) == 0 {
		return []hop{{r.LinkIndex, r.Gw}}
	}
	var hops []hop
	for _, n := range r.MultiPath {
		hops = append(hops, hop{n.LinkIndex, n.Gw})
	}
	return hops
}
