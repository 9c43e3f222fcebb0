package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	corev1 "k8s.io/api/core/v1"
)

// ofFamily makes a Service one of an address's family alone.
func ofFamily(a netip.Addr) option {
	family := corev1.IPv4Protocol
	if a.Is6() {
		family = corev1.IPv6Protocol
	}
	return func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{family} }
}

// wire opens a host's cable for whole frames.
func (c *cluster) wire(host string) (conn *packet.Conn, mac net.HardwareAddr, err error) {
	err = c.Do(host, func() error {
		iface, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		mac = iface.HardwareAddr
		conn, err = packet.Listen(iface, packet.Raw, int(ethernet.EtherTypeARP), nil)
		return err
	})
	return conn, mac, err
}

// sendFrames sends frames from a host.
func (c *cluster) sendFrames(host string, frames ...[]byte) error {
	conn, _, err := c.wire(host)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, f := range frames {
		if _, err := conn.WriteTo(f, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
			return err
		}
	}
	return nil
}

// announcement is the frame by which a host claims an address unasked.
func announcement(mac net.HardwareAddr, a netip.Addr) ([]byte, error) {
	if a.Is4() {
		return arpFrame(mac, a, a)
	}
	return ndpFrame(mac, a, netip.MustParseAddr("ff02::1"), &ndp.NeighborAdvertisement{
		Override: true, TargetAddress: a,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	})
}

// arpFrame is a broadcast ARP request.
func arpFrame(mac net.HardwareAddr, from, target netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(arp.OperationRequest, mac, from, make(net.HardwareAddr, 6), target)
	if err != nil {
		return nil, err
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	f := ethernet.Frame{Source: mac, Destination: ethernet.Broadcast, EtherType: ethernet.EtherTypeARP, Payload: payload}
	return f.MarshalBinary()
}

// ndpFrame is a multicast neighbour discovery message.
func ndpFrame(mac net.HardwareAddr, from, to netip.Addr, m ndp.Message) ([]byte, error) {
	message, err := ndp.MarshalMessageChecksum(m, from, to)
	if err != nil {
		return nil, err
	}
	g := to.As16()
	header := make([]byte, 8, 40+len(message))
	const version, icmpv6, hopLimit = 0x60, 58, 255
	header[0], header[6], header[7] = version, icmpv6, hopLimit
	binary.BigEndian.PutUint16(header[4:], uint16(len(message)))
	header = append(append(header, from.AsSlice()...), g[:]...)
	f := ethernet.Frame{
		Source: mac, Destination: net.HardwareAddr{0x33, 0x33, g[12], g[13], g[14], g[15]},
		EtherType: ethernet.EtherTypeIPv6, Payload: append(header, message...),
	}
	return f.MarshalBinary()
}
