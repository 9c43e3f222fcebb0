package bench

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/herald-lb/herald/test/internal/cgroup"
)

// stress is something that makes life hard for announcers. Start begins it and
// returns when it is in effect.
type stress struct {
	name  string
	start func(ctx context.Context, c *cluster) (stop func() error, err error)
}

func stresses() []stress {
	return []stress{
		{"no stress", func(context.Context, *cluster) (func() error, error) { return func() error { return nil }, nil }},
		{"all CPUs busy", busyNodes},
		{"few CPU shares", fewSharesBesideBusy},
		{"10 % of frames lost", loseFrames},
		{"announcers stalled in turn", stallInTurn},
	}
}

const (
	fewShares   = 102
	usualShares = 1024

	stallFor   = 300 * time.Millisecond
	stallPause = time.Second
)

// busyProcesses is how many keep a node's CPUs busy: more than there are CPUs,
// for all nodes share the machine's.
func busyProcesses() int { return max(2, runtime.NumCPU()) }

// busyNodes keeps CPUs busy from the cgroup of each node's own daemons.
func busyNodes(ctx context.Context, c *cluster) (stop func() error, err error) {
	var places []busyPlace
	for _, node := range c.Nodes() {
		pids, err := c.Pids(node, "kubelet")
		if err != nil {
			return nil, err
		}
		if len(pids) == 0 {
			return nil, errors.New("no kubelet runs on " + node)
		}
		group, err := cgroup.Of(pids[0])
		if err != nil {
			return nil, err
		}
		places = append(places, busyPlace{node, group.CPU()})
	}
	return startBusy(ctx, c, places)
}

// fewSharesBesideBusy gives the announcers' pods few shares, and puts busy
// processes with the usual shares beside each of them.
func fewSharesBesideBusy(ctx context.Context, c *cluster) (stop func() error, err error) {
	announcers, err := c.announcers(ctx)
	if err != nil {
		return nil, err
	}
	var places []busyPlace
	for node, pod := range announcers {
		pid, err := c.pid(pod, announcerProgram)
		if err != nil {
			return nil, err
		}
		container, err := cgroup.Of(pid)
		if err != nil {
			return nil, err
		}
		whole := container.CPU().Parent()
		beside := whole.Parent().Child("busy")
		if err := errors.Join(whole.SetCPUShares(fewShares), beside.Create(), beside.SetCPUShares(usualShares)); err != nil {
			return nil, err
		}
		places = append(places, busyPlace{node, beside})
	}
	stopBusy, err := startBusy(ctx, c, places)
	if err != nil {
		return nil, err
	}
	return func() error {
		err := stopBusy()
		for _, p := range places {
			err = errors.Join(err, os.Remove(p.group[0].Path))
		}
		return err
	}, nil
}

// busyPlace is a node, and a cgroup in the one hierarchy that shares out CPUs.
type busyPlace struct {
	node  string
	group cgroup.Group
}

// startBusy runs busy processes in each place.
func startBusy(ctx context.Context, c *cluster, places []busyPlace) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running []*exec.Cmd
	stop = func() error {
		cancel()
		for _, cmd := range running {
			cmd.Wait() // killed: that is how they end
		}
		return nil
	}
	for _, p := range places {
		for range busyProcesses() {
			cmd, err := c.Command(ctx, p.node, "sh", "-c", "while :; do :; done")
			if err != nil {
				return nil, errors.Join(err, stop())
			}
			if err := cmd.Start(); err != nil {
				return nil, errors.Join(err, stop())
			}
			running = append(running, cmd)
			if err := errors.Join(becomeShell(ctx, cmd.Process.Pid), p.group.Add(cmd.Process.Pid)); err != nil {
				return nil, errors.Join(err, stop())
			}
		}
	}
	return stop, nil
}

// becomeShell waits until the lab's helper has become the command: before that
// it moves itself into a cgroup.
func becomeShell(ctx context.Context, pid int) error {
	for {
		exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		if err == nil && filepath.Base(exe) != "labhelper" {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// loseFrames drops one frame of ten at the switch.
func loseFrames(ctx context.Context, c *cluster) (stop func() error, err error) {
	const rules = `table bridge loss {
chain forward {
type filter hook forward priority 0;
numgen random mod 100 < 10 drop
}
}
`
	return func() error { return c.nft(context.WithoutCancel(ctx), "delete table bridge loss\n") }, c.nft(ctx, rules)
}

// stallInTurn stops one announcer after the other for a while.
func stallInTurn(ctx context.Context, c *cluster) (stop func() error, err error) {
	announcers, err := c.pods(ctx, announcerProgram)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			if err := c.stall(announcers[i%len(announcers)]); err != nil {
				done <- err
				return
			}
			if pause(ctx, stallPause) != nil {
				done <- nil
				return
			}
		}
	}()
	return func() error { cancel(); return <-done }, nil
}

// stall stops an announcer and lets it go on.
func (c *cluster) stall(announcer corev1.Pod) error {
	if err := c.signal(announcer, announcerProgram, unix.SIGSTOP); err != nil {
		return err
	}
	<-time.After(stallFor)
	return c.signal(announcer, announcerProgram, unix.SIGCONT)
}
