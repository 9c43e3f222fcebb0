package bgptest

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Watch is a program that runs beside the test in a router's namespace.
type Watch struct {
	t   *testing.T
	cmd *exec.Cmd

	mu  sync.Mutex // guards out
	out bytes.Buffer
}

// Write takes the program's output.
func (w *Watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(b)
}

func (w *Watch) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// Watch starts a program. Stop ends it.
func (r *Router) Watch(args ...string) *Watch {
	r.t.Helper()
	w := &Watch{t: r.t, cmd: exec.Command("ip", append([]string{"netns", "exec", r.Name}, args...)...)}
	w.cmd.Stdout, w.cmd.Stderr = w, w
	if err := w.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	return w
}

// Stop interrupts the program and returns what it has written.
func (w *Watch) Stop() string {
	w.cmd.Process.Signal(unix.SIGINT)
	w.cmd.Wait() // ended by a signal: its status says nothing
	return w.output()
}

// marker is a route that nobody else has.
const marker = "198.51.100.255"

// WatchRoutes follows the changes of the router's kernel table. It returns
// once it does.
func (r *Router) WatchRoutes() *Watch {
	r.t.Helper()
	w := r.Watch("ip", "-ts", "monitor", "route")
	Eventually(r.t, 10*time.Second, "ip monitor listens", func() error {
		r.IP("route", "add", "blackhole", marker)
		r.IP("route", "del", "blackhole", marker)
		if !strings.Contains(w.output(), marker) {
			return fmt.Errorf("it has not seen the marker")
		}
		return nil
	})
	return w
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
