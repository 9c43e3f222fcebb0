package layer2

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/announce"
)

// tcpFrame is a TCP packet, as far as it is read, to port 80 of an address. An
// IPv4 client's address is mapped where the packet is one of IPv6.
func tcpFrame(src, dst announce.MAC, from netip.AddrPort, to netip.Addr, flags byte) []byte {
	tcp := binary.BigEndian.AppendUint16(nil, from.Port())
	tcp = binary.BigEndian.AppendUint16(tcp, 80)
	tcp = append(tcp, make([]byte, 16)...)
	tcp[12], tcp[tcpFlags] = 5<<4, flags
	e := ethernet{dst: dst, src: src, etherType: etherTypeIPv4}
	if to.Is6() {
		e.etherType = etherTypeIPv6
		b := append(e.append(nil), 0x60, 0, 0, 0, 0, byte(len(tcp)), protocolTCP, 64)
		source, target := from.Addr().As16(), to.As16()
		return append(append(append(b, source[:]...), target[:]...), tcp...)
	}
	b := append(e.append(nil), 0x45, 0, 0, byte(ipv4Header+len(tcp)), 0, 0, 0, 0, 64, protocolTCP, 0, 0)
	source, target := from.Addr().As4(), to.As4()
	b = append(append(b, source[:]...), target[:]...)
	var sum uint32 // without it bridges drop the packet
	for i := ethernetHeader; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	binary.BigEndian.PutUint16(b[ethernetHeader+10:], ^uint16(sum+sum>>16))
	return append(b, tcp...)
}

