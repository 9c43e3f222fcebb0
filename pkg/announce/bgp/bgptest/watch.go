package bgptest

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Watch is a program that runs beside the test in a router's namespace.
type Watch struct {
	t   *testing.T
	cmd *exec.Cmd
	out bytes.Buffer
}

// Watch starts a program. Stop ends it.
func (r *Router) Watch(args ...string) *Watch {
	r.t.Helper()
	w := &Watch{t: r.t, cmd: exec.Command("ip", append([]string{"netns", "exec", r.Name}, args...)...)}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	if err := w.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	return w
}

// Stop interrupts the program and returns what it has written.
func (w *Watch) Stop() string {
	w.cmd.Process.Signal(unix.SIGINT)
	w.cmd.Wait() // ended by a signal: its status says nothing
	return w.out.String()
}

// WatchRoutes follows the changes of the router's kernel table.
func (r *Router) WatchRoutes() *Watch {
	r.t.Helper()
	return r.Watch("ip", "-ts", "monitor", "route")
}

// Changes stops a WatchRoutes and returns the lines about a prefix.
func (w *Watch) Changes(prefix string) []string {
	var lines []string
	for line := range strings.Lines(w.Stop()) {
		if strings.Contains(line, strings.TrimSuffix(strings.TrimSuffix(prefix, "/32"), "/128")+" ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// KernelRoute returns the router's kernel routes for a prefix, as the routing
// daemon has installed them.
func (r *Router) KernelRoute(prefix string) (string, error) {
	out := r.IP("-o", "route", "show", prefix)
	if strings.Contains(prefix, ":") {
		out = r.IP("-6", "-o", "route", "show", prefix)
	}
	if strings.TrimSpace(out) == "" {
		return "", fmt.Errorf("no route to %s", prefix)
	}
	return out, nil
}
