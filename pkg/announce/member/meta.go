package member

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/herald-lb/herald/pkg/announce"
)

// Metadata is what a member says of itself, in at most 512 bytes:
//
//	version 1 · flags 1 · session 8 · configuration 8 ·
//	number of keys 1 · index of the primary 1 · ids of the keys 8 each ·
//	number of links 1 · links
//
// and a link is
//
//	length of name 1 · name · MAC 6 · flags 1 · number of prefixes 1 · prefixes
//
// and a prefix is its length in bits, plus 64 for IPv6, in one byte, and as
// many bytes of the address as these bits need. What follows is a later
// version's and is passed over; a change of what is here changes the version.
const (
	metaVersion = 1
	metaMax     = 512 // memberlist panics beyond it

	metaReady    = 1 << 0
	metaDraining = 1 << 1

	linkDefault4 = 1 << 0
	linkDefault6 = 1 << 1

	maxLinkName = 15 // IFNAMSIZ less the terminating zero
	v6Offset    = 64
)

// meta is the metadata of a member.
type meta struct {
	session  session
	ready    bool
	draining bool
	config   [8]byte
	keys     shownKeys
	links    []announce.Link // without Index and LinkLocal
}

var errMeta = errors.New("malformed metadata")

// encode returns the metadata, and how many links there was no room for.
func (m meta) encode() (b []byte, left int) {
	var flags byte
	if m.ready {
		flags |= metaReady
	}
	if m.draining {
		flags |= metaDraining
	}
	b = append(make([]byte, 0, metaMax), metaVersion, flags)
	b = binary.BigEndian.AppendUint64(b, uint64(m.session))
	b = append(b, m.config[:]...)
	held := m.keys.held[:min(len(m.keys.held), maxKeys)]
	primary := 0
	for i, id := range held {
		if id == m.keys.primary {
			primary = i
		}
	}
	b = append(b, byte(len(held)), byte(primary))
	for _, id := range held {
		b = append(b, id[:]...)
	}
	count := len(b)
	b = append(b, 0)
	for _, l := range m.links {
		next, ok := appendLink(b, l)
		if !ok || len(next) > metaMax || b[count] == 255 {
			left++
			continue
		}
		b = next
		b[count]++
	}
	return b, left
}

func appendLink(b []byte, l announce.Link) ([]byte, bool) {
	if !validLinkName(l.Name) || len(l.Prefixes) > 255 {
		return b, false
	}
	var flags byte
	if l.Default4 {
		flags |= linkDefault4
	}
	if l.Default6 {
		flags |= linkDefault6
	}
	b = append(append(b, byte(len(l.Name))), l.Name...)
	b = append(append(b, l.MAC[:]...), flags, byte(len(l.Prefixes)))
	for _, p := range l.Prefixes {
		p = p.Masked()
		if !p.IsValid() || p.Addr().Is4In6() {
			return b, false
		}
		bits := byte(p.Bits())
		if p.Addr().Is6() {
			bits += v6Offset
		}
		b = append(b, bits)
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b, true
}

// decodeMeta reads a member's metadata, of which nothing is believed
// unchecked. A member whose metadata can't be read is alive and nothing more.
func decodeMeta(b []byte) (meta, error) {
	r := reader{b: b}
	if v := r.byte(); v != metaVersion {
		if len(b) == 0 {
			return meta{}, errMeta
		}
		return meta{}, fmt.Errorf("metadata of version %d, this announcer reads version %d: update the older of the two", v, metaVersion)
	}
	flags := r.byte()
	m := meta{ready: flags&metaReady != 0, draining: flags&metaDraining != 0}
	m.session = session(r.uint64())
	copy(m.config[:], r.take(8))
	keys, primary := int(r.byte()), int(r.byte())
	if keys == 0 || keys > maxKeys || primary >= keys {
		return meta{}, errMeta
	}
	for range keys {
		var id keyID
		copy(id[:], r.take(len(id)))
		m.keys.held = append(m.keys.held, id)
	}
	m.keys.primary = m.keys.held[primary]
	for range r.byte() {
		l, err := r.link()
		if err != nil {
			return meta{}, err
		}
		m.links = append(m.links, l)
	}
	if r.short {
		return meta{}, errMeta
	}
	return m, nil
}

// reader takes bytes off a slice, zeros where there are none left.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.b, r.short = nil, true
		return make([]byte, n)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) link() (announce.Link, error) {
	l := announce.Link{Name: string(r.take(int(r.byte())))}
	copy(l.MAC[:], r.take(6))
	flags := r.byte()
	l.Default4, l.Default6 = flags&linkDefault4 != 0, flags&linkDefault6 != 0
	for range r.byte() {
		p, err := r.prefix()
		if err != nil {
			return announce.Link{}, err
		}
		l.Prefixes = append(l.Prefixes, p)
	}
	if r.short || !validLinkName(l.Name) || l.MAC == (announce.MAC{}) || l.MAC[0]&1 != 0 {
		return announce.Link{}, errMeta
	}
	return l, nil
}

func (r *reader) prefix() (netip.Prefix, error) {
	bits, size := int(r.byte()), 4
	if bits >= v6Offset {
		bits, size = bits-v6Offset, 16
	}
	if bits > size*8 {
		return netip.Prefix{}, errMeta
	}
	raw := make([]byte, size)
	copy(raw, r.take((bits+7)/8))
	a, _ := netip.AddrFromSlice(raw)
	p := netip.PrefixFrom(a, bits)
	if p != p.Masked() || a.Is4In6() {
		return netip.Prefix{}, errMeta
	}
	return p, nil
}

// validLinkName is the kernel's rule for the names of interfaces, and printable
// ASCII on top, as names end up in logs.
func validLinkName(name string) bool {
	if name == "" || len(name) > maxLinkName || name == "." || name == ".." {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' || c == '/' || c == ':' {
			return false
		}
	}
	return true
}