func TestParsePacket(t *testing.T) {
	client4, client6 := netip.MustParseAddrPort("10.9.0.101:40000"), netip.MustParseAddrPort("[fd09::101]:40000")
	frame := func(client netip.AddrPort, to netip.Addr, change func(b []byte) []byte) []byte {
		return change(tcpFrame(macOf(clientHost), macOf(1), client, to, flagSYN))
	}
	same := func(b []byte) []byte { return b }
	tests := []struct {
		name  string
		frame []byte
		want  ipPacket
		ok    bool
	}{
		{"IPv4", frame(client4, vip4, same), ipPacket{vip4, connection{client4, 80}, flagSYN}, true},
		{"IPv6", frame(client6, vip6, same), ipPacket{vip6, connection{client6, 80}, flagSYN}, true},
		{"IPv4 with options", frame(client4, vip4, func(b []byte) []byte {
			b[ethernetHeader] = 0x46
			return append(b[:ethernetHeader+ipv4Header:ethernetHeader+ipv4Header], append([]byte{1, 1, 1, 1}, b[ethernetHeader+ipv4Header:]...)...)
		}), ipPacket{vip4, connection{client4, 80}, flagSYN}, true},
		{"UDP", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader+9] = 17; return b }), ipPacket{to: vip4}, true},
		{"the first fragment", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader+6] = 0x20; return b }), ipPacket{to: vip4}, true},
		{"another fragment", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader+7] = 9; return b }), ipPacket{to: vip4}, true},
		{"don't fragment", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader+6] = 0x40; return b }), ipPacket{vip4, connection{client4, 80}, flagSYN}, true},
		{"an extension header", frame(client6, vip6, func(b []byte) []byte { b[ethernetHeader+6] = 44; return b }), ipPacket{to: vip6}, true},
		{"TCP cut short", frame(client4, vip4, func(b []byte) []byte { return b[:len(b)-8] }), ipPacket{to: vip4}, true},
		{"options cut short", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader] = 0x4f; return b[:40] }), ipPacket{to: vip4}, true},
		{"a header too short to be one", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader] = 0x44; return b }), ipPacket{to: vip4}, true},
		{"another version", frame(client4, vip4, func(b []byte) []byte { b[ethernetHeader] = 0x65; return b }), ipPacket{}, false},
		{"IPv4 cut short", frame(client4, vip4, func(b []byte) []byte { return b[:ethernetHeader+19] }), ipPacket{}, false},
		{"IPv6 cut short", frame(client6, vip6, func(b []byte) []byte { return b[:ethernetHeader+39] }), ipPacket{}, false},
		{"no frame", nil, ipPacket{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := parsePacket(tt.frame)
			if got != tt.want || ok != tt.ok {
				t.Errorf("%+v %v, want %+v %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func FuzzParsePacket(f *testing.F) {
	f.Add(tcpFrame(macOf(clientHost), macOf(1), netip.MustParseAddrPort("10.9.0.101:40000"), vip4, flagSYN))
	f.Add(tcpFrame(macOf(clientHost), macOf(1), netip.MustParseAddrPort("[fd09::101]:40000"), vip6, flagFIN))
	f.Fuzz(func(t *testing.T, frame []byte) {
		p, ok := parsePacket(frame)
		if ok != p.to.IsValid() {
			t.Errorf("%v: %+v", ok, p)
		}
		if c := p.connection; c != (connection{}) && c.from.Addr().Is4() != p.to.Is4() {
			t.Errorf("both families: %+v", p)
		}
	})
}

func TestTrafficRests(t *testing.T) {
	const ms = time.Millisecond
	type seen struct {
		at     time.Duration
		client int // 0: not TCP
		flags  byte
	}
	tests := []struct {
		name    string
		packets []seen
		now     time.Duration
		want    time.Duration // negative: any that isn't later than now
	}{
		{"nothing seen yet: an answer may be long in coming", nil, 10 * ms, 100 * ms},
		{"nothing at all", nil, 300 * ms, -1},
		{"nothing for a while", []seen{{250 * ms, 0, 0}}, 300 * ms, 252 * ms},
		{"it rests, but may not for long", []seen{{297 * ms, 0, 0}}, 300 * ms, 302 * ms},
		{"datagrams", []seen{{299 * ms, 0, 0}}, 300 * ms, 301 * ms},
		{"a connection is open", []seen{{250 * ms, 1, flagSYN}}, 300 * ms, 302 * ms},
		{"one of before is open", []seen{{250 * ms, 1, 0}}, 300 * ms, 302 * ms},
		{"ended by the client", []seen{{250 * ms, 1, flagSYN}, {251 * ms, 1, flagFIN}}, 253 * ms, 253 * ms},
		{"the last acknowledgement follows", []seen{{250 * ms, 1, flagSYN}, {251 * ms, 1, flagFIN}, {252 * ms, 1, 0}}, 253 * ms, 254 * ms},
		{"reset by the client", []seen{{250 * ms, 1, flagSYN}, {251 * ms, 1, flagRST}}, 253 * ms, 253 * ms},
		{"another one is open", []seen{{250 * ms, 1, flagSYN}, {250 * ms, 2, flagSYN}, {251 * ms, 1, flagFIN}}, 300 * ms, 302 * ms},
		{"the same port anew", []seen{{250 * ms, 1, flagFIN}, {251 * ms, 1, flagSYN}}, 300 * ms, 302 * ms},
		{"idle for long", []seen{{100 * ms, 1, flagSYN}}, 300 * ms, 102 * ms},
		{"known only later", []seen{{50 * ms, 1, flagFIN}}, 60 * ms, 100 * ms},
		{"known only later, and not over", []seen{{99 * ms, 1, flagFIN}}, 99 * ms, 101 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Unix(1000, 0)
			tr := traffic{since: start, connections: make(map[connection]progress)}
			for _, s := range tt.packets {
				p := ipPacket{to: vip4, flags: s.flags}
				if s.client > 0 {
					p.connection = connection{netip.AddrPortFrom(clientIP, uint16(s.client)), 80}
				}
				tr.saw(start.Add(s.at), p)
			}
			got := tr.rest(start.Add(tt.now))
			if tt.want < 0 && got.After(start.Add(tt.now)) || tt.want >= 0 && got != start.Add(tt.want) {
				t.Errorf("rests at %v, want %v", got.Sub(start), tt.want)
			}
		})
	}
}

// TestTrafficIsBounded: whatever comes, little is kept, and what is asked for
// is never earlier than the last packet allows.
func TestTrafficIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1000, 0)
		tr := traffic{since: now, connections: make(map[connection]progress)}
		for range rapid.IntRange(1, 1000).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "gap")) * time.Microsecond)
			c := connection{netip.AddrPortFrom(clientIP, rapid.Uint16().Draw(t, "port")), 80}
			tr.saw(now, ipPacket{vip4, c, rapid.Byte().Draw(t, "flags")})
			if got := tr.rest(now); got.Before(now.Add(restAfter)) {
				t.Fatalf("rests at once after a packet")
			}
			if len(tr.connections) > maxConnections {
				t.Fatalf("%d connections kept", len(tr.connections))
			}
		}
		for _, p := range tr.connections {
			now = later(now, p.last)
		}
		now = now.Add(watchBefore + connectionIdle)
		if got := tr.rest(now); got.After(now) || len(tr.connections) > 0 {
			t.Fatalf("%d connections kept, rests %v later", len(tr.connections), got.Sub(now))
		}
	})
}

// TestTrafficSocket: of all that comes in, only packets to the ranges are read.
func TestTrafficSocket(t *testing.T) {
	b := real(t, 1)
	for _, own := range vips {
		f := FamilyOf(own)
		w, err := inHost{b.hosts[1], Sockets{}}.OpenTraffic(b.nodes[1].link, f, []Range{rangeOf(only(own.Prev()))})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.SetRanges([]Range{rangeOf(only(own))}); err != nil {
			t.Fatal(err)
		}
		send := func(change func(frame []byte) []byte) {
			frame := tcpFrame(macOf(clientHost), macOf(1), netip.AddrPortFrom(clientIP, 40000), own, flagSYN)
			b.client.send(change(frame))
		}
		destination := map[Family]int{IPv4: 30 + 3, IPv6: 50 + 3}[f]
		other := func(b []byte) []byte { b[destination]--; b[destination-4]++; return b } // and the checksum stays right
		send(other)
		send(func(b []byte) []byte { b[5] = 77; return b }) // another host's MAC
		send(func(b []byte) []byte {
			return append(append(append([]byte(nil), b[:12]...), 0x81, 0, 0, 7), b[12:]...)
		})
		send(func(b []byte) []byte { b[len(b)-20+tcpFlags] = flagFIN; return b })
		in := make([]byte, maxFrame)
		n, err := w.ReadFrame(in)
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := parsePacket(in[:n]); !ok || p.to != own || p.flags != flagFIN {
			t.Errorf("read %+v first", p)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
