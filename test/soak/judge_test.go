package soak

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/lab/probe"
)

func TestMemory(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		samples []int
		want    string // in the error
	}{
		"none":             {nil, ""},
		"few":              {[]int{30 * mb, 60 * mb}, ""},
		"flat":             {[]int{30 * mb, 31 * mb, 30 * mb, 32 * mb, 30 * mb, 33 * mb, 31 * mb, 34 * mb, 30 * mb, 32 * mb}, ""},
		"one peak":         {[]int{30 * mb, 31 * mb, 30 * mb, 32 * mb, 30 * mb, 90 * mb, 31 * mb, 34 * mb, 30 * mb, 32 * mb}, ""},
		"creeping":         {[]int{30 * mb, 32 * mb, 34 * mb, 36 * mb, 40 * mb, 44 * mb, 50 * mb, 54 * mb, 58 * mb, 60 * mb}, "grew from 34 to 54 MB"},
		"too much at once": {[]int{30 * mb, 120 * mb}, "had 120 MB"},
	} {
		err := (&memory{samples: c.samples}).grown()
		if got := err != nil; got != (c.want != "") || got && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestSilenceIsNotTheProbersOwn(t *testing.T) {
	r := probe.Report{Gaps: []probe.Gap{{For: 300 * time.Millisecond}, {For: 700 * time.Millisecond}}, Late: 200 * time.Millisecond}
	if got := silence(r); got != 500*time.Millisecond {
		t.Errorf("%v", got)
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := &run{settings: Settings{Seed: 7, Nodes: 3, Rate: 20, Out: &out}, memory: &memory{samples: []int{30 << 20}}, lines: map[string]*line{
		"cable cut": {times: 3, moves: 12, failed: 40, silent: []time.Duration{300 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond}, settling: []time.Duration{time.Second, 3 * time.Second, 2 * time.Second}},
	}, order: []string{"cable cut"}}
	r.breaks(fault{name: "rolling restart"}, "2 connections failed")
	out.Reset()
	r.report()
	for _, want := range []string{"seed 7, 3 nodes", "cable cut  3      12     40      200ms              300ms  3s", "30 MB at first", "BROKEN", "2 connections failed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
