package layer2

import (
	"encoding/binary"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	ethernetHeader = 14
	etherTypeIPv4  = 0x0800
	etherTypeARP   = 0x0806
	etherTypeIPv6  = 0x86dd

	// maxFrame holds every frame that is sent or judged; longer ones are cut
	// by the filter and then refused as malformed.
	maxFrame = 256
	// taggedFrame is what the filter leaves of a frame with a VLAN tag: enough
	// to count it.
	taggedFrame = 1
)

func broadcastMAC() announce.MAC { return announce.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }

// ethernet is the header of an untagged frame.
type ethernet struct {
	dst, src  announce.MAC
	etherType uint16
}

func parseEthernet(b []byte) (ethernet, bool) {
	if len(b) < ethernetHeader {
		return ethernet{}, false
	}
	return ethernet{
		dst:       announce.MAC(b[0:6]),
		src:       announce.MAC(b[6:12]),
		etherType: binary.BigEndian.Uint16(b[12:14]),
	}, true
}

func (e ethernet) append(b []byte) []byte {
	b = append(b, e.dst[:]...)
	b = append(b, e.src[:]...)
	return binary.BigEndian.AppendUint16(b, e.etherType)
}

// isUnicast reports whether m can be a host's own address.
func isUnicast(m announce.MAC) bool { return m[0]&1 == 0 && m != announce.MAC{} }

// malformed says why a frame was refused; it is a metric's label.
type malformed string

const (
	wellFormed    malformed = ""
	tooShort      malformed = "short"
	vlanTagged    malformed = "vlan" // of another LAN, on the same cable
	badEtherType  malformed = "ethertype"
	badHeader     malformed = "header"
	badOperation  malformed = "operation"
	badSender     malformed = "sender"
	spoofedSender malformed = "spoofed"
	badLength     malformed = "length"
	badHopLimit   malformed = "hop_limit"
	badChecksum   malformed = "checksum"
	badTarget     malformed = "target"
	badSource     malformed = "source"
	badOption     malformed = "option"
)

func malformedReasons() []malformed {
	return []malformed{tooShort, vlanTagged, badEtherType, badHeader, badOperation, badSender, spoofedSender, badLength,
		badHopLimit, badChecksum, badTarget, badSource, badOption}
}
