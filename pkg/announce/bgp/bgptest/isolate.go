package bgptest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// isolated is the environment variable that tells the second process which
// test it runs.
const isolated = "HERALD_TEST_ISOLATED"

// Run runs body in a process with network, mount and process namespaces of its
// own, in parallel with others. It skips the test where those are not to be had or a program is missing.
func Run(t *testing.T, body func(*testing.T), programs ...string) {
	t.Helper()
	if os.Getenv(isolated) == t.Name() {
		prepare(t)
		body(t)
		return
	}
	if testing.Short() {
		t.Skip("starts routers and takes seconds: not with -short")
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for network namespaces and the routers' daemons")
	}
	for _, p := range append([]string{"ip"}, programs...) {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs %s (Debian: iproute2, frr, bird2): %v", p, err)
		}
	}
	t.Parallel() // nothing is shared
	if runAlone(t) {
		t.Skip("skipped in its namespaces: see above")
	}
}

// runAlone runs the calling test again, in namespaces.
func runAlone(t *testing.T) (skipped bool) {
	t.Helper()
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	args := []string{"-test.run=" + pattern, "-test.v", "-test.count=1"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+time.Until(deadline).String())
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), isolated+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		t.Log(strings.TrimRight(line, "\n"))
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Fatalf("in its namespaces: %v", err)
	case err != nil:
		t.Skipf("no namespaces: %v", err)
	}
	return strings.Contains(string(out), "--- SKIP")
}

// prepare makes the new namespaces usable: a /proc of their own, and nothing
// of the routers on the machine.
func prepare(t *testing.T) {
	t.Helper()
	must(t, "", unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(t, "/proc", unix.Mount("proc", "/proc", "proc", 0, ""))
	for _, dir := range []string{"/run/netns", "/run/frr", "/etc/frr"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		must(t, dir, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	}
	Command(t, "ip", "link", "set", "dev", "lo", "up")
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Skipf("mounting %s: %v", what, err)
	}
}

// Command runs a program in the test's namespaces and returns its output.
func Command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Eventually returns when check returns nil, and fails the test when it does
// not in the time given. It returns how long that took.
func Eventually(t *testing.T, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
