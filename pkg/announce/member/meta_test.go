package member

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/herald-lb/herald/pkg/announce"
)

var compareMeta = cmp.Options{cmp.AllowUnexported(meta{}, shownKeys{}), cmpopts.EquateEmpty(),
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})}

func anyPrefix(t *rapid.T) netip.Prefix {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
	a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
	p, _ := a.Prefix(rapid.IntRange(0, size*8).Draw(t, "bits"))
	if p.Addr().Is4In6() {
		return netip.MustParsePrefix("2001:db8::/64")
	}
	return p
}

func anyLink(t *rapid.T) announce.Link {
	l := announce.Link{Name: rapid.StringMatching(`[a-z][a-z0-9.@_-]{0,14}`).Draw(t, "name"),
		Prefixes: rapid.SliceOfN(rapid.Custom(anyPrefix), 0, 3).Draw(t, "prefixes"),
		Default4: rapid.Bool().Draw(t, "default4"), Default6: rapid.Bool().Draw(t, "default6")}
	copy(l.MAC[:], rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "mac"))
	l.MAC[0] = l.MAC[0]&^1 | 2
	return l
}

func anyMeta(t *rapid.T) meta {
	m := meta{session: session(rapid.Uint64().Draw(t, "session")), ready: rapid.Bool().Draw(t, "ready"), draining: rapid.Bool().Draw(t, "draining"),
		links: rapid.SliceOfN(rapid.Custom(anyLink), 0, 4).Draw(t, "links")}
	copy(m.config[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "config"))
	for i := range rapid.IntRange(1, maxKeys).Draw(t, "keys") {
		m.keys.held = append(m.keys.held, keyID{byte(i), 7})
	}
	m.keys.primary = rapid.SampledFrom(m.keys.held).Draw(t, "primary")
	return m
}

func TestMetadataSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyMeta(t)
		b, left := want.encode()
		if left != 0 {
			t.Fatalf("%d links left out of %d bytes", left, len(b))
		}
		got, err := decodeMeta(append(b, "of a later version"...))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, compareMeta); d != "" {
			t.Error(d)
		}
	})
}

func TestMetadataFitsWhateverItIs(t *testing.T) {
	m := meta{keys: shownKeys{held: make([]keyID, 9)}}
	for i := range 300 {
		m.links = append(m.links, announce.Link{Name: fmt.Sprintf("bond%d", i), MAC: announce.MAC{2}, Prefixes: make([]netip.Prefix, i%3)})
	}
	m.links = append(m.links, announce.Link{Name: strings.Repeat("x", 16), MAC: announce.MAC{2}})
	b, left := m.encode()
	if len(b) > metaMax || left == 0 {
		t.Errorf("%d bytes, %d links left", len(b), left)
	}
	got, err := decodeMeta(b)
	if err != nil || len(got.links)+left != len(m.links) || len(got.links) < 20 {
		t.Errorf("%d links, %d left, %v", len(got.links), left, err)
	}
}

func TestMetadataIsNotBelieved(t *testing.T) {
	good, _ := meta{keys: shownKeys{held: []keyID{{1}}, primary: keyID{1}}, links: []announce.Link{{Name: "eth0", MAC: announce.MAC{2},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}}.encode()
	link := 1 + 1 + 8 + 8 + 2 + 8 + 1 // where the link starts
	for name, spoil := range map[string]func(b []byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"version":            func(b []byte) []byte { b[0] = 9; return b },
		"cut short":          func(b []byte) []byte { return b[:len(b)-1] },
		"no key":             func(b []byte) []byte { b[18] = 0; return b },
		"too many keys":      func(b []byte) []byte { b[18] = maxKeys + 1; return b },
		"primary not there":  func(b []byte) []byte { b[19] = 1; return b },
		"link without name":  func(b []byte) []byte { b[link] = 0; return b },
		"long name":          func(b []byte) []byte { b[link] = 16; return b },
		"name with newline":  func(b []byte) []byte { b[link+1] = '\n'; return b },
		"multicast MAC":      func(b []byte) []byte { b[link+5] = 1; return b },
		"no MAC":             func(b []byte) []byte { b[link+5] = 0; return b },
		"33 bits":            func(b []byte) []byte { b[link+13] = 33; return b },
		"host bits set":      func(b []byte) []byte { b[link+13] = 7; b[link+14] = 0xff; return b },
		"more links claimed": func(b []byte) []byte { b[link-1] = 2; return b },
	} {
		if m, err := decodeMeta(spoil(bytes.Clone(good))); err == nil {
			t.Errorf("%s: taken for %+v", name, m)
		}
	}
	if _, err := decodeMeta(good); err != nil {
		t.Errorf("unspoilt: %v", err)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	b, _ := meta{keys: shownKeys{held: []keyID{{1}, {2}}, primary: keyID{2}}, links: []announce.Link{{Name: "eth0", MAC: announce.MAC{2},
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/64")}}}}.encode()
	f.Add(b)
	f.Add([]byte{})
	f.Add([]byte{metaVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, left := m.encode()
		if left > 0 {
			return // it came in more than 512 bytes, which memberlist doesn't let happen
		}
		back, err := decodeMeta(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, back, compareMeta); d != "" {
			t.Error(d)
		}
	})
}

func FuzzDecodeOpinion(f *testing.F) {
	f.Add(opinionMessage{to: 1, seq: 2, target: "node-1", targetSession: 3, down: HostGone}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeOpinion(b)
		if err == nil && !bytes.Equal(m.encode(), b) {
			t.Errorf("%x became %x", b, m.encode())
		}
	})
}
