package layer2

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Times of an address's traffic.
const (
	watchBefore    = 100 * time.Millisecond // until what isn't seen is taken not to be there
	restAfter      = 2 * time.Millisecond   // without a packet
	restFor        = time.Millisecond       // that long it is likely to last
	rareAfter      = 50 * time.Millisecond  // without a packet: the next one may come at any moment
	connectionIdle = 200 * time.Millisecond // without a packet: not counted as open any longer
)

// maxConnections bounds what is kept of one address's connections.
const maxConnections = 128

const (
	protocolTCP = 6
	ipv4Header  = 20 // without options
	tcpFlags    = 13 // offset in the TCP header

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
)

// ipPacket is what matters of an IP packet to an address that is handed over.
type ipPacket struct {
	to         netip.Addr
	connection connection // zero unless TCP
	flags      byte       // TCP's
}

// connection is a TCP connection to an address.
type connection struct {
	from netip.AddrPort
	port uint16
}

// parsePacket reads the beginning of a frame with an IP packet. Of a fragment
// and of a packet with extension headers only the destination is read.
func parsePacket(frame []byte) (ipPacket, bool) {
	e, ok := parseEthernet(frame)
	if !ok {
		return ipPacket{}, false
	}
	b := frame[ethernetHeader:]
	switch {
	case e.etherType == etherTypeIPv4 && len(b) >= ipv4Header && b[0]>>4 == 4:
		header := int(b[0]&0xf) * 4
		from, to := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		whole := binary.BigEndian.Uint16(b[6:8])&0x3fff == 0
		if b[9] != protocolTCP || !whole || header < ipv4Header {
			return ipPacket{to: to}, true
		}
		return tcpPacket(from, to, b[min(header, len(b)):]), true
	case e.etherType == etherTypeIPv6 && len(b) >= ipv6Header && b[0]>>4 == 6:
		from, to := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		if b[6] != protocolTCP {
			return ipPacket{to: to}, true
		}
		return tcpPacket(from, to, b[ipv6Header:]), true
	}
	return ipPacket{}, false
}

func tcpPacket(from, to netip.Addr, b []byte) ipPacket {
	p := ipPacket{to: to}
	if len(b) > tcpFlags {
		p.connection = connection{
			from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(b[0:2])),
			port: binary.BigEndian.Uint16(b[2:4]),
		}
		p.flags = b[tcpFlags]
	}
	return p
}

// traffic is what is known of the traffic of one address since it is watched.
type traffic struct {
	since, last time.Time // of watching; of the last packet
	connections map[connection]progress
}

// progress is how far a connection is.
type progress struct {
	last  time.Time // its last packet
	ended bool      // the client has said that it is through
}

// saw takes in a packet.
func (t *traffic) saw(now time.Time, p ipPacket) {
	t.last = now
	if p.connection == (connection{}) {
		return
	}
	before, known := t.connections[p.connection]
	if !known && len(t.connections) >= maxConnections {
		t.forget(now)
		if len(t.connections) >= maxConnections {
			return
		}
	}
	// What follows an end, such as the last acknowledgement, is part of it.
	ended := p.flags&(flagFIN|flagRST) != 0 || before.ended && p.flags&flagSYN == 0
	t.connections[p.connection] = progress{last: now, ended: ended}
}

// forget drops the connections that have been idle.
func (t *traffic) forget(now time.Time) {
	for c, p := range t.connections {
		if now.Sub(p.last) >= connectionIdle {
			delete(t.connections, c)
		}
	}
}

// rest returns when the address's traffic rests unless more of it comes: no
// connection is open, and nothing came for a moment. If that can't be told yet it
// returns when to look again. The beginning of a rest is its best moment, because
// clients that wait for an answer do something with it before they ask again.
func (t *traffic) rest(now time.Time) time.Time {
	t.forget(now)
	for _, p := range t.connections {
		if !p.ended {
			return now.Add(restAfter)
		}
	}
	begins := t.last.Add(restAfter)
	if known := t.since.Add(watchBefore); known.After(now) {
		return later(known, begins)
	}
	if now.Sub(begins) >= restFor && now.Sub(t.last) < rareAfter {
		return now.Add(restAfter)
	}
	return begins
}
