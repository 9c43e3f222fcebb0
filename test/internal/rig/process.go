package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
)

// Helper is the program that puts others into a host: cmd/labhelper. Each lab
// has a copy of its own.
func (s *State) Helper() string { return Dir(s.Name, "labhelper") }

// Log is the file that a program's output goes to.
func (s *State) Log(program string) string { return Dir(s.Name, "log", program+".log") }

// Command returns a command that runs a program in a host's network namespace.
// What it starts dies with the lab. It looks on from outside: a node that is
// frozen or switched off does not take it along.
func (s *State) Command(ctx context.Context, host string, argv ...string) (*exec.Cmd, error) {
	if len(argv) == 0 {
		return nil, errors.New("no command to run")
	}
	if _, err := s.Host(host); err != nil {
		return nil, err
	}
	group := s.UnitGroup("outside.commands").Tracking()
	if err := group.Create(); err != nil {
		return nil, err
	}
	return s.command(ctx, host, group, argv), nil
}

func (s *State) command(ctx context.Context, host string, group cgroup.Group, argv []string) *exec.Cmd {
	args := []string{"run", s.Namespace(host), group[0].Path, "--"}
	return exec.CommandContext(ctx, s.Helper(), append(args, argv...)...)
}

// Start starts a program of the control plane.
func (s *State) Start(p Process) error {
	group := s.UnitGroup(p.Name).Tracking()
	if err := group.Create(); err != nil {
		return err
	}
	if running, err := s.Running(p.Name); err != nil || running {
		return err
	}
	cmd := s.command(context.Background(), p.Host, group, p.Args)
	return s.startDetached(cmd, p.Name)
}

// StartIn starts a program on a host, in a cgroup of its own, which it returns.
// It is outside of the host as Command's are.
func (s *State) StartIn(host, name string, argv []string) (cgroup.Group, error) {
	group := s.UnitGroup("outside." + host + "." + name).Tracking()
	if err := group.Create(); err != nil {
		return nil, err
	}
	pids, err := group.Pids()
	if err != nil {
		return nil, err
	}
	if len(pids) > 0 {
		return nil, fmt.Errorf("%s runs on %s already", name, host)
	}
	return group, s.startDetached(s.command(context.Background(), host, group, argv), host+"-"+name)
}

// startDetached starts a command in a session of its own, which a terminal's
// Ctrl-C does not reach.
func (s *State) startDetached(cmd *exec.Cmd, log string) error {
	f, err := os.OpenFile(s.Log(log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // until then an ended program stays in the process table
	return nil
}

// Running reports whether a program of the control plane has processes.
func (s *State) Running(name string) (bool, error) {
	pids, err := s.UnitGroup(name).Pids()
	return len(pids) > 0, err
}

// Process returns how a program of the control plane is started.
func (s *State) Process(name string) (Process, error) {
	i := slices.IndexFunc(s.Processes, func(p Process) bool { return p.Name == name })
	if i < 0 {
		return Process{}, fmt.Errorf("the control plane has no program %q", name)
	}
	return s.Processes[i], nil
}

// StartGuard starts the process that takes the lab down when this one is gone.
func (s *State) StartGuard() error {
	start, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	cmd := exec.Command(s.Helper(), "guard", s.Name, strconv.Itoa(os.Getpid()), start)
	if err := s.startDetached(cmd, "guard"); err != nil {
		return err
	}
	return s.Update(func(now *State) error { now.Guard = cmd.Process.Pid; return nil })
}

// StopGuard lets the lab live on when this process is gone.
func (s *State) StopGuard() error {
	s.killGuard()
	return s.Update(func(now *State) error { now.Guard = 0; return nil })
}

// killGuard ends the guard, unless that is who calls.
func (s *State) killGuard() {
	if s.Guard == 0 || s.Guard == os.Getpid() {
		return
	}
	fd, err := unix.PidfdOpen(s.Guard, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	cmdline, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.Guard), "cmdline"))
	if err == nil && strings.HasPrefix(string(cmdline), s.Helper()+"\x00guard\x00"+s.Name+"\x00") {
		// If it ended meanwhile there is nothing to kill.
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// Guard waits for the process to end that had this id and start time, and then
// takes the lab down.
func Guard(ctx context.Context, name string, pid int, start string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
		if now, err := startTime(pid); err == nil && now == start {
			if err := waitReadable(fd); err != nil {
				return err
			}
		}
	}
	return Teardown(ctx, name)
}

func waitReadable(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// startTime is when a process started, in the kernel's ticks since boot.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	// The program's name, in parentheses, may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const startTimeField = 22 - 3 // of proc(5), counted from the field after the name
	if len(fields) <= startTimeField {
		return "", fmt.Errorf("process %d: can't read its start time", pid)
	}
	return fields[startTimeField], nil
}
