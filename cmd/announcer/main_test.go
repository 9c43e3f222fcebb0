package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata")

// The command line is an interface: what is in it stays.
func TestHelp(t *testing.T) {
	t.Setenv("HERALD_NODE_NAME", "does-not-show")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &out, &out); code != 0 {
		t.Errorf("exit code %d", code)
	}
	const golden = "testdata/help.txt"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("help (-want +got):\n%s", diff)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--version"}, &out, &out); code != 0 || out.String() != "announcer "+version+"\n" {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

func TestSaysWhyItCannotStart(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"no node name":   {[]string{"--namespace=x", "--host-ip=10.0.0.1"}, []string{"HERALD_NODE_NAME"}},
		"no namespace":   {[]string{"--node-name=x", "--host-ip=10.0.0.1"}, []string{"HERALD_NAMESPACE"}},
		"no address":     {[]string{"--node-name=x", "--namespace=x"}, []string{"HERALD_HOST_IP"}},
		"no IP address":  {[]string{"--node-name=x", "--namespace=x", "--host-ip=n1"}, []string{`"n1" is not an IP address`}},
		"unknown flag":   {[]string{"--mode=bgp"}, []string{"--mode"}},
		"all at once":    {[]string{"--http-port=0", "--memberlist-port=0", "--log-level=loud", "--log-format=xml"}, []string{"HERALD_NODE_NAME", "HERALD_NAMESPACE", "HERALD_HOST_IP", "--http-port", "--memberlist-port", `"loud"`, `"xml"`}},
		"no such number": {[]string{"--http-port=70000"}, []string{"--http-port"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, env := range []string{"HERALD_NODE_NAME", "HERALD_NAMESPACE", "HERALD_HOST_IP"} {
				t.Setenv(env, "")
			}
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, &stdout, &stderr); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("stderr does not mention %s:\n%s", want, &stderr)
				}
			}
		})
	}
}

func TestOptionsComeFromTheEnvironmentToo(t *testing.T) {
	o := newOptions(func(name string) string {
		return map[string]string{"HERALD_NODE_NAME": "n1", "HERALD_NAMESPACE": "herald-system", "HERALD_HOST_IP": "fd00::1"}[name]
	})
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	if o.nodeName != "n1" || o.hostIP.String() != "fd00::1" {
		t.Errorf("%+v", o)
	}
	var out bytes.Buffer
	o.logFormat = "text"
	o.logger(&out).Info("hello")
	o.logFormat = "json"
	o.logger(&out).Debug("not shown")
	if got := out.String(); !strings.Contains(got, "msg=hello") || strings.Contains(got, "not shown") {
		t.Error(got)
	}
}
