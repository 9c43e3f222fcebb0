package layer2

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	ipv6Header = 40
	icmpv6     = 58
	// hopLimit is what neighbour discovery must carry: a router would have
	// lowered it, so the frame comes from this link (RFC 4861 section 7.1).
	hopLimit = 255

	typeSolicitation  = 135
	typeAdvertisement = 136
	neighborLength    = 24 // of either message without options
)

// neighbor is a neighbour solicitation or advertisement.
type neighbor struct {
	advertisement bool
	src, dst      netip.Addr
	target        netip.Addr
	mac           announce.MAC // link-layer address option; zero when absent
}

// parseNeighbor reads what follows the Ethernet header, by the validation
// rules of RFC 4861 section 7.1. The library doesn't verify the checksum.
func parseNeighbor(b []byte) (neighbor, malformed) {
	if len(b) < ipv6Header+neighborLength {
		return neighbor{}, tooShort
	}
	if b[0]>>4 != 6 || b[6] != icmpv6 {
		return neighbor{}, badHeader
	}
	if b[7] != hopLimit {
		return neighbor{}, badHopLimit
	}
	length := int(binary.BigEndian.Uint16(b[4:6]))
	if length < neighborLength || ipv6Header+length > len(b) {
		return neighbor{}, badLength
	}
	body := b[ipv6Header : ipv6Header+length]
	if body[0] != typeSolicitation && body[0] != typeAdvertisement || body[1] != 0 {
		return neighbor{}, badOperation
	}
	if checksum(b[8:40], body) != 0 {
		return neighbor{}, badChecksum
	}
	m, err := ndp.ParseMessage(body)
	if err != nil {
		return neighbor{}, badOption
	}
	n := neighbor{src: netip.AddrFrom16([16]byte(b[8:24])), dst: netip.AddrFrom16([16]byte(b[24:40]))}
	return n.fill(m)
}

func (n neighbor) fill(m ndp.Message) (neighbor, malformed) {
	switch m := m.(type) {
	case *ndp.NeighborSolicitation:
		n.target, n.mac = m.TargetAddress, linkLayer(m.Options, ndp.Source)
		if n.src.IsUnspecified() && (n.dst != solicitedNode(n.target) || n.mac != announce.MAC{}) {
			return neighbor{}, badSource
		}
	case *ndp.NeighborAdvertisement:
		n.advertisement = true
		n.target, n.mac = m.TargetAddress, linkLayer(m.Options, ndp.Target)
		if n.src.IsUnspecified() || n.dst.IsMulticast() && m.Solicited {
			return neighbor{}, badSource
		}
	default:
		return neighbor{}, badOperation
	}
	if n.src.IsMulticast() {
		return neighbor{}, badSource
	}
	if n.target.IsMulticast() || n.target.Is4In6() {
		return neighbor{}, badTarget
	}
	return n, wellFormed
}

// linkLayer returns the first link-layer address option of a direction.
func linkLayer(options []ndp.Option, d ndp.Direction) announce.MAC {
	for _, o := range options {
		if l, ok := o.(*ndp.LinkLayerAddress); ok && l.Direction == d && len(l.Addr) == 6 {
			return announce.MAC(l.Addr)
		}
	}
	return announce.MAC{}
}

// checksum is that of RFC 1071 over the pseudo header and the message; zero
// when the message carries the right one.
func checksum(addresses, body []byte) uint16 {
	sum := uint32(len(body)) + icmpv6
	for _, b := range [][]byte{addresses, body} {
		for ; len(b) >= 2; b = b[2:] {
			sum += uint32(b[0])<<8 | uint32(b[1])
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// solicitedNode is the multicast group of RFC 4291 section 2.7.1.
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 0x02, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

func allNodes() netip.Addr { return netip.AddrFrom16([16]byte{0xff, 0x02, 15: 1}) }

// multicastMAC is where a multicast address lives on Ethernet (RFC 2464).
func multicastMAC(a netip.Addr) announce.MAC {
	b := a.As16()
	return announce.MAC{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// appendNeighbor appends the frame that carries m. A message that can't be
// encoded, of an address that is not IPv6 for instance, appends nothing.
func appendNeighbor(b []byte, e ethernet, src, dst netip.Addr, m ndp.Message) []byte {
	if !src.Is6() || !dst.Is6() {
		return b
	}
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		return b
	}
	e.etherType = etherTypeIPv6
	b = e.append(b)
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = append(b, icmpv6, hopLimit)
	s, d := src.As16(), dst.As16()
	b = append(append(b, s[:]...), d[:]...)
	return append(b, body...)
}

func advertisement(mac announce.MAC, a netip.Addr) *ndp.NeighborAdvertisement {
	return &ndp.NeighborAdvertisement{
		Override:      true,
		TargetAddress: a,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(mac[:])}},
	}
}

// neighborReply answers a solicitation for an address on l: to the frame's
// source, or to all nodes when the asker is only about to use the address. The
// override flag is set because there is one owner, so that a client that still
// has another's MAC takes this one.
func neighborReply(b []byte, l announce.Link, to announce.MAC, s neighbor) []byte {
	na := advertisement(l.MAC, s.target)
	if s.src.IsUnspecified() {
		return appendNeighbor(b, ethernet{dst: multicastMAC(allNodes()), src: l.MAC}, l.LinkLocal, allNodes(), na)
	}
	na.Solicited = true
	return appendNeighbor(b, ethernet{dst: to, src: l.MAC}, l.LinkLocal, s.src, na)
}

// neighborAnnounce is the unsolicited advertisement of RFC 4861 section 7.2.6.
func neighborAnnounce(b []byte, l announce.Link, a netip.Addr) []byte {
	return appendNeighbor(b, ethernet{dst: multicastMAC(allNodes()), src: l.MAC}, l.LinkLocal, allNodes(), advertisement(l.MAC, a))
}

// neighborProbe asks who has a as duplicate address detection does.
func neighborProbe(b []byte, mac announce.MAC, a netip.Addr) []byte {
	group := solicitedNode(a)
	return appendNeighbor(b, ethernet{dst: multicastMAC(group), src: mac}, netip.IPv6Unspecified(), group,
		&ndp.NeighborSolicitation{TargetAddress: a})
}
