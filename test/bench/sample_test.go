package bench

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestPercentile(t *testing.T) {
	for _, tt := range []struct {
		sample Sample
		p      float64
		want   float64
	}{
		{nil, 50, math.NaN()},
		{Sample{7}, 0, 7},
		{Sample{7}, 50, 7},
		{Sample{7}, 99, 7},
		{Sample{3, 1, 2}, 50, 2},
		{Sample{4, 1, 2, 3}, 50, 2.5},
		{Sample{4, 1, 2, 3}, 0, 1},
		{Sample{4, 1, 2, 3}, 100, 4},
		{Sample{4, 1, 2, 3}, 90, 4},
		{Sample{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 90, 9},
	} {
		if got := tt.sample.Percentile(tt.p); !cmp.Equal(got, tt.want, cmpopts.EquateNaNs()) {
			t.Errorf("%v percent of %v: %v, want %v", tt.p, tt.sample, got, tt.want)
		}
	}
}

func TestPercentileProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Sample(rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 1, 50).Draw(t, "sample"))
		before := append(Sample(nil), s...)
		last := math.Inf(-1)
		for p := 0.0; p <= 100; p++ {
			if p == 50 {
				continue // the mean of two, between its neighbours
			}
			v := s.Percentile(p)
			if v < last {
				t.Fatalf("%v percent: %v, less than %v before", p, v, last)
			}
			exceeding := 0
			for _, x := range s {
				if x > v {
					exceeding++
				}
			}
			if float64(exceeding) > (100-p)/100*float64(len(s))+1e-9 {
				t.Fatalf("%v percent: %d of %d exceed %v", p, exceeding, len(s), v)
			}
			last = v
		}
		if m := s.Median(); m < s.Min() || m > s.Max() {
			t.Fatalf("median %v is not between %v and %v", m, s.Min(), s.Max())
		}
		if !cmp.Equal(before, s) {
			t.Fatal("the sample was changed")
		}
	})
}

func TestOver(t *testing.T) {
	for _, tt := range []struct{ a, b, want Sample }{
		{nil, nil, nil},
		{Sample{1, 2, 3}, Sample{2, 4}, Sample{0.5, 0.5}},
		{Sample{1, 2}, Sample{0, 1}, Sample{2}},
	} {
		if diff := cmp.Diff(tt.want, tt.a.Over(tt.b)); diff != "" {
			t.Errorf("%v over %v: -want +got\n%s", tt.a, tt.b, diff)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 3: "3", 10: "10", 0.5: "0.50", 0.6349: "0.63", 12.34: "12.3", 123.4: "123", 9999: "9999",
		10_000: "10,000", 1_234_567.8: "1,234,568", -12_345: "-12,345", 0.0012: "0.0012", math.NaN(): "?",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
