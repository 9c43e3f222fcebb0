package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CutCable pulls a host's cable out of the switch: no frame passes, and both
// ends see that the link is down.
func (l *Lab) CutCable(host string) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	return l.state.SetCable(host, 0)
}

// MendCable undoes CutCable.
func (l *Lab) MendCable(host string) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	return l.state.SetCable(host, unix.IFF_UP)
}

// LoseFrames makes the switch lose a share of the frames from and to a host, at
// random: 10 is one in ten, 0 ends it. The link stays up, so that 100 is a cut
// that neither end sees.
func (l *Lab) LoseFrames(ctx context.Context, host string, percent int) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	if percent < 0 || percent > 100 {
		return fmt.Errorf("lose %d percent: want 0 to 100", percent)
	}
	table := "loss_" + strings.ReplaceAll(host, "-", "_")
	rules := fmt.Sprintf("table netdev %[1]s\ndelete table netdev %[1]s\n", table)
	if percent > 0 {
		rules += fmt.Sprintf("table netdev %s {\n", table)
		for _, hook := range []string{"ingress", "egress"} {
			rules += fmt.Sprintf("chain %[1]s {\ntype filter hook %[1]s device %[2]q priority 0\nnumgen random mod 100 <= %[3]d drop\n}\n", hook, host, percent-1)
		}
		rules += "}\n"
	}
	cmd, err := l.Command(ctx, Switch, "nft", "-f", "-")
	if err != nil {
		return err
	}
	cmd.Stdin = strings.NewReader(rules)
	_, err = output(cmd, Switch)
	return err
}

// PowerOff ends everything on a node at once and takes its link down. What is
// on its disk stays.
func (l *Lab) PowerOff(ctx context.Context, name string) error {
	if _, err := l.node(name); err != nil {
		return err
	}
	if err := l.state.SetCable(name, 0); err != nil {
		return err
	}
	return l.state.UnitGroup(name).Kill(ctx)
}

// PowerOn boots a node that was powered off. [Lab.WaitNodesReady] waits for it.
func (l *Lab) PowerOn(ctx context.Context, name string) error {
	if _, err := l.node(name); err != nil {
		return err
	}
	running, err := l.state.Running(name)
	if err != nil {
		return err
	}
	if running {
		return fmt.Errorf("node %s is on", name)
	}
	if err := l.state.SetCable(name, unix.IFF_UP); err != nil {
		return err
	}
	return l.boot(ctx, name)
}

// Freeze stops every process of a node where it stands. Its kernel goes on
// answering ARP and ping and forwarding packets: a hung machine.
func (l *Lab) Freeze(ctx context.Context, name string) error {
	if _, err := l.node(name); err != nil {
		return err
	}
	return l.state.UnitGroup(name).Freeze(ctx)
}

// Thaw undoes Freeze.
func (l *Lab) Thaw(name string) error {
	if _, err := l.node(name); err != nil {
		return err
	}
	return l.state.UnitGroup(name).Thaw()
}

// KillProcess sends a signal to the processes of a node, in containers or not,
// that run a program of that file name. It is an error if there is none.
func (l *Lab) KillProcess(name, program string, sig unix.Signal) error {
	if _, err := l.node(name); err != nil {
		return err
	}
	hit, err := l.state.UnitGroup(name).Signal(sig, func(pid int) bool { return runs(pid, program) })
	if err == nil && len(hit) == 0 {
		err = fmt.Errorf("node %s runs no program %q", name, program)
	}
	return err
}

// Pids lists the processes of a node, in containers or not, that run a program
// of that file name, by the ids that this machine knows them by.
func (l *Lab) Pids(name, program string) ([]int, error) {
	if _, err := l.node(name); err != nil {
		return nil, err
	}
	pids, err := l.state.UnitGroup(name).Pids()
	return slices.DeleteFunc(pids, func(pid int) bool { return !runs(pid, program) }), err
}

// runs reports whether a process executes a file of that name.
func runs(pid int, program string) bool {
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && filepath.Base(exe) == program
}
