package rig

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/netns"
)

// Switch is the host whose only job is the bridge that is the LAN. Its ports
// have the names of the hosts they lead to.
const Switch = "lan"

const bridge = "br0"

// AddSwitch makes the LAN.
func (s *State) AddSwitch() error {
	if err := s.addNamespace(Host{Name: Switch}); err != nil {
		return err
	}
	return netns.Do(s.Namespace(Switch), func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = bridge
		snooping := false
		return up(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping})
	})
}

// AddHost makes a host, and connects it to the LAN if it has addresses there.
func (s *State) AddHost(h Host) error {
	if err := CheckName(h.Name); err != nil {
		return err
	}
	if len(h.Name) > unix.IFNAMSIZ-1 {
		return fmt.Errorf("host name %q is longer than an interface's may be (15)", h.Name)
	}
	if err := s.addNamespace(h); err != nil {
		return err
	}
	if !h.IPv4.IsValid() && !h.IPv6.IsValid() {
		return nil
	}
	mac, err := net.ParseMAC(h.MAC)
	if err != nil {
		return err
	}
	port, err := s.wire(end{Switch, h.Name, nil}, end{h.Name, "eth0", mac})
	if err != nil {
		return err
	}
	err = netns.Do(s.Namespace(Switch), func() error {
		br, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(port, br)
	})
	if err != nil {
		return fmt.Errorf("connect host %s to the LAN: %w", h.Name, err)
	}
	return s.AddAddresses(h.Name, "eth0", h.IPv4, h.IPv6)
}

// addNamespace records a host and makes its namespace.
func (s *State) addNamespace(h Host) error {
	err := s.Update(func(now *State) error {
		if _, err := now.Host(h.Name); err == nil {
			return fmt.Errorf("lab %q has a host %q already", s.Name, h.Name)
		}
		now.Hosts = append(now.Hosts, h)
		return nil
	})
	if err != nil {
		return err
	}
	name := s.Namespace(h.Name)
	if err := netns.Create(name); err != nil {
		return err
	}
	return netns.Do(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		// Duplicate address detection would hold up each new address for a
		// second or two, and nobody advertises routes here.
		return sysctls(map[string]string{
			"net.ipv6.conf.default.accept_dad": "0", "net.ipv6.conf.default.accept_ra": "0",
			"net.ipv6.conf.all.accept_ra": "0", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0",
		})
	})
}

// end is one end of a cable: an interface of a host.
type end struct {
	host, name string
	mac        net.HardwareAddr
}

// wire lays a cable between two hosts, both ends up, and returns a's.
func (s *State) wire(a, b end) (netlink.Link, error) {
	fd, err := unix.Open(netns.Path(s.Namespace(b.host)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.name
	if a.mac != nil {
		attrs.HardwareAddr = a.mac
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: b.name, PeerHardwareAddr: b.mac, PeerNamespace: netlink.NsFd(fd)}
	if err := netns.Do(s.Namespace(a.host), func() error { return up(veth) }); err != nil {
		return nil, fmt.Errorf("cable from %s to %s: %w", a.host, b.host, err)
	}
	err = netns.Do(s.Namespace(b.host), func() error {
		link, err := netlink.LinkByName(b.name)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	})
	return veth, err
}

// Connect lays a cable between two hosts, apart from the LAN. Each end's
// interface has the name of the host at the other.
func (s *State) Connect(a, b string) error {
	_, err := s.wire(end{a, b, nil}, end{b, a, nil})
	return err
}

// AddAddresses gives an interface of a host addresses; invalid ones are left
// out.
func (s *State) AddAddresses(host, iface string, addresses ...netip.Prefix) error {
	return netns.Do(s.Namespace(host), func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		for _, p := range addresses {
			if !p.IsValid() {
				continue
			}
			addr := &netlink.Addr{IPNet: ipNet(p)}
			if p.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("give %s of %s the address %v: %w", iface, host, p, err)
			}
		}
		return nil
	})
}

// AddRoute gives a host a route.
func (s *State) AddRoute(host string, to netip.Prefix, via netip.Addr) error {
	err := netns.Do(s.Namespace(host), func() error {
		return netlink.RouteReplace(&netlink.Route{Dst: ipNet(to), Gw: via.AsSlice()})
	})
	if err != nil {
		return fmt.Errorf("route of %s to %v via %v: %w", host, to, via, err)
	}
	return nil
}

// Forward makes a router of a host.
func (s *State) Forward(host string) error {
	return netns.Do(s.Namespace(host), func() error {
		return sysctls(map[string]string{"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"})
	})
}

// connectionTimeouts are how long a node's kernel remembers a connection that
// nothing is heard of, in seconds. The usual five days and minutes are too long
// for a client that opens a hundred a second: it may be back at the same port
// within half a minute, and what a fault has left in the table would have its new
// connection, and send it where the old one went: to a Pod that is no more. They
// are longer than what lives here is silent: Go's keep-alive takes 15 s.
var connectionTimeouts = map[string]string{
	"syn_sent": "20", "syn_recv": "20", "established": "25", "fin_wait": "20", "close_wait": "20",
	"last_ack": "20", "time_wait": "20", "max_retrans": "20", "unacknowledged": "20",
}

// ForgetConnections makes a host's kernel forget dead connections soon.
func (s *State) ForgetConnections(host string) error {
	for name, seconds := range connectionTimeouts {
		if err := s.SetSysctl(host, "net.netfilter.nf_conntrack_tcp_timeout_"+name, seconds); err != nil {
			return err
		}
	}
	return nil
}

// SetSysctl sets a kernel setting of a host's network.
func (s *State) SetSysctl(host, name, value string) error {
	if !strings.HasPrefix(name, "net.") {
		return fmt.Errorf("%s is a setting of the whole machine, not of host %s", name, host)
	}
	return netns.Do(s.Namespace(host), func() error { return sysctls(map[string]string{name: value}) })
}

// SetCable plugs a host's cable into the switch or pulls it out: up is
// unix.IFF_UP or 0. It is the switch's end that goes down, so that the host
// sees a link without carrier and keeps its addresses.
func (s *State) SetCable(host string, up uint32) error {
	return netns.Do(s.Namespace(Switch), func() error {
		port, err := netlink.LinkByName(host)
		if err != nil {
			return fmt.Errorf("cable of %s: %w", host, err)
		}
		if up == unix.IFF_UP {
			return netlink.LinkSetUp(port)
		}
		return netlink.LinkSetDown(port)
	})
}

func up(link netlink.Link) error {
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// sysctls writes kernel settings of the namespace that the thread is in.
func sysctls(values map[string]string) error {
	for name, value := range values {
		if err := os.WriteFile(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/")), []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
