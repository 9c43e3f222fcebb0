package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// thousandPools is a document of 1,000 pools with two ranges each.
func thousandPools() string {
	var b strings.Builder
	b.WriteString("address-pools:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "- name: pool-%d\n  protocol: bgp\n  addresses: [10.%d.%d.0/24, '2001:db8:%x::/64']\n", i, i/256, i%256, i)
		fmt.Fprintf(&b, "  bgp-advertisements: [{localpref: %d, communities: ['64512:%d']}, {aggregation-length: 24, aggregation-length-v6: 64}]\n", i, i)
	}
	return b.String()
}

func BenchmarkParse1000Pools(b *testing.B) {
	doc := []byte(thousandPools())
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPoolOf1000Pools(b *testing.B) {
	c, err := Parse([]byte(thousandPools()))
	if err != nil {
		b.Fatal(err)
	}
	a := netip.MustParseAddr("10.2.77.5")
	b.ReportAllocs()
	for b.Loop() {
		if p, ok := c.PoolOf(a); !ok || p.Name != "pool-589" {
			b.Fatal(p, ok)
		}
	}
}
