package herald

import "testing"

func TestMetric(t *testing.T) {
	const text = `# HELP herald_members Members by state: alive, or why they are down.
# TYPE herald_members gauge
herald_members{state="alive"} 3
herald_members{state="host gone"} 1
herald_members_more{state="alive"} 7
herald_conflicts 2
`
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"herald_members", nil, 4},
		{"herald_members", []string{`state="host gone"`}, 1},
		{"herald_members", []string{`state="left"`}, 0},
		{"herald_conflicts", nil, 2},
		{"herald_other", nil, 0},
	} {
		if got := Metric(text, c.name, c.labels...); got != c.want {
			t.Errorf("%s %v: %v, want %v", c.name, c.labels, got, c.want)
		}
	}
}
