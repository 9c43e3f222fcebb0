package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"

	"github.com/herald-lb/herald/test/internal/netns"
)

// Command returns a command that runs in a host's network namespace, with the
// machine's files. It ends with the lab, and with its host if that is a node.
func (l *Lab) Command(ctx context.Context, host string, argv ...string) (*exec.Cmd, error) {
	return l.state.Command(ctx, host, argv...)
}

// Exec runs a command in a host's network namespace and returns what it printed.
func (l *Lab) Exec(ctx context.Context, host string, argv ...string) (string, error) {
	cmd, err := l.Command(ctx, host, argv...)
	if err != nil {
		return "", err
	}
	return output(cmd, host)
}

// output runs a command and returns its standard output; its error has what the
// command complained of.
func output(cmd *exec.Cmd, host string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("on %s: %s: %w: %s", host, strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Do runs f on a thread inside a host's network namespace: sockets that f makes
// are the host's. f must not leave it to other goroutines to make them.
func (l *Lab) Do(host string, f func() error) error {
	if _, err := l.state.Host(host); err != nil {
		return err
	}
	return netns.Do(l.state.Namespace(host), f)
}

// Dial connects from a host to an address and port.
func (l *Lab) Dial(ctx context.Context, host, network, address string) (net.Conn, error) {
	if _, err := l.state.Host(host); err != nil {
		return nil, err
	}
	return netns.Dial(ctx, l.state.Namespace(host), network, address)
}
