package bench

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Report is everything that one call of the command has measured.
type Report struct {
	Date     time.Time
	Command  string
	Settings Settings
	Facts    []Fact
	Sections []Section
}

// Fact is something to know of the machine or of what ran on it.
type Fact struct{ Name, Value string }

// Section is what one benchmark has measured.
type Section struct {
	Benchmark string
	About     string
	Took      time.Duration
	Result    Result
	Picture   string // file name beside the report, if the result has a plot
}

// Markdown writes the report: facts, one table, notes and pictures.
func (r *Report) Markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Figures of %s\n\n", r.Date.Format(time.DateOnly))
	fmt.Fprintf(&b, "    %s\n\n%s.\n\n", r.Command, r.Settings)
	for _, f := range r.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Value)
	}
	b.WriteString("\nEach figure is the median over the runs, with the smallest and the greatest in brackets. What a figure is\n" +
		"compared with took turns with it in each run; the ratio is that of each run.\n\n")
	b.WriteString("| benchmark | figure | Herald | beside it | ratio | goal | runs |\n|---|---|---|---|---|---|---|\n")
	for _, s := range r.Sections {
		for _, row := range s.Result.Rows {
			writeRow(&b, s.Benchmark, row)
		}
	}
	for _, s := range r.Sections {
		writeNotes(&b, s)
	}
	return b.Bytes()
}

func writeRow(b *bytes.Buffer, benchmark string, r Row) {
	cells := []string{benchmark, r.Name, spread(r.Values, r.Unit), "", "", r.Goal, strconv.Itoa(len(r.Values))}
	if r.Missing != "" {
		cells[2], cells[6] = "not measured: "+r.Missing, ""
	}
	if len(r.Beside) > 0 {
		cells[3] = r.BesideName + ": " + spread(r.Beside, r.Unit)
		cells[4] = spread(r.Values.Over(r.Beside), "")
	}
	for _, c := range cells {
		b.WriteString("| " + cell(c) + " ")
	}
	b.WriteString("|\n")
}

// cell makes a text fit into a cell of a table.
func cell(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ReplaceAll(s, "|", `\|`)
}

func writeNotes(b *bytes.Buffer, s Section) {
	fmt.Fprintf(b, "\n## %s\n\n%s. It took %v.\n", s.Benchmark, s.About, s.Took.Round(time.Second))
	for _, n := range s.Result.Notes {
		fmt.Fprintf(b, "\n- %s", n)
	}
	if len(s.Result.Notes) > 0 {
		b.WriteString("\n")
	}
	if s.Picture != "" {
		fmt.Fprintf(b, "\n![%s](%s)\n", s.Result.Plot.Title, s.Picture)
	}
}

// spread writes a sample: median, and if there are several values the smallest
// and the greatest.
func spread(s Sample, unit string) string {
	if len(s) == 0 {
		return ""
	}
	out := number(s.Median())
	if unit != "" {
		out += " " + unit
	}
	if len(s) > 1 {
		out += fmt.Sprintf(" (%s–%s)", number(s.Min()), number(s.Max()))
	}
	return out
}

// number writes a value with three digits that count.
func number(v float64) string {
	switch magnitude := math.Abs(v); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "?"
	case v == 0:
		return "0"
	case magnitude >= 10_000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case magnitude >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case magnitude >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case magnitude >= 0.01:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// thousands sets commas between groups of three digits.
func thousands(digits string) string {
	sign := strings.TrimRight(digits, "0123456789")
	digits = digits[len(sign):]
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, groups...), ",")
}
