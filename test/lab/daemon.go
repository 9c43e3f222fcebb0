package lab

import (
	"context"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
	"github.com/herald-lb/herald/test/internal/rig"
)

// Daemon is a program that runs on a host until it is stopped or the lab is
// taken down. A host's faults, if that is a node, don't touch it.
type Daemon struct {
	lab   *Lab
	name  string
	group cgroup.Group
}

// StartDaemon starts a program in a host's network namespace. Its output goes to
// a log; the name, together with the host's, is what the log is called by.
func (l *Lab) StartDaemon(host, name string, argv ...string) (*Daemon, error) {
	if _, err := l.state.Host(host); err != nil {
		return nil, err
	}
	if err := rig.CheckName(name); err != nil {
		return nil, err
	}
	group, err := l.state.StartIn(host, name, argv)
	if err != nil {
		return nil, err
	}
	return &Daemon{lab: l, name: host + "-" + name, group: group}, nil
}

// Log is the file that its output goes to.
func (d *Daemon) Log() string { return d.lab.state.Log(d.name) }

// Running reports whether it, or a program that it started, still runs.
func (d *Daemon) Running() (bool, error) {
	pids, err := d.group.Pids()
	return len(pids) > 0, err
}

// Signal sends a signal to all of it.
func (d *Daemon) Signal(sig unix.Signal) error {
	_, err := d.group.Signal(sig, func(int) bool { return true })
	return err
}

// Freeze stops it where it stands: its connections stay open and nobody reads.
func (d *Daemon) Freeze(ctx context.Context) error { return d.group.Freeze(ctx) }

// Thaw undoes Freeze.
func (d *Daemon) Thaw() error { return d.group.Thaw() }

// Stop ends it at once, and all that it started. Send it SIGTERM first to let it
// say goodbye.
func (d *Daemon) Stop(ctx context.Context) error { return d.group.Kill(ctx) }

// Scratch makes a directory for a host's programs, which any user may enter and
// which goes with the lab.
func (l *Lab) Scratch(host, name string) (string, error) {
	if _, err := l.state.Host(host); err != nil {
		return "", err
	}
	dir := filepath.Join(l.Dir(), "scratch", host, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, nil
}

// SetSysctl sets a kernel setting of a host's network, such as
// "net.ipv4.fib_multipath_hash_policy".
func (l *Lab) SetSysctl(host, name, value string) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	return l.state.SetSysctl(host, name, value)
}
