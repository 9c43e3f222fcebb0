package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/herald-lb/herald/test/lab"
)

// BIRD is a running BIRD.
type BIRD struct {
	lab    *lab.Lab
	host   string
	dir    string
	daemon *lab.Daemon
}

// StartBIRD starts BIRD on a host, which then forwards packets and spreads flows
// over equal paths by their ports. The configuration is that of bird.conf.
func StartBIRD(ctx context.Context, l *lab.Lab, host, config string) (*BIRD, error) {
	if _, err := exec.LookPath("bird"); err != nil {
		return nil, errors.New("BIRD is missing: apt-get install -y bird2")
	}
	dir, err := l.Scratch(host, "bird")
	if err != nil {
		return nil, err
	}
	if err := makeRouter(l, host); err != nil {
		return nil, err
	}
	b := &BIRD{lab: l, host: host, dir: dir}
	if err := os.WriteFile(b.file("bird.conf"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if out, err := l.Exec(ctx, host, "bird", "-p", "-c", b.file("bird.conf")); err != nil {
		return nil, fmt.Errorf("BIRD does not take the configuration: %w: %s", err, out)
	}
	b.daemon, err = l.StartDaemon(host, "bird", "bird", "-f", "-c", b.file("bird.conf"), "-s", b.file("bird.ctl"), "-P", b.file("bird.pid"))
	if err != nil {
		return nil, err
	}
	err = l.WaitFor(ctx, lab.Wait{
		What: "BIRD on " + host, Timeout: 20 * time.Second, Logs: []string{b.daemon.Log()},
		Done: func(ctx context.Context) (bool, string) {
			_, err := b.Show(ctx, "show status")
			return err == nil, fmt.Sprint(err)
		},
	})
	if err != nil {
		return nil, errors.Join(err, b.Stop(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func (b *BIRD) file(name string) string { return filepath.Join(b.dir, name) }

// Show runs a command, such as "show protocols all", and returns what it
// printed.
func (b *BIRD) Show(ctx context.Context, command string) (string, error) {
	return b.lab.Exec(ctx, b.host, "birdc", "-s", b.file("bird.ctl"), command)
}

// Configure gives BIRD a new configuration in place of the old; sessions that
// are the same in both stay up.
func (b *BIRD) Configure(ctx context.Context, config string) error {
	if err := os.WriteFile(b.file("bird.conf"), []byte(config), 0o644); err != nil {
		return err
	}
	out, err := b.Show(ctx, "configure")
	if err == nil && !strings.Contains(out, "Reconfigur") {
		err = fmt.Errorf("BIRD does not take the configuration: %s", out)
	}
	return err
}

// Daemon returns the program, to freeze or signal it.
func (b *BIRD) Daemon() *lab.Daemon { return b.daemon }

// Stop ends BIRD at once. Its routes stay in the kernel.
func (b *BIRD) Stop(ctx context.Context) error { return b.daemon.Stop(ctx) }

// Shutdown lets BIRD say goodbye to its peers.
func (b *BIRD) Shutdown(ctx context.Context) error {
	return stopGently(ctx, b.lab, b.daemon, "bird")
}
