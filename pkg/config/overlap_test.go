package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
)

// TestOverlapsModel compares the search for overlaps, and PoolOf, with the
// plain ones: every range with every other.
func TestOverlapsModel(t *testing.T) {
	at := func(n int) netip.Addr {
		if n < 64 {
			return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})
		}
		return netip.AddrFrom16([16]byte{0x20, 1, 15: byte(n)})
	}
	rapid.Check(t, func(t *rapid.T) {
		var doc strings.Builder
		var ranges []netipx.IPRange
		var owners []string
		doc.WriteString("address-pools:\n")
		for i := range rapid.IntRange(1, 4).Draw(t, "pools") {
			fmt.Fprintf(&doc, "- name: p%d\n  protocol: layer2\n  addresses:\n", i)
			for range rapid.IntRange(1, 4).Draw(t, "ranges") {
				from := rapid.IntRange(0, 127).Draw(t, "from")
				to := min(from+rapid.IntRange(0, 5).Draw(t, "more"), from|63)
				fmt.Fprintf(&doc, "  - %s-%s\n", at(from), at(to))
				ranges = append(ranges, netipx.IPRangeFrom(at(from), at(to)))
				owners = append(owners, fmt.Sprintf("p%d", i))
			}
		}
		overlapping := 0 // entries that overlap another
		for i := range ranges {
			for j := range ranges {
				if i != j && ranges[i].Overlaps(ranges[j]) {
					overlapping++
					break
				}
			}
		}
		c, err := Parse([]byte(doc.String()))
		if (err != nil) != (overlapping > 0) {
			t.Fatalf("%d overlapping ranges, but Parse gives %v\n%s", overlapping, err, &doc)
		}
		if err != nil {
			if n := len(err.(Errors)); n >= overlapping {
				t.Fatalf("%d mistakes for %d overlapping ranges: %v\n%s", n, overlapping, err, &doc)
			}
			return
		}
		for n := range 128 {
			want := ""
			for i, r := range ranges {
				if r.Contains(at(n)) {
					want = owners[i]
				}
			}
			got := ""
			if p, ok := c.PoolOf(at(n)); ok {
				got = p.Name
			}
			if got != want {
				t.Fatalf("PoolOf(%s) = %q, want %q\n%s", at(n), got, want, &doc)
			}
		}
	})
}
