// Package netns makes named network namespaces and runs code inside them.
//
// The names are those of ip(8), so that people can look inside with
// "ip netns exec". Nothing is ever made in the machine's own namespace.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const dir = "/run/netns"

// Path returns the file that stands for the namespace.
func Path(name string) string { return filepath.Join(dir, name) }

// Create makes a namespace. It fails if there is one of that name.
func Create(name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(Path(name), os.O_CREATE|os.O_EXCL, 0o444)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("network namespace %s exists: remove it with ip netns del %s", name, name)
	}
	if err != nil {
		return err
	}
	f.Close()
	done := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with the goroutine
		// instead of running others in the wrong namespace.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		done <- unix.Mount(fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid()), Path(name), "bind", unix.MS_BIND, "")
	}()
	return <-done
}

// Delete removes a namespace; one that does not exist is no error.
func Delete(name string) error {
	if err := unix.Unmount(Path(name), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", Path(name), err)
	}
	if err := os.Remove(Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Enter moves the calling thread into a namespace for good. The caller must
// have locked it and must not unlock it.
func Enter(name string) error {
	fd, err := unix.Open(Path(name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return nil
}

// Do runs f on a thread inside a namespace. Sockets made in f stay in the
// namespace; f must not leave it to other goroutines to make them.
func Do(name string, f func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(own)
	if err := Enter(name); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		// A thread that can't go back stays locked and ends with its goroutine.
		if unix.Setns(own, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// Ports that the kernel picks from, as values of IP_LOCAL_PORT_RANGE: the first in
// the lower half, the last in the upper. A question that comes before a Service
// is there leaves its connection in a node's table, and that would swallow a
// later one from the same port.
const (
	dialPorts = 34815<<16 | 32768
	// ProbePorts are those of probers, who open so many connections that they
	// are back at each port soon.
	ProbePorts = 60999<<16 | 34816
)

// PickFrom has a socket's port picked from some. Kernels before Linux 6.3 can't,
// and pick from all.
func PickFrom(fd, ports int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_LOCAL_PORT_RANGE, ports)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	return err
}

// dialer connects from some ports.
func dialer(ports int) *net.Dialer {
	return &net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = PickFrom(int(fd), ports) })
		return errors.Join(err, set)
	}}
}

// Dial connects from inside a namespace to an address and port; names are not
// resolved.
func Dial(ctx context.Context, name, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := Do(name, func() error {
		var err error
		conn, err = dialer(dialPorts).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}
