package link

import (
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// usable reports whether a link can serve addresses to a LAN: an Ethernet that
// is up, and its own master. Frames for a member of a bridge, bond or team are
// delivered to the master instead. vrf tells which indexes are devices of type
// vrf: those don't take frames away.
//
// The type of the device is no criterion: in a cluster of containers the node's
// own interface is a veth, as the pods' are.
func usable(a *netlink.LinkAttrs, vrf map[int]bool) bool {
	const (
		needed  = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_BROADCAST
		refused = unix.IFF_LOOPBACK | unix.IFF_NOARP | unix.IFF_POINTOPOINT
	)
	switch {
	case a.RawFlags&needed != needed, a.RawFlags&refused != 0:
		return false
	case a.OperState != netlink.OperUp && a.OperState != netlink.OperUnknown:
		return false
	case len(a.HardwareAddr) != 6, isZero(a.HardwareAddr):
		return false
	case a.MasterIndex != 0 && !vrf[a.MasterIndex]:
		return false
	}
	return !foreign(a.Name)
}

func isZero(mac net.HardwareAddr) bool {
	for _, b := range mac {
		if b != 0 {
			return false
		}
	}
	return true
}

// foreign reports whether a name is one that network plugins and container
// runtimes give to interfaces that lead to pods, not to the LAN. Their prefixes
// rarely hold an address to announce; this is the second belt.
func foreign(name string) bool {
	for _, prefix := range []string{
		"cni", "cali", "lxc", "cilium_", "flannel", "vxlan", "docker", "virbr", "kube-", "nodelocaldns", "tunl", "dummy",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	id, ok := strings.CutPrefix(name, "br-") // a network of Docker: br- and 12 hex digits
	return ok && len(id) == 12 && strings.Trim(id, "0123456789abcdef") == ""
}
