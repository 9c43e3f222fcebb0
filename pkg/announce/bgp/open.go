package bgp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Capability codes (RFC 5492) that the guard knows. All others are left out of
// an OPEN, in both directions.
const (
	capMultiprotocol   = 1  // RFC 4760
	capRouteRefresh    = 2  // RFC 2918
	capExtendedNextHop = 5  // RFC 8950
	capGracefulRestart = 64 // RFC 4724, RFC 8538
	capFourOctetASN    = 65 // RFC 6793
)

// Flags of the graceful restart capability.
const (
	restartState        = 0x8 // R: the speaker has restarted
	restartNotification = 0x4 // N: NOTIFICATIONs restart gracefully, too (RFC 8538)
	forwardingPreserved = 0x80
)

const (
	openFixed     = 10 // bytes of an OPEN before its optional parameters
	paramCaps     = 2
	paramExtended = 255 // RFC 9072
	afiIPv4       = 1
	afiIPv6       = 2
	safiUnicast   = 1
)

// open is what Herald wants to know of an OPEN message: everything else in it
// is lost between decodeOpen and encode, by intent.
type open struct {
	version  byte
	asn      uint16 // as in the fixed part: AS_TRANS when the real one does not fit
	holdTime uint16 // seconds
	routerID [4]byte

	multiprotocol bool // any family was named at all
	ipv4, ipv6    bool // unicast
	refresh       bool
	extNextHop    bool // IPv4 unicast with an IPv6 next hop
	asn4          uint32
	hasASN4       bool

	restart restart
}

// restart is the graceful restart capability.
type restart struct {
	offered            bool
	flags              byte   // R and N
	seconds            uint16 // 12 bits
	ipv4, ipv6         bool   // families it covers
	forward4, forward6 bool   // F bit of each
}

// ASN is the number of the speaker's autonomous system.
func (o *open) ASN() uint32 {
	if o.hasASN4 {
		return o.asn4
	}
	return uint32(o.asn)
}

// RouterID is the speaker's BGP identifier.
func (o *open) RouterID() netip.Addr { return netip.AddrFrom4(o.routerID) }

// decodeOpen reads the body of an OPEN message.
func decodeOpen(body []byte) (*open, error) {
	if len(body) < openFixed {
		return nil, &protocolError{errHeader, 2, fmt.Sprintf("an OPEN of %d bytes", headerLen+len(body))}
	}
	o := &open{
		version:  body[0],
		asn:      binary.BigEndian.Uint16(body[1:]),
		holdTime: binary.BigEndian.Uint16(body[3:]),
		routerID: [4]byte(body[5:9]),
	}
	params, width, ok := openParams(body)
	if !ok {
		return nil, malformedOpen()
	}
	for len(params) > 0 {
		kind, value, rest, ok := nextParam(params, width)
		if !ok {
			return nil, malformedOpen()
		}
		if kind == paramCaps && !o.capabilities(value) {
			return nil, malformedOpen()
		}
		params = rest
	}
	if o.multiprotocol && !o.ipv4 && !o.ipv6 {
		return nil, &protocolError{errOpen, 7, "an OPEN without IPv4 or IPv6 unicast"}
	}
	return o, nil
}

func malformedOpen() error {
	return &protocolError{errOpen, 0, "an OPEN whose parameters do not fit its length"}
}

// openParams returns the optional parameters of an OPEN and the size of the
// length field in each of them.
func openParams(body []byte) (params []byte, width int, ok bool) {
	n := int(body[9])
	params = body[openFixed:]
	if n == paramExtended && len(params) >= 3 && params[0] == paramExtended {
		n, params = int(binary.BigEndian.Uint16(params[1:])), params[3:]
		return params, 2, n == len(params)
	}
	return params, 1, n == len(params)
}

// nextParam splits the first parameter, or capability, off b.
func nextParam(b []byte, width int) (kind byte, value, rest []byte, ok bool) {
	if len(b) < 1+width {
		return 0, nil, nil, false
	}
	n := int(b[1])
	if width == 2 {
		n = int(binary.BigEndian.Uint16(b[1:]))
	}
	value = b[1+width:]
	if len(value) < n {
		return 0, nil, nil, false
	}
	return b[0], value[:n], value[n:], true
}

