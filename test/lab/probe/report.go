package probe

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Report is what a prober has seen.
type Report struct {
	Sent, Answered int
	Failures       []Failure
	// Gaps are the times without an answer that were longer than GapAfter, in
	// order. One that goes on when the report is made is among them.
	Gaps []Gap
	// Nodes counts the answers by the node that gave them, as cmd/web says.
	Nodes map[string]int
	// Late is the longest time that the prober fell behind its own pace.
	Late time.Duration
	// Slowest is the longest that an answer took.
	Slowest time.Duration
}

// Gap is a time in which no answer came.
type Gap struct {
	From time.Time
	For  time.Duration
}

// Failure is a connection that was not made or not answered in time.
type Failure struct {
	At, Until time.Time // when it was tried, and when it failed
	Reason    string
}

// Worst is the longest gap, and zero if there was none.
func (r Report) Worst() time.Duration {
	var worst time.Duration
	for _, g := range r.Gaps {
		worst = max(worst, g.For)
	}
	return worst
}

// String says it in a line.
func (r Report) String() string {
	s := fmt.Sprintf("%d connections, %d answered, %d failed, longest time without an answer %v, slowest answer %v",
		r.Sent, r.Answered, len(r.Failures), r.Worst().Round(time.Millisecond), r.Slowest.Round(time.Millisecond))
	if reasons := r.reasons(); len(reasons) > 0 {
		s += " (" + strings.Join(reasons, ", ") + ")"
	}
	return s
}

// reasons counts the failures by reason.
func (r Report) reasons() []string {
	count := map[string]int{}
	for _, f := range r.Failures {
		count[f.Reason]++
	}
	var out []string
	for reason, n := range count {
		out = append(out, fmt.Sprintf("%d × %s", n, reason))
	}
	slices.Sort(out)
	return out
}

// tally gathers a report from what happens.
type tally struct {
	gapAfter time.Duration
	report   Report
	last     time.Time // of the last answer, or of the start
}

func newTally(start time.Time, gapAfter time.Duration) *tally {
	return &tally{gapAfter: gapAfter, last: start, report: Report{Nodes: map[string]int{}}}
}

var nodePattern = regexp.MustCompile(`\bnode=(\S+)`)

// answer counts an answer to a connection that was tried at a time.
func (t *tally) answer(now, tried time.Time, content []byte) {
	if gap, ok := t.gap(now); ok {
		t.report.Gaps = append(t.report.Gaps, gap)
	}
	t.last = now
	t.report.Answered++
	t.report.Slowest = max(t.report.Slowest, now.Sub(tried))
	if m := nodePattern.FindSubmatch(content); m != nil {
		t.report.Nodes[string(m[1])]++
	}
}

func (t *tally) fail(now, tried time.Time, reason string) {
	t.report.Failures = append(t.report.Failures, Failure{At: tried, Until: now, Reason: reason})
}

// gap is the time without an answer until now, if it is long enough to be one.
func (t *tally) gap(now time.Time) (Gap, bool) {
	d := now.Sub(t.last)
	return Gap{From: t.last, For: d}, d > t.gapAfter
}

// at is the report as of a time.
func (t *tally) at(now time.Time) Report {
	r := t.report
	r.Failures, r.Gaps = slices.Clone(r.Failures), slices.Clone(r.Gaps)
	r.Nodes = make(map[string]int, len(t.report.Nodes))
	for node, n := range t.report.Nodes {
		r.Nodes[node] = n
	}
	if gap, ok := t.gap(now); ok {
		r.Gaps = append(r.Gaps, gap)
	}
	return r
}
