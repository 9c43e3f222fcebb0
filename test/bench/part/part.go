package part

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Word is the first argument of a process that is a part.
const Word = "part"

// parts are the programs, by name. They take settings and write to out.
func parts() map[string]func(ctx context.Context, settings []byte, out io.Writer) error {
	return map[string]func(context.Context, []byte, io.Writer) error{
		"routes":   measureRoutes,
		"hostile":  endureHostile,
		"announce": announceRoutes,
	}
}

// Main runs the part that args, after [Word], name, and returns the exit code.
func Main(ctx context.Context, args []string) int {
	err := errors.New("this is for benchmarks to call")
	if len(args) == 2 {
		if run := parts()[args[0]]; run != nil {
			err = run(ctx, []byte(args[1]), os.Stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "part:", err)
		return 1
	}
	return 0
}

// command is a part's process.
func command(ctx context.Context, name string, settings any) (*exec.Cmd, error) {
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, "/proc/self/exe", Word, name, string(text)), nil
}

// isolated runs a part in namespaces of its own for network, mounts and
// processes, which end with it. What it writes to its output goes to out.
func isolated(ctx context.Context, name string, settings any, out io.Writer) error {
	cmd, err := command(ctx, name, settings)
	if err != nil {
		return err
	}
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, tail(complaints.String()))
	}
	return nil
}

// tail is the end of what a program said.
func tail(text string) string {
	const most = 2000
	return strings.TrimSpace(text[max(0, len(text)-most):])
}

// settleIn makes new namespaces usable: a /proc and a /run of their own, and
// loopback.
func settleIn() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for dir, kind := range map[string]string{"/proc": "proc", "/run": "tmpfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", dir, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}
