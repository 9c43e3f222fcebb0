package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// TestRun has what can be told without a lab.
func TestRun(t *testing.T) {
	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string // what must be in them
	}{
		{"", 0, "Usage: lab", ""},
		{"help", 0, "poweroff NODE", ""},
		{"--help", 0, "Usage: lab", ""},
		{"up --help", 0, "--ipv6-only", ""},
		{"bogus", 1, "", `no command "bogus": see`},
		{"up extra", 1, "", `up takes no "extra"`},
		{"--name none down extra", 1, "", "usage: lab [--name NAME] down"},
		{"cut", 1, "", "want one host"},
		{"kill n1", 1, "", "kill NODE PROGRAM [SIGNAL]"},
		{"kill n1 kubelet NONSENSE", 1, "", `no signal "NONSENSE"`},
		{"exec client", 1, "", "exec HOST COMMAND"},
		{"apiserver", 1, "", "stop|start"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
			if code != tt.code || !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("code %d, printed %q, complained %q", code, &stdout, &stderr)
			}
		})
	}
}

func TestNoLabSaysWhatToDo(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"--name", "no-such-lab", "kubectl", "get", "nodes"}, &stdout, &stderr)
	want := "lab up --name no-such-lab"
	if os.Geteuid() != 0 {
		want = "needs root"
	}
	if code != 1 || !strings.Contains(stderr.String(), want) {
		t.Errorf("code %d, complained %q, want %q in it", code, &stderr, want)
	}
}
