package bench

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"

	"github.com/herald-lb/herald/pkg/announce"
)

var (
	clientMAC = announce.MAC{2, 0, 0, 0, 0, 1}
	nodeMAC   = announce.MAC{2, 0, 0, 0, 0, 2}
)

// arpAnswer is the reply to a question for an address.
func arpAnswer(t *testing.T, a netip.Addr) []byte {
	t.Helper()
	p, err := arp.NewPacket(arp.OperationReply, nodeMAC[:], a, clientMAC[:], netip.MustParseAddr("10.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return ethernetFrame(t, ethernet.EtherTypeARP, p.MarshalBinary)
}

// ndpAnswer is the advertisement of an address.
func ndpAnswer(t *testing.T, a netip.Addr) []byte {
	t.Helper()
	return ethernetFrame(t, ethernet.EtherTypeIPv6, func() ([]byte, error) {
		m, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
			Solicited: true, TargetAddress: a, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: nodeMAC[:]}},
		}, a, netip.MustParseAddr("fd00::1"))
		header := make([]byte, ipv6Len)
		header[0], header[6], header[7] = 0x60, 58, 255
		binary.BigEndian.PutUint16(header[4:], uint16(len(m)))
		return append(header, m...), err
	})
}

func ethernetFrame(t *testing.T, kind ethernet.EtherType, payload func() ([]byte, error)) []byte {
	t.Helper()
	b, err := payload()
	if err != nil {
		t.Fatal(err)
	}
	out, err := (&ethernet.Frame{Source: nodeMAC[:], Destination: clientMAC[:], EtherType: kind, Payload: b}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestQuestions(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")
	var f ethernet.Frame
	var p arp.Packet
	if err := f.UnmarshalBinary(arpQuestion(clientMAC, netip.MustParseAddr("10.0.0.1"), four)); err != nil {
		t.Fatal(err)
	}
	if err := p.UnmarshalBinary(f.Payload); err != nil {
		t.Fatal(err)
	}
	if p.Operation != arp.OperationRequest || p.TargetIP != four || announce.MAC(p.SenderHardwareAddr) != clientMAC || announce.MAC(f.Destination) != broadcast {
		t.Errorf("ARP question: %+v to %v", p, f.Destination)
	}
	b, err := ndpQuestion(clientMAC, netip.MustParseAddr("fd00::1"), six)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	m, err := ndp.ParseMessage(f.Payload[ipv6Len:])
	if err != nil {
		t.Fatal(err)
	}
	if ns, ok := m.(*ndp.NeighborSolicitation); !ok || ns.TargetAddress != six || f.Destination.String() != "33:33:ff:00:00:09" {
		t.Errorf("NDP question: %+v to %v", m, f.Destination)
	}
}

func TestAnswersFor(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("fd00::9")
	question6, err := ndpQuestion(clientMAC, netip.MustParseAddr("fd00::1"), six)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		target netip.Addr
		frame  []byte
		want   bool
	}{
		{"ARP reply", four, arpAnswer(t, four), true},
		{"ARP reply for another", four, arpAnswer(t, four.Next()), false},
		{"ARP question", four, arpQuestion(clientMAC, netip.MustParseAddr("10.0.0.1"), four), false},
		{"advertisement", six, ndpAnswer(t, six), true},
		{"advertisement of another", six, ndpAnswer(t, six.Next()), false},
		{"solicitation", six, question6, false},
		{"short", six, question6[:30], false},
	} {
		vm, err := bpf.NewVM(answersFor(tt.target))
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(tt.frame)
		if err != nil || n > 0 != tt.want {
			t.Errorf("%s: passes = %v, %v; want %v", tt.name, n > 0, err, tt.want)
		}
	}
}

func TestHostileFrames(t *testing.T) {
	for _, target := range []netip.Addr{netip.MustParseAddr("10.99.128.7"), netip.MustParseAddr("fd31::99:7")} {
		frames, err := hostileFrames(target)
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(answersFor(target))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if n, err := vm.Run(f); err != nil || n > 0 {
				t.Fatalf("flood for %v has an answer for it: %x", target, f)
			}
		}
	}
}
