package layer2

import (
	"net"
	"net/netip"

	"github.com/mdlayher/arp"

	"github.com/herald-lb/herald/pkg/announce"
)

const arpLength = 28

// arpPacket is an ARP packet for IPv4 over Ethernet.
type arpPacket struct {
	op                   arp.Operation
	senderMAC, targetMAC announce.MAC
	senderIP, targetIP   netip.Addr
}

// parseARP reads what follows the Ethernet header. The library's decoder takes
// any address lengths and its encoder panics on some of what it took, so the
// six bytes that name types and lengths are compared before it sees anything.
func parseARP(b []byte) (arpPacket, malformed) {
	if len(b) < arpLength {
		return arpPacket{}, tooShort
	}
	if [6]byte(b[:6]) != [6]byte{0, 1, 8, 0, 6, 4} {
		return arpPacket{}, badHeader
	}
	var p arp.Packet
	if err := p.UnmarshalBinary(b[:arpLength]); err != nil {
		return arpPacket{}, badHeader
	}
	if p.Operation != arp.OperationRequest && p.Operation != arp.OperationReply {
		return arpPacket{}, badOperation
	}
	return arpPacket{
		op:        p.Operation,
		senderMAC: announce.MAC(p.SenderHardwareAddr),
		senderIP:  p.SenderIP,
		targetMAC: announce.MAC(p.TargetHardwareAddr),
		targetIP:  p.TargetIP,
	}, wellFormed
}

// appendTo appends the frame that carries p to dst. An address that is not
// IPv4 appends nothing.
func (p arpPacket) appendTo(b []byte, dst announce.MAC) []byte {
	q, err := arp.NewPacket(p.op, net.HardwareAddr(p.senderMAC[:]), p.senderIP, net.HardwareAddr(p.targetMAC[:]), p.targetIP)
	if err != nil {
		return b
	}
	payload, err := q.MarshalBinary()
	if err != nil {
		return b
	}
	return append(ethernet{dst, p.senderMAC, etherTypeARP}.append(b), payload...)
}

// gratuitous reports whether p announces its sender rather than asking.
func (p arpPacket) gratuitous() bool { return p.senderIP == p.targetIP }

// isProbe reports whether p is a probe of RFC 5227: the asker has no address.
func (p arpPacket) isProbe() bool {
	return p.op == arp.OperationRequest && p.senderIP.IsUnspecified()
}

// arpReply answers request for its target from mac.
func arpReply(b []byte, mac announce.MAC, request arpPacket) []byte {
	return arpPacket{
		op:        arp.OperationReply,
		senderMAC: mac, senderIP: request.targetIP,
		targetMAC: request.senderMAC, targetIP: request.senderIP,
	}.appendTo(b, request.senderMAC)
}

// arpProbe asks who has a without saying who asks, which no cache learns from.
func arpProbe(b []byte, mac announce.MAC, a netip.Addr) []byte {
	return arpPacket{
		op: arp.OperationRequest, senderMAC: mac, senderIP: netip.IPv4Unspecified(), targetIP: a,
	}.appendTo(b, broadcastMAC())
}

// arpAnnounceRequest is the gratuitous request: caches take it at any age of
// their entry.
func arpAnnounceRequest(b []byte, mac announce.MAC, a netip.Addr) []byte {
	return arpPacket{
		op: arp.OperationRequest, senderMAC: mac, senderIP: a, targetIP: a,
	}.appendTo(b, broadcastMAC())
}

// arpAnnounceReply is the gratuitous reply. Its target MAC is the sender's:
// with any other, Linux ignores it while its entry is younger than a second.
func arpAnnounceReply(b []byte, mac announce.MAC, a netip.Addr) []byte {
	return arpPacket{
		op: arp.OperationReply, senderMAC: mac, senderIP: a, targetMAC: mac, targetIP: a,
	}.appendTo(b, broadcastMAC())
}
