package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/herald-lb/herald/test/bench"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-stress", "3s", "-run", "^(idle|burst)$", "-nodes", "8,3", "-quick"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range o.chosen {
		names = append(names, b.Name)
	}
	if !slices.Equal(names, []string{"burst", "idle"}) {
		t.Errorf("chosen: %v", names)
	}
	s := o.settings
	if s.Services != bench.Quick().Services || s.Stress != 3*time.Second || !slices.Equal(s.Nodes, []int{3, 8}) {
		t.Errorf("settings: %v", s)
	}
	if want := "results/" + time.Now().Format(time.DateOnly) + ".md"; o.out != want {
		t.Errorf("out = %s, want %s", o.out, want)
	}
}

func TestParseDefaults(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil || len(o.chosen) != len(bench.All()) || o.settings.String() != bench.Full().String() {
		t.Errorf("%d benchmarks, %v, %v", len(o.chosen), o.settings, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"matches no benchmark": {"-run", "nothing-like-it"},
		"missing closing":      {"-run", "("},
		"unknown argument":     {"burst"},
		"no number":            {"-nodes", "3,x"},
	} {
		if _, err := parse(args, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error with %q", args, err, want)
		}
	}
}
