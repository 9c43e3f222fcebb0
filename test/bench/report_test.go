package bench

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// golden compares with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s: -want +got\n%s", path, diff)
	}
}

// somePlot has lines of one, many and no values.
func somePlot() *Plot {
	return &Plot{Title: "Time without an answer <of any kind>", Unit: "ms", Lines: []PlotLine{
		{Name: "cable cut", Values: Sample{210, 230, 220, 380, 240}, Goal: 400},
		{Name: "announcer told to stop", Values: Sample{0}},
		{Name: "frozen"},
		{Name: "slow", Values: Sample{5600, 8300}, Goal: 300},
	}}
}

func TestReport(t *testing.T) {
	r := Report{
		Date: time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC), Command: "bench -quick", Settings: Quick(),
		Facts: []Fact{{"cores", "2"}, {"kernel", "6.18"}},
		Sections: []Section{
			{Benchmark: "burst", About: "Services created at once", Took: 61500 * time.Millisecond, Result: Result{
				Rows: []Row{
					{Name: "addresses given", Unit: "Services/s", Values: Sample{100, 120, 110}, Beside: Sample{150, 150, 150}, BesideName: "bare client", Goal: "ratio ≥ 0.6"},
					{Name: "a | b", Unit: "ms", Values: Sample{12345.6}},
					missing("under a flood", errors.New("no\nowner")),
				},
				Notes: []string{"one", "two"},
			}},
			{Benchmark: "failover", About: "A node fails", Took: time.Second, Result: Result{Plot: somePlot()}, Picture: "x.svg"},
		},
	}
	golden(t, "report.md", r.Markdown())
}

func TestPlot(t *testing.T) {
	svg := somePlot().SVG()
	golden(t, "plot.svg", svg)
	for d := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
}

func TestEmptyPlotHasAnAxis(t *testing.T) {
	if top := (&Plot{}).top(); top != 100 {
		t.Errorf("axis ends at %v, want 100", top)
	}
}
