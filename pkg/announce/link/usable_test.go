package link

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestUsable(t *testing.T) {
	const ethernet = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_BROADCAST | unix.IFF_MULTICAST
	good := netlink.LinkAttrs{
		Name: "eth0", Index: 2, RawFlags: ethernet, OperState: netlink.OperUp,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}
	tests := []struct {
		name   string
		change func(*netlink.LinkAttrs)
		want   bool
	}{
		{"an Ethernet that is up", func(*netlink.LinkAttrs) {}, true},
		{"of unknown state, as many drivers say", func(a *netlink.LinkAttrs) { a.OperState = netlink.OperUnknown }, true},
		{"in a VRF", func(a *netlink.LinkAttrs) { a.MasterIndex = 7 }, true},
		{"a bridge of the machine's own", func(a *netlink.LinkAttrs) { a.Name = "br-lan" }, true},
		{"a port of a bridge", func(a *netlink.LinkAttrs) { a.MasterIndex = 8 }, false},
		{"down", func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_UP }, false},
		{"without carrier", func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_RUNNING }, false},
		{"dormant", func(a *netlink.LinkAttrs) { a.OperState = netlink.OperDormant }, false},
		{"without broadcast", func(a *netlink.LinkAttrs) { a.RawFlags &^= unix.IFF_BROADCAST }, false},
		{"loopback", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_LOOPBACK }, false},
		{"without ARP", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_NOARP }, false},
		{"point to point", func(a *netlink.LinkAttrs) { a.RawFlags |= unix.IFF_POINTOPOINT }, false},
		{"InfiniBand", func(a *netlink.LinkAttrs) { a.HardwareAddr = make(net.HardwareAddr, 20) }, false},
		{"without MAC", func(a *netlink.LinkAttrs) { a.HardwareAddr = make(net.HardwareAddr, 6) }, false},
		{"a pod's", func(a *netlink.LinkAttrs) { a.Name = "cali1234" }, false},
		{"Docker's", func(a *netlink.LinkAttrs) { a.Name = "br-0123456789ab" }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := good
			tt.change(&a)
			if got := usable(&a, map[int]bool{7: true}); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