// capabilities notes the ones it knows. One of a wrong size is skipped, as if
// its sender had not offered it; false means that the list does not add up.
func (o *open) capabilities(list []byte) bool {
	for len(list) > 0 {
		code, v, rest, ok := nextParam(list, 1)
		if !ok {
			return false
		}
		switch {
		case code == capMultiprotocol && len(v) == 4:
			o.multiprotocol = true
			setFamily(v[:2], v[3], &o.ipv4, &o.ipv6)
		case code == capRouteRefresh && len(v) == 0:
			o.refresh = true
		case code == capExtendedNextHop && len(v)%6 == 0:
			for ; len(v) > 0; v = v[6:] {
				o.extNextHop = o.extNextHop || [6]byte(v) == extendedNextHop
			}
		case code == capFourOctetASN && len(v) == 4:
			o.hasASN4, o.asn4 = true, binary.BigEndian.Uint32(v)
		case code == capGracefulRestart && len(v) >= 2 && len(v)%4 == 2:
			o.restart.decode(v)
		}
		list = rest
	}
	return true
}

var extendedNextHop = [6]byte{0, afiIPv4, 0, safiUnicast, 0, afiIPv6}

// setFamily sets the one of its flags that AFI and SAFI name, if any.
func setFamily(afi []byte, safi byte, ipv4, ipv6 *bool) {
	if safi != safiUnicast {
		return
	}
	switch binary.BigEndian.Uint16(afi) {
	case afiIPv4:
		*ipv4 = true
	case afiIPv6:
		*ipv6 = true
	}
}

func (r *restart) decode(v []byte) {
	*r = restart{offered: true, flags: v[0] >> 4, seconds: binary.BigEndian.Uint16(v) & 0xfff}
	for v = v[2:]; len(v) > 0; v = v[4:] {
		var is4, is6 bool
		setFamily(v[:2], v[2], &is4, &is6)
		r.ipv4, r.ipv6 = r.ipv4 || is4, r.ipv6 || is6
		kept := v[3]&forwardingPreserved != 0
		r.forward4, r.forward6 = r.forward4 || is4 && kept, r.forward6 || is6 && kept
	}
}

func (r *restart) encode() []byte {
	v := binary.BigEndian.AppendUint16(nil, uint16(r.flags&0xf)<<12|r.seconds&0xfff)
	add := func(afi byte, kept bool) {
		flags := byte(0)
		if kept {
			flags = forwardingPreserved
		}
		v = append(v, 0, afi, safiUnicast, flags)
	}
	if r.ipv4 {
		add(afiIPv4, r.forward4)
	}
	if r.ipv6 {
		add(afiIPv6, r.forward6)
	}
	return v
}

// encode returns a whole OPEN message.
func (o *open) encode() []byte {
	var caps []byte
	add := func(code byte, v ...byte) { caps = append(append(caps, code, byte(len(v))), v...) }
	if o.ipv4 {
		add(capMultiprotocol, 0, afiIPv4, 0, safiUnicast)
	}
	if o.ipv6 {
		add(capMultiprotocol, 0, afiIPv6, 0, safiUnicast)
	}
	if o.refresh {
		add(capRouteRefresh)
	}
	if o.extNextHop {
		add(capExtendedNextHop, extendedNextHop[:]...)
	}
	if o.restart.offered {
		add(capGracefulRestart, o.restart.encode()...)
	}
	if o.hasASN4 {
		add(capFourOctetASN, binary.BigEndian.AppendUint32(nil, o.asn4)...)
	}
	body := []byte{o.version}
	body = binary.BigEndian.AppendUint16(body, o.asn)
	body = binary.BigEndian.AppendUint16(body, o.holdTime)
	body = append(body, o.routerID[:]...)
	if len(caps) == 0 {
		return message(typeOpen, append(body, 0)...)
	}
	body = append(body, byte(2+len(caps)), paramCaps, byte(len(caps)))
	return message(typeOpen, append(body, caps...)...)
}
