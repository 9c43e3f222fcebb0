package cgroup

import (
	"os"
	"testing"
)

func TestOfThisProcess(t *testing.T) {
	g, err := Of(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	if len(g.CPU()) != 1 {
		t.Errorf("hierarchies that share out CPUs among %v: %v, want one", g, g.CPU())
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[int]int{2: 1, 102: 4, 1024: 39, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("weight of %d shares: %d, want %d", shares, got, want)
		}
	}
}
