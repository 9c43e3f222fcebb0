package probe

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTally(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	tally := newTally(start, 50*time.Millisecond)
	tally.answer(at(12), at(10), []byte("HTTP/1.0 200 OK\r\n\r\npod=a node=n1 client=x\n"))
	tally.answer(at(22), at(20), []byte("pod=a node=n1 client=x\n"))
	tally.fail(at(310), at(30), "no connection")
	tally.fail(at(315), at(40), "no connection")
	tally.answer(at(322), at(320), []byte("pod=b node=n2 client=x\n"))
	tally.answer(at(372), at(330), nil)

	want := Report{
		Answered: 4,
		Failures: []Failure{{At: at(30), Until: at(310), Reason: "no connection"}, {At: at(40), Until: at(315), Reason: "no connection"}},
		Gaps:     []Gap{{From: at(22), For: 300 * time.Millisecond}},
		Nodes:    map[string]int{"n1": 2, "n2": 1},
		Slowest:  42 * time.Millisecond,
	}
	got := tally.at(at(400))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report: -want +got\n%s", diff)
	}
	if got.Worst() != 300*time.Millisecond {
		t.Errorf("worst = %v", got.Worst())
	}
	const line = "0 connections, 4 answered, 2 failed, longest time without an answer 300ms, slowest answer 42ms (2 × no connection)"
	if diff := cmp.Diff(line, got.String()); diff != "" {
		t.Errorf("line: -want +got\n%s", diff)
	}
}

func TestTallyGapThatGoesOn(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	tally := newTally(start, 50*time.Millisecond)
	if got := tally.at(start.Add(40 * time.Millisecond)); len(got.Gaps) > 0 {
		t.Errorf("a gap too early: %v", got.Gaps)
	}
	want := []Gap{{From: start, For: time.Second}}
	if diff := cmp.Diff(want, tally.at(start.Add(time.Second)).Gaps); diff != "" {
		t.Errorf("gaps: -want +got\n%s", diff)
	}
	// The report that has been made must not have changed what is gathered.
	if len(tally.report.Gaps) > 0 {
		t.Error("an unfinished gap was kept")
	}
}
