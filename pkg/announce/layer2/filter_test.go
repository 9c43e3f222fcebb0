package layer2

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/bpf"
	"pgregory.net/rapid"
)

func addressAt(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, v)))
}

func TestRangesOf(t *testing.T) {
	a := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	tests := []struct {
		name string
		in   []netip.Addr
		want []Range
	}{
		{"none", nil, nil},
		{"neighbours join", []netip.Addr{a("0.0.0.7"), a("0.0.0.5"), a("0.0.0.6"), a("0.0.0.6")}, []Range{{5, 7}}},
		{"others don't", []netip.Addr{a("0.0.0.7"), a("0.0.0.5")}, []Range{{5, 5}, {7, 7}}},
		{"IPv6 by its end", []netip.Addr{a("fd00::5"), a("fd99::6")}, []Range{{5, 6}}},
		{"the last address", []netip.Addr{a("255.255.255.255"), a("255.255.255.254")}, []Range{{1<<32 - 2, 1<<32 - 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, rangesOf(tt.in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRangesCoverAndStayFew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Uint32(), 0, 1000).Draw(t, "values")
		var in []netip.Addr
		for _, v := range values {
			in = append(in, addressAt(v))
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
		for _, v := range values {
			if !slices.ContainsFunc(got, func(r Range) bool { return r.First <= v && v <= r.Last }) {
				t.Fatalf("%d is not covered", v)
			}
		}
	})
}

// TestSearchTree runs the part of the filter that the package's own machine can.
func TestSearchTree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 17, maxRanges} {
		var in []netip.Addr
		for range n {
			in = append(in, addressAt(rng.Uint32()))
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
	var in []netip.Addr
	for i := range uint32(10_000) {
		in = append(in, addressAt(i*7919))
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
