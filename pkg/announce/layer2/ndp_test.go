package layer2

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"github.com/herald-lb/herald/pkg/announce"
)

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ndFrame is a frame with a message that is changed after it was encoded, and
// given the right checksum again.
func ndFrame(src, dst netip.Addr, m ndp.Message, change func([]byte)) []byte {
	b := appendNeighbor(nil, ethernet{dst: multicastMAC(dst), src: macOf(clientHost)}, src, dst, m)
	if change != nil {
		change(b)
		body := b[ethernetHeader+ipv6Header:]
		body[2], body[3] = 0, 0
		binary.BigEndian.PutUint16(body[2:], checksum(b[ethernetHeader+8:ethernetHeader+40], body))
	}
	return b
}

func source(mac announce.MAC) []ndp.Option {
	return []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac[:]}}
}

func target(mac announce.MAC) []ndp.Option {
	return []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}}
}

func TestParseNeighborRefuses(t *testing.T) {
	client := linkOf(clientHost).LinkLocal
	group := solicitedNode(vip6)
	none := netip.IPv6Unspecified()
	ns := &ndp.NeighborSolicitation{TargetAddress: vip6, Options: source(macOf(clientHost))}
	bare := &ndp.NeighborSolicitation{TargetAddress: vip6}
	na := &ndp.NeighborAdvertisement{TargetAddress: vip6, Options: target(macOf(clientHost))}
	whole := ndFrame(client, group, ns, nil)
	tests := []struct {
		name  string
		frame []byte
		want  malformed
	}{
		{"a solicitation", whole, wellFormed},
		{"without source link-layer address", ndFrame(client, group, bare, nil), wellFormed},
		{"to the address itself", ndFrame(client, vip6, ns, nil), wellFormed},
		{"duplicate address detection", ndFrame(none, group, bare, nil), wellFormed},
		{"an advertisement", ndFrame(client, allNodes(), na, nil), wellFormed},
		{"padding behind the packet", append(ndFrame(client, group, ns, nil), 0, 0, 0, 0), wellFormed},
		{"cut", whole[:60], tooShort},
		{"cut in the option", whole[:len(whole)-1], badLength},
		{"longer than it is", ndFrame(client, group, ns, func(b []byte) { b[19] = 0xff }), badLength},
		{"IPv4", ndFrame(client, group, ns, func(b []byte) { b[14] = 0x45 }), badHeader},
		{"another protocol", ndFrame(client, group, ns, func(b []byte) { b[20] = 17 }), badHeader},
		{"an extension header", ndFrame(client, group, ns, func(b []byte) { b[20] = 0 }), badHeader},
		{"from beyond a router", ndFrame(client, group, ns, func(b []byte) { b[21] = 254 }), badHopLimit},
		{"another message", ndFrame(client, group, ns, func(b []byte) { b[54] = 133 }), badOperation},
		{"a code", ndFrame(client, group, ns, func(b []byte) { b[55] = 1 }), badOperation},
		{"a wrong checksum", func() []byte { b := ndFrame(client, group, ns, nil); b[57]++; return b }(), badChecksum},
		{"an option of length 0", ndFrame(client, group, ns, func(b []byte) { b[79] = 0 }), badOption},
		{"an option longer than the message", ndFrame(client, group, ns, func(b []byte) { b[79] = 9 }), badOption},
		{"duplicate detection sent to all nodes", ndFrame(none, allNodes(), bare, nil), badSource},
		{"duplicate detection with a link-layer address", ndFrame(none, group, ns, nil), badSource},
		{"a multicast source", ndFrame(client, group, ns, func(b []byte) { b[22] = 0xff }), badSource},
		{"an advertisement from nobody", ndFrame(none, allNodes(), na, nil), badSource},
		{"an advertisement to all that was solicited", ndFrame(client, allNodes(), na, func(b []byte) { b[58] |= 0x40 }), badSource},
		{"a multicast target", ndFrame(client, group, ns, func(b []byte) { b[62] = 0xff }), badTarget},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := parseNeighbor(tt.frame[ethernetHeader:]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNeighborFrames fixes what is sent: flags, hop limit, groups and options.
func TestNeighborFrames(t *testing.T) {
	l := linkOf(1)
	const (
		node    = "fe80000000000000 0000000000000001"
		client  = "fe80000000000000 0000000000000101"
		vip     = "fd09000000000000 0000000000000200"
		all     = "ff02000000000000 0000000000000001"
		group   = "ff02000000000000 00000001ff000200"
		nobody  = "0000000000000000 0000000000000000"
		macOpt  = "0201 020000000001"
		na      = "020000000001 86dd 60000000 0020 3a ff "
		ns      = "020000000001 86dd 60000000 0018 3a ff "
		toAll   = "333300000001 "
		toGroup = "3333ff000200 "
	)
	ask := neighbor{src: netip.MustParseAddr("fe80::101"), dst: solicitedNode(vip6), target: vip6}
	tests := []struct {
		name string
		got  []byte
		want string // without checksum
	}{
		{"reply: solicited, override", neighborReply(nil, l, macOf(clientHost), ask),
			"020000000065 " + na + node + client + "8800 0000 60000000" + vip + macOpt},
		{"reply to duplicate detection: to all, override", neighborReply(nil, l, macOf(clientHost), neighbor{src: netip.IPv6Unspecified(), target: vip6}),
			toAll + na + node + all + "8800 0000 20000000" + vip + macOpt},
		{"announcement: to all, override", neighborAnnounce(nil, l, vip6),
			toAll + na + node + all + "8800 0000 20000000" + vip + macOpt},
		{"probe: as duplicate detection", neighborProbe(nil, l.MAC, vip6),
			toGroup + ns + nobody + group + "8700 0000 00000000" + vip},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, reason := parseNeighbor(tt.got[ethernetHeader:]); reason != wellFormed {
				t.Errorf("refused by the own parser: %s", reason)
			}
			tt.got[56], tt.got[57] = 0, 0
			if diff := cmp.Diff(fromHex(t, tt.want), tt.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingIsSentWithoutLinkLocalAddress(t *testing.T) {
	l := linkOf(1)
	l.LinkLocal = netip.Addr{}
	if b := neighborAnnounce(nil, l, vip6); len(b) != 0 {
		t.Errorf("%x", b)
	}
}

func FuzzNeighbor(f *testing.F) {
	client := linkOf(clientHost).LinkLocal
	f.Add(neighborAsk(linkOf(clientHost), vip6)[ethernetHeader:])
	f.Add(neighborProbe(nil, macOf(1), vip6)[ethernetHeader:])
	f.Add(neighborAnnounce(nil, linkOf(1), vip6)[ethernetHeader:])
	f.Add(ndFrame(client, solicitedNode(vip6), &ndp.NeighborSolicitation{TargetAddress: vip6}, func(b []byte) { b[21] = 1 })[ethernetHeader:])
	f.Fuzz(func(t *testing.T, b []byte) {
		// A mutation seldom keeps the checksum right; help it.
		if len(b) >= ipv6Header+neighborLength {
			if n := int(binary.BigEndian.Uint16(b[4:6])); n >= 4 && ipv6Header+n <= len(b) {
				body := b[ipv6Header : ipv6Header+n]
				body[2], body[3] = 0, 0
				binary.BigEndian.PutUint16(body[2:], checksum(b[8:40], body))
			}
		}
		n, reason := parseNeighbor(b)
		if reason != wellFormed {
			return
		}
		if b[7] != 255 || n.target.IsMulticast() || n.src.IsMulticast() || n.src.IsUnspecified() && n.dst != solicitedNode(n.target) {
			t.Errorf("accepted %x as %+v", b, n)
		}
	})
}
