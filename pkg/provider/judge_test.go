package provider

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/herald-lb/herald/pkg/config"
	"github.com/herald-lb/herald/pkg/ipam"
)

func TestJudge(t *testing.T) {
	before, next := &config.Config{}, &config.Config{Pools: []config.Pool{{Name: "next"}}}
	accepting := live{document: "old", config: before, generation: 7}
	broken := config.Errors{{Path: "address-pools[0].name", Line: 2, Problem: "is missing"}, {Line: 9, Problem: "is odd"}}
	lost := []ipam.Stranded{{Service: "a/b", Address: netip.MustParseAddr("192.0.2.1")}}
	const first, second = "address-pools[0].name (line 2): is missing", "document (line 9): is odd"
	for _, test := range []struct {
		name      string
		candidate candidate
		live      live
		stranded  []ipam.Stranded
		want      verdict
	}{
		{"absent", candidate{}, accepting, nil, verdict{outcome: absent, missing: "there is no ConfigMap x/config; create it"}},
		{"absent, never there", candidate{}, live{}, nil, verdict{outcome: absent, missing: "there is no ConfigMap x/config; create it"}},
		{"same", candidate{present: true, document: "old", config: next}, accepting, lost, verdict{outcome: unchanged}},
		{"new", candidate{present: true, document: "new", config: next}, accepting, nil, verdict{outcome: accepted, config: next}},
		{"first", candidate{present: true, document: "new", config: next}, live{}, lost, verdict{outcome: accepted, config: next}},
		{"empty first", candidate{present: true, config: next}, live{}, nil, verdict{outcome: accepted, config: next}},
		{"strands", candidate{present: true, document: "new", config: next}, accepting, lost,
			verdict{outcome: refused, cause: strands, problems: []string{"Service a/b would lose 192.0.2.1"}}},
		{"strands, agreed", candidate{present: true, document: "new", config: next, allowLoss: true}, accepting, lost,
			verdict{outcome: accepted, config: next}},
		{"broken", candidate{present: true, document: "new", err: broken, allowLoss: true}, accepting, nil,
			verdict{outcome: refused, cause: invalid, problems: []string{first, second}}},
		{"broken first", candidate{present: true, document: "new", err: errors.New("no key")}, live{}, nil,
			verdict{outcome: refused, cause: invalid, problems: []string{"no key"},
				missing: "the ConfigMap x/config is refused, and none was accepted before: no key"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.candidate.name = "x/config"
			got := judge(test.candidate, test.live, func([]config.Pool) []ipam.Stranded { return test.stranded })
			if got.config != test.want.config {
				t.Errorf("configuration %p, want %p", got.config, test.want.config)
			}
			got.config, test.want.config = nil, nil
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(verdict{})); diff != "" {
				t.Errorf("verdict differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerdictMessage(t *testing.T) {
	var many []string
	for i := range 500 {
		many = append(many, fmt.Sprintf("Service default/web%d would lose 192.0.2.%d", i, i%256))
	}
	for _, v := range []verdict{{cause: strands, problems: many}, {cause: invalid, problems: []string{strings.Repeat("ü", 5000)}}} {
		message := v.message()
		if len(message) > 1000 {
			t.Errorf("%s: %d bytes are too many for an Event", v.cause, len(message))
		}
		if strings.ToValidUTF8(message, "?") != message {
			t.Errorf("%s: cut inside of a character", v.cause)
		}
	}
	if got, want := list(many, 60), many[0]+"; and 499 more"; got != want {
		t.Errorf("list is %q, want %q", got, want)
	}
}
