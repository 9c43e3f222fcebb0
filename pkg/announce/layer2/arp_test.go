package layer2

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// arpFrame is a client's request for vip4, to be changed byte by byte.
func arpFrame(change func([]byte)) []byte {
	b := arpPacket{op: 1, senderMAC: macOf(clientHost), senderIP: clientIP, targetIP: vip4}.appendTo(nil, broadcastMAC())
	if change != nil {
		change(b)
	}
	return b
}

func TestParseARPRefuses(t *testing.T) {
	tests := []struct {
		name  string
		frame []byte
		want  malformed
	}{
		{"a request", arpFrame(nil), wellFormed},
		{"padding", append(arpFrame(nil), make([]byte, 18)...), wellFormed},
		{"nothing", arpFrame(nil)[:14], tooShort},
		{"cut", arpFrame(nil)[:41], tooShort},
		{"another hardware type", arpFrame(func(b []byte) { b[15] = 6 }), badHeader},
		{"another protocol", arpFrame(func(b []byte) { b[16], b[17] = 0x86, 0xdd }), badHeader},
		{"no hardware address", arpFrame(func(b []byte) { b[18] = 0 }), badHeader},
		{"hardware addresses of 120 bytes, whose length overflows", arpFrame(func(b []byte) { b[18] = 120 }), badHeader},
		{"addresses of 16 bytes, which the encoder panics on", arpFrame(func(b []byte) { b[19] = 16 }), badHeader},
		{"addresses of 3 bytes", arpFrame(func(b []byte) { b[19] = 3 }), badHeader},
		{"operation 0", arpFrame(func(b []byte) { b[21] = 0 }), badOperation},
		{"RARP", arpFrame(func(b []byte) { b[21] = 3 }), badOperation},
		{"operation 65535", arpFrame(func(b []byte) { b[20], b[21] = 0xff, 0xff }), badOperation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := parseARP(tt.frame[ethernetHeader:]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestARPFrames fixes what is sent to the last byte: the caches of the LAN's
// hosts take some forms and not others.
func TestARPFrames(t *testing.T) {
	mac := macOf(1)
	ask := arpPacket{op: 1, senderMAC: macOf(clientHost), senderIP: clientIP, targetIP: vip4}
	tests := []struct {
		name string
		got  []byte
		want string
	}{
		{
			"gratuitous request", arpAnnounceRequest(nil, mac, vip4),
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a0900c8 000000000000 0a0900c8",
		},
		{
			"gratuitous reply, with the sender's MAC as target", arpAnnounceReply(nil, mac, vip4),
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0002 020000000001 0a0900c8 020000000001 0a0900c8",
		},
		{
			"probe", arpProbe(nil, mac, vip4),
			"ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 00000000 000000000000 0a0900c8",
		},
		{
			"reply", arpReply(nil, mac, ask),
			"020000000065 020000000001 0806 0001 0800 06 04 0002 020000000001 0a0900c8 020000000065 0a090065",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(fromHex(t, tt.want), tt.got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestARPOfOtherFamilyIsNotSent(t *testing.T) {
	for _, a := range []netip.Addr{vip6, {}, netip.MustParseAddr("::ffff:10.9.0.200")} {
		if b := arpAnnounceRequest(nil, macOf(1), a); len(b) != 0 {
			t.Errorf("%s: %x", a, b)
		}
	}
}

func FuzzARP(f *testing.F) {
	f.Add(arpFrame(nil)[ethernetHeader:])
	f.Add(arpAnnounceReply(nil, macOf(1), vip4)[ethernetHeader:])
	f.Add(arpFrame(func(b []byte) { b[19] = 16 })[ethernetHeader:])
	f.Add(append(arpFrame(func(b []byte) { b[18] = 120 })[ethernetHeader:], make([]byte, 300)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, reason := parseARP(b)
		if reason != wellFormed {
			return
		}
		if got := p.appendTo(nil, broadcastMAC())[ethernetHeader:]; !bytes.Equal(got, b[:arpLength]) {
			t.Errorf("%x became %x", b[:arpLength], got)
		}
	})
}
