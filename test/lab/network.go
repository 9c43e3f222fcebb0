package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/herald-lb/herald/test/internal/rig"
)

// The hosts that every lab has, beside its nodes n1, n2 and so on.
const (
	Router       = "router"   // .1, everyone's default gateway
	ControlPlane = "cp"       // .2
	Client       = "client"   // .100
	Switch       = rig.Switch // the LAN itself: its ports have the names of hosts
)

// The cluster's prefixes. The LAN's addresses from .240 on, and fd31::240 to
// fd31::2ff, are never given to hosts.
var (
	LAN4 = netip.MustParsePrefix("192.168.31.0/24")
	LAN6 = netip.MustParsePrefix("fd31::/64")

	pods4     = netip.MustParsePrefix("10.244.0.0/16")
	pods6     = netip.MustParsePrefix("fd44::/48")
	services4 = netip.MustParsePrefix("10.96.0.0/14")
	services6 = netip.MustParsePrefix("fd96::/108")
)

const (
	maxNodes  = 80 // n1 is .11, and .100 is the client's
	firstNode = 11
	// The numbers of hosts that are added later.
	firstExtra, lastExtra = 101, 239
)

// hostAt is a host with the LAN's address of that number, in decimal in both
// families: 100 is 192.168.31.100 and fd31::100.
func (l *Lab) hostAt(name string, number int) rig.Host {
	h := rig.Host{Name: name, MAC: fmt.Sprintf("02:00:00:31:00:%02x", number)}
	h.IPv6 = netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd31::%d", number)), LAN6.Bits())
	if !l.state.IPv6Only {
		a := LAN4.Addr().As4()
		a[3] = byte(number)
		h.IPv4 = netip.PrefixFrom(netip.AddrFrom4(a), LAN4.Bits())
	}
	return h
}

// addNetwork makes the LAN and the hosts on it.
func (l *Lab) addNetwork(nodes int) error {
	if err := l.state.AddSwitch(); err != nil {
		return err
	}
	hosts := []rig.Host{l.hostAt(Router, 1), l.hostAt(ControlPlane, 2), l.hostAt(Client, 100)}
	for i := range nodes {
		h := l.hostAt(fmt.Sprintf("n%d", i+1), firstNode+i)
		h.Node = true
		hosts = append(hosts, h)
	}
	for _, h := range hosts {
		if err := l.state.AddHost(h); err != nil {
			return err
		}
		if h.Name != Router {
			if err := l.addDefaultRoute(h); err != nil {
				return err
			}
		}
		if h.Node || h.Name == Router {
			if err := l.state.Forward(h.Name); err != nil {
				return err
			}
		}
	}
	return l.addPodRoutes(hosts)
}

// addDefaultRoute sends what is not for the LAN to the router.
func (l *Lab) addDefaultRoute(h rig.Host) error {
	router, err := l.state.Host(Router)
	if err != nil {
		return err
	}
	var errs []error
	if h.IPv4.IsValid() {
		errs = append(errs, l.state.AddRoute(h.Name, netip.PrefixFrom(netip.IPv4Unspecified(), 0), router.IPv4.Addr()))
	}
	errs = append(errs, l.state.AddRoute(h.Name, netip.PrefixFrom(netip.IPv6Unspecified(), 0), router.IPv6.Addr()))
	return errors.Join(errs...)
}

// addPodRoutes tells nodes and control plane which node has which pods.
func (l *Lab) addPodRoutes(hosts []rig.Host) error {
	for _, to := range hosts {
		if !to.Node {
			continue
		}
		for _, from := range hosts {
			if from.Name == to.Name || !from.Node && from.Name != ControlPlane {
				continue
			}
			for _, pods := range podCIDRs(to) {
				via := to.IPv6.Addr()
				if pods.Addr().Is4() {
					via = to.IPv4.Addr()
				}
				if err := l.state.AddRoute(from.Name, pods, via); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// podCIDRs are the prefixes of a node's pods, in the families that it has.
func podCIDRs(h rig.Host) []netip.Prefix {
	a := h.IPv6.Addr().As16()
	p6 := pods6.Addr().As16()
	p6[7] = a[15]
	six := netip.PrefixFrom(netip.AddrFrom16(p6), 64)
	if !h.IPv4.IsValid() {
		return []netip.Prefix{six}
	}
	p4 := pods4.Addr().As4()
	p4[2] = h.IPv4.Addr().As4()[3]
	return []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(p4), 24), six}
}

// families picks from a prefix of each family those that the lab has.
func (l *Lab) families(four, six netip.Prefix) []netip.Prefix {
	if l.state.IPv6Only {
		return []netip.Prefix{six}
	}
	return []netip.Prefix{four, six}
}

// hostAddresses are a host's addresses on the LAN, the primary family first.
func hostAddresses(h rig.Host) []netip.Addr {
	var out []netip.Addr
	for _, p := range []netip.Prefix{h.IPv4, h.IPv6} {
		if p.IsValid() {
			out = append(out, p.Addr())
		}
	}
	return out
}
