package announcetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

const inside = "HERALD_TEST_NETNS" // "yes", or why there is no namespace

// Main runs a package's tests in a new network namespace and returns the exit
// code, for TestMain. Where none can be had the tests run without, and those
// that call Need are skipped.
func Main(m *testing.M) int {
	if os.Getenv(inside) != "" {
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=yes")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		if err := os.Setenv(inside, fmt.Sprintf("no network namespace of its own: %v", err)); err != nil {
			return 1
		}
		return m.Run()
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		return 1
	}
	return 0
}

// Need skips a test that can't have a network of its own.
func Need(t testing.TB) {
	t.Helper()
	switch why := os.Getenv(inside); why {
	case "yes":
	case "":
		t.Skip("the package's TestMain doesn't call announcetest.Main")
	default:
		t.Skip(why)
	}
}
