package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/pkg/announce"
)

var broadcast = announce.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Where things are in frames.
const (
	etherLen     = 14
	arpLen       = 28
	arpOperation = etherLen + 6
	arpSenderMAC = etherLen + 8
	arpSenderIP  = etherLen + 14
	ipv6Len      = 40
	ipv6Next     = etherLen + 6
	icmpType     = etherLen + ipv6Len
	icmpTarget   = icmpType + 8

	arpRequest = 1
	arpReply   = 2
)

// arpQuestion is the broadcast that asks for an IPv4 address.
func arpQuestion(mac announce.MAC, from, target netip.Addr) []byte {
	b := make([]byte, 0, etherLen+arpLen)
	b = append(b, broadcast[:]...)
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, arpRequest)
	b = append(b, mac[:]...)
	b = append(b, from.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, target.AsSlice()...)
}

// ndpQuestion is the neighbour solicitation for an IPv6 address.
func ndpQuestion(mac announce.MAC, from, target netip.Addr) ([]byte, error) {
	group, err := ndp.SolicitedNodeMulticast(target)
	if err != nil {
		return nil, err
	}
	message, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac[:]}},
	}, from, group)
	if err != nil {
		return nil, err
	}
	g := group.As16()
	b := []byte{0x33, 0x33, g[12], g[13], g[14], g[15]}
	b = append(b, mac[:]...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IPV6)
	const version, hopLimit = 0x60, 255
	b = append(b, version, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	b = append(b, unix.IPPROTO_ICMPV6, hopLimit)
	b = append(b, from.AsSlice()...)
	b = append(b, g[:]...)
	return append(b, message...), nil
}

// question asks for an address of either family.
func question(mac announce.MAC, from, target netip.Addr) ([]byte, error) {
	if target.Is4() {
		return arpQuestion(mac, from, target), nil
	}
	return ndpQuestion(mac, from, target)
}

// answersFor passes the frames that answer a question for an address.
func answersFor(target netip.Addr) []bpf.Instruction {
	type want struct {
		offset uint32
		size   int
		value  uint32
	}
	var wants []want
	words := func(at int, b []byte) {
		for i := 0; i < len(b); i += 4 {
			wants = append(wants, want{uint32(at + i), 4, binary.BigEndian.Uint32(b[i:])})
		}
	}
	if target.Is4() {
		wants = []want{{arpOperation, 2, arpReply}}
		words(arpSenderIP, target.AsSlice())
	} else {
		const advertisement = 136
		wants = []want{{ipv6Next, 1, unix.IPPROTO_ICMPV6}, {icmpType, 1, advertisement}}
		words(icmpTarget, target.AsSlice())
	}
	var program []bpf.Instruction
	for i, w := range wants {
		refuse := 2*(len(wants)-i-1) + 1 // instructions to the end
		program = append(program, bpf.LoadAbsolute{Off: w.offset, Size: w.size}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: w.value, SkipTrue: uint8(refuse)})
	}
	const all = 1 << 16
	return append(program, bpf.RetConstant{Val: all}, bpf.RetConstant{Val: 0})
}

// hostileFrames are what a flood consists of, a quarter each: questions for the
// target, for addresses of the pool that nobody has, for addresses that are
// nobody's business, and questions that are broken. Their senders are invented.
func hostileFrames(target netip.Addr) ([][]byte, error) {
	random := rand.New(rand.NewPCG(1, 2))
	var frames [][]byte
	for i := range 2048 {
		mac := announce.MAC{0x06, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())}
		from, asked := near(target, random.Uint32()), target
		switch i % 4 {
		case 1:
			asked = near(target, 0xc000|random.Uint32())
		case 2:
			asked = elsewhere(from)
		}
		frame, err := question(mac, from, asked)
		if err != nil {
			return nil, err
		}
		if i%4 == 3 {
			frame[etherLen+1+random.IntN(len(frame)-etherLen-1)] ^= byte(1 + random.IntN(255))
		}
		frames = append(frames, frame)
	}
	return frames, nil
}

// near is an address in the prefix of another one, with the low two bytes of a
// number.
func near(a netip.Addr, low uint32) netip.Addr {
	b := a.AsSlice()
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(low))
	out, _ := netip.AddrFromSlice(b)
	return out
}

// elsewhere is an address of another prefix.
func elsewhere(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	b[1] ^= 1
	out, _ := netip.AddrFromSlice(b)
	return out
}
