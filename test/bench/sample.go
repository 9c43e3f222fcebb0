package bench

import (
	"math"
	"slices"
)

// Sample is a set of measured values.
type Sample []float64

// Percentile returns the value that p percent of the sample don't exceed, by
// the nearest rank; 50 is the median. It is NaN if there is none.
func (s Sample) Percentile(p float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	if p == 50 && len(sorted)%2 == 0 {
		return (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median is the value in the middle.
func (s Sample) Median() float64 { return s.Percentile(50) }

// Min is the smallest value.
func (s Sample) Min() float64 { return s.Percentile(0) }

// Max is the greatest value.
func (s Sample) Max() float64 { return s.Percentile(100) }

// Over divides each value by the one of the same run in other. Runs that only
// one of them has are left out, and so are divisions by nothing.
func (s Sample) Over(other Sample) Sample {
	var out Sample
	for i := range min(len(s), len(other)) {
		if other[i] != 0 {
			out = append(out, s[i]/other[i])
		}
	}
	return out
}
