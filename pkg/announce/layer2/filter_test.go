package layer2

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go4.org/netipx"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

func addressAt(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

func TestRangesOf(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want []Range
	}{
		{"none", "", nil},
		{"neighbours join", "0.0.0.7 0.0.0.5 0.0.0.6 0.0.0.6", []Range{{5, 7}}},
		{"others don't", "0.0.0.7 0.0.0.5", []Range{{5, 5}, {7, 7}}},
		{"what a range contains is covered", "0.0.0.6 0.0.0.5-0.0.0.9 0.0.0.8-0.0.0.9", []Range{{5, 9}}},
		{"overlapping ranges join", "0.0.0.5-0.0.0.9 0.0.0.8-0.0.0.11", []Range{{5, 11}}},
		{"IPv6 by its end", "fd00::5 fd99::6-fd99::9", []Range{{5, 9}}},
		{"IPv6 beyond its end", "fd00::ffff:ffff-fd00::1:0:0 fd00::5", []Range{{0, 1<<32 - 1}}},
		{"the last address", "255.255.255.255 255.255.255.254", []Range{{1<<32 - 2, 1<<32 - 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var in []netipx.IPRange
			for _, s := range strings.Fields(tt.in) {
				first, last, found := strings.Cut(s, "-")
				if !found {
					last = first
				}
				in = append(in, netipx.IPRangeFrom(netip.MustParseAddr(first), netip.MustParseAddr(last)))
			}
			if diff := cmp.Diff(tt.want, rangesOf(in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRangesCoverAndStayFew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint32(), 0, 1000).Draw(t, "values")
		var in []netipx.IPRange
		for pair := range slices.Chunk(values, 2) {
			first, last := slices.Min(pair), slices.Max(pair)
			if !rapid.Bool().Draw(t, "wide") {
				last = first
			}
			in = append(in, netipx.IPRangeFrom(addressAt(first), addressAt(last)))
		}
		got := rangesOf(in)
		if len(got) > maxRanges {
			t.Fatalf("%d ranges", len(got))
		}
		for i, r := range got {
			if r.First > r.Last || i > 0 && got[i-1].Last >= r.First {
				t.Fatalf("not ascending and disjoint: %v", got)
			}
		}
		for _, want := range in {
			if !slices.ContainsFunc(got, func(r Range) bool { return r.First <= rangeOf(want).First && rangeOf(want).Last <= r.Last }) {
				t.Fatalf("%s is not covered", want)
			}
		}
	})
}

// TestSearchTree runs the part of the filter that the package's own machine can.
func TestSearchTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 17, maxRanges} {
		var in []netipx.IPRange
		for range n {
			in = append(in, only(addressAt(rng.Uint32())))
		}
		ranges := rangesOf(in)
		p := program{bpf.LoadConstant{Dst: bpf.RegX, Val: maxFrame}}
		p.oneOf(bpf.LoadAbsolute{Off: 0, Size: 4}, ranges)
		vm, err := bpf.NewVM(append(p, bpf.RetConstant{Val: 0}))
		if err != nil {
			t.Fatal(err)
		}
		check := func(v uint32) {
			got, err := vm.Run(binary.BigEndian.AppendUint32(nil, v))
			if err != nil {
				t.Fatal(err)
			}
			want := slices.ContainsFunc(ranges, func(r Range) bool { return r.First <= v && v <= r.Last })
			if (got > 0) != want {
				t.Errorf("%d of %d ranges: %d", v, n, got)
			}
		}
		for _, r := range ranges {
			for _, v := range []uint32{r.First - 1, r.First, r.Last, r.Last + 1, rng.Uint32()} {
				check(v)
			}
		}
	}
}

func TestFilterFitsTheKernel(t *testing.T) {
	const kernelLimit = 4096
	var in []netipx.IPRange
	for i := range uint32(10_000) {
		in = append(in, only(addressAt(i*7919)))
	}
	for _, f := range []Family{IPv4, IPv6} {
		raw, err := filter(f, rangesOf(in))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d instructions", f, len(raw))
		if len(raw) > kernelLimit {
			t.Errorf("%s: %d instructions", f, len(raw))
		}
	}
}
