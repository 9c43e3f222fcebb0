package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"

	"github.com/herald-lb/herald/pkg/announce"
)

// Answer is who answered for an address.
type Answer struct {
	MAC  announce.MAC
	Host string // the lab's host of that MAC; empty if it is nobody's
}

// answerTime is how long WhoHas listens for answers.
const answerTime = 200 * time.Millisecond

// WhoHas asks the LAN from a host, by ARP or neighbour discovery, who has an
// address. It returns each MAC that answered once, in order of arrival.
func (l *Lab) WhoHas(ctx context.Context, host string, address netip.Addr) ([]Answer, error) {
	from, err := l.Address(host, address)
	if err != nil {
		return nil, err
	}
	h, err := l.state.Host(host)
	if err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(h.MAC)
	if err != nil {
		return nil, err
	}
	kind := ethernet.EtherTypeARP
	if address.Is6() {
		kind = ethernet.EtherTypeIPv6
	}
	question, err := ask(mac, from, address)
	if err != nil {
		return nil, err
	}
	var conn *packet.Conn
	err = l.Do(host, func() error {
		iface, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(iface, packet.Raw, int(kind), nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask from %s: %w", host, err)
	}
	defer conn.Close()
	deadline := time.Now().Add(answerTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.WriteTo(question, &packet.Addr{HardwareAddr: ethernet.Broadcast}); err != nil {
		return nil, fmt.Errorf("ask from %s: %w", host, err)
	}
	return l.collect(conn, address)
}

// collect reads answers until the connection's deadline.
func (l *Lab) collect(conn *packet.Conn, address netip.Addr) ([]Answer, error) {
	owners := map[announce.MAC]string{}
	for _, h := range l.state.Hosts {
		if mac, err := net.ParseMAC(h.MAC); err == nil {
			owners[announce.MAC(mac)] = h.Name
		}
	}
	var answers []Answer
	seen := map[announce.MAC]bool{}
	buf := make([]byte, 2048)
	for {
		n, _, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return answers, nil
		}
		if err != nil {
			return nil, err
		}
		if mac, ok := answerIn(buf[:n], address); ok && !seen[mac] {
			seen[mac] = true
			answers = append(answers, Answer{MAC: mac, Host: owners[mac]})
		}
	}
}

// ask makes the frame that asks for an address.
func ask(mac net.HardwareAddr, from, address netip.Addr) ([]byte, error) {
	frame := &ethernet.Frame{Source: mac, Destination: ethernet.Broadcast, EtherType: ethernet.EtherTypeARP}
	if address.Is4() {
		p, err := arp.NewPacket(arp.OperationRequest, mac, from, ethernet.Broadcast, address)
		if err != nil {
			return nil, err
		}
		if frame.Payload, err = p.MarshalBinary(); err != nil {
			return nil, err
		}
		return frame.MarshalBinary()
	}
	group, err := ndp.SolicitedNodeMulticast(address)
	if err != nil {
		return nil, err
	}
	g := group.As16()
	frame.EtherType = ethernet.EtherTypeIPv6
	frame.Destination = net.HardwareAddr{0x33, 0x33, g[12], g[13], g[14], g[15]}
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{
		TargetAddress: address,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac}},
	}, from, group)
	if err != nil {
		return nil, err
	}
	frame.Payload = append(ipv6Header(from, group, len(message)), message...)
	return frame.MarshalBinary()
}

// The parts of an IPv6 header that matter here.
const (
	ipv6HeaderLen   = 40
	protocolICMPv6  = 58
	neighbourLimit  = 255 // the hop limit that shows that no router passed it on
	advertisement   = 136 // ICMPv6 type
	ipv6VersionByte = 0x60
)

func ipv6Header(from, to netip.Addr, payload int) []byte {
	b := make([]byte, 8, ipv6HeaderLen+payload)
	b[0] = ipv6VersionByte
	binary.BigEndian.PutUint16(b[4:], uint16(payload))
	b[6], b[7] = protocolICMPv6, neighbourLimit
	b = append(b, from.AsSlice()...)
	return append(b, to.AsSlice()...)
}

// answerIn finds in a frame an answer for the address, and whose it is.
func answerIn(b []byte, address netip.Addr) (announce.MAC, bool) {
	var frame ethernet.Frame
	if err := frame.UnmarshalBinary(b); err != nil {
		return announce.MAC{}, false
	}
	if frame.EtherType == ethernet.EtherTypeARP {
		var p arp.Packet
		if p.UnmarshalBinary(frame.Payload) != nil || p.Operation != arp.OperationReply || p.SenderIP != address {
			return announce.MAC{}, false
		}
		return macOf(p.SenderHardwareAddr)
	}
	if frame.EtherType != ethernet.EtherTypeIPv6 || len(frame.Payload) <= ipv6HeaderLen ||
		frame.Payload[6] != protocolICMPv6 || frame.Payload[ipv6HeaderLen] != advertisement {
		return announce.MAC{}, false
	}
	message, err := ndp.ParseMessage(frame.Payload[ipv6HeaderLen:])
	if err != nil {
		return announce.MAC{}, false
	}
	na, ok := message.(*ndp.NeighborAdvertisement)
	if !ok || na.TargetAddress != address {
		return announce.MAC{}, false
	}
	for _, o := range na.Options {
		if ll, ok := o.(*ndp.LinkLayerAddress); ok && ll.Direction == ndp.Target {
			return macOf(ll.Addr)
		}
	}
	return macOf(frame.Source)
}

func macOf(a net.HardwareAddr) (announce.MAC, bool) {
	if len(a) != len(announce.MAC{}) {
		return announce.MAC{}, false
	}
	return announce.MAC(a), true
}
