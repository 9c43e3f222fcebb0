package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
)

// Preflight reports, in one line, what this machine lacks for a lab.
func Preflight() error {
	if err := needRoot(); err != nil {
		return err
	}
	if err := tryNamespaces(); err != nil {
		return err
	}
	var missing, packages []string
	for _, t := range []struct{ program, pkg string }{{"runc", "runc"}, {"nft", "nftables"}, {"ip", "iproute2"}, {"nsenter", "util-linux"}} {
		if _, err := exec.LookPath(t.program); err != nil {
			missing, packages = append(missing, t.program), append(packages, t.pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing programs %s: apt-get install -y %s", strings.Join(missing, ", "), strings.Join(packages, " "))
	}
	_, err := cgroup.Base()
	return err
}

func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a lab needs root: run this as root, or with sudo")
	}
	return nil
}

// tryNamespaces makes the namespaces that a lab needs, on a thread that ends.
func tryNamespaces() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC)
	}()
	if err := <-done; err != nil {
		return fmt.Errorf("this machine lets root make no namespaces (%w): run it on a machine of its own, or in a privileged container", err)
	}
	return nil
}
