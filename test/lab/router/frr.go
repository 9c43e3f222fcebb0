package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/lab"
)

// FRR is a running FRR: zebra, which puts routes into the kernel, bgpd and bfdd.
type FRR struct {
	lab     *lab.Lab
	host    string
	dir     string
	daemons map[string]*lab.Daemon
}

const frrPrograms = "/usr/lib/frr"

// StartFRR starts FRR on a host, which then forwards packets and spreads flows
// over equal paths by their ports. The configuration is that of frr.conf.
func StartFRR(ctx context.Context, l *lab.Lab, host, config string) (*FRR, error) {
	if _, err := os.Stat(filepath.Join(frrPrograms, "bgpd")); err != nil {
		return nil, errors.New("FRR is missing: apt-get install -y frr")
	}
	dir, err := l.Scratch(host, "frr")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(giveTo(dir, "frr"), makeRouter(l, host)); err != nil {
		return nil, err
	}
	f := &FRR{lab: l, host: host, dir: dir, daemons: map[string]*lab.Daemon{}}
	if err := os.WriteFile(filepath.Join(dir, "vtysh.conf"), nil, 0o644); err != nil {
		return nil, err
	}
	for _, name := range []string{"zebra", "bgpd", "bfdd"} {
		if err := f.Start(ctx, name); err != nil {
			return nil, errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
		}
	}
	if err := f.configure(ctx, config); err != nil {
		return nil, errors.Join(err, f.Stop(context.WithoutCancel(ctx)))
	}
	return f, nil
}

// Start starts one of the daemons: at first, or after it was killed, when it has
// no configuration until Configure gives it one.
func (f *FRR) Start(ctx context.Context, name string) error {
	args := []string{
		filepath.Join(frrPrograms, name), "-u", "frr", "-g", "frr", "--vty_socket", f.dir,
		"-z", filepath.Join(f.dir, "zserv.api"), "-i", filepath.Join(f.dir, name+".pid"),
		"-f", filepath.Join(f.dir, name+".conf"), "--log", "stdout", "-P", "0",
	}
	if name == "bfdd" {
		args = append(args, "--bfdctl", filepath.Join(f.dir, "bfdd.sock"))
	}
	d, err := f.lab.StartDaemon(f.host, name, privateTmp(args)...)
	if err != nil {
		return err
	}
	f.daemons[name] = d
	return f.lab.WaitFor(ctx, lab.Wait{
		What: name + " on " + f.host, Timeout: 20 * time.Second, Logs: []string{d.Log()},
		Done: func(ctx context.Context) (bool, string) {
			_, err := f.vtysh(ctx, "-d", name, "-c", "show version")
			return err == nil, fmt.Sprint(err)
		},
	})
}

// Show runs a command, such as "show bgp summary", and returns what it printed.
func (f *FRR) Show(ctx context.Context, command string) (string, error) {
	return f.vtysh(ctx, "-c", command)
}

// JSON runs a command that prints JSON and decodes it.
func (f *FRR) JSON(ctx context.Context, command string, into any) error {
	out, err := f.Show(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("%s on %s: %w: %s", command, f.host, err, out)
	}
	return nil
}

// Configure runs lines of configuration on top of what there is; "no" and a line
// takes one away.
func (f *FRR) Configure(ctx context.Context, config string) error {
	return f.configure(ctx, config)
}

func (f *FRR) configure(ctx context.Context, config string) error {
	file := filepath.Join(f.dir, "next.conf")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	out, err := f.vtysh(ctx, "-f", file)
	if err == nil && strings.Contains(out, "%") {
		err = errors.New("FRR does not take the configuration")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// Daemon returns one of the daemons, to freeze or signal it.
func (f *FRR) Daemon(name string) (*lab.Daemon, error) {
	if d, ok := f.daemons[name]; ok {
		return d, nil
	}
	return nil, fmt.Errorf("FRR on %s runs no %q", f.host, name)
}

// Stop ends FRR at once, as a router that loses power, but for its kernel's
// routes: they stay.
func (f *FRR) Stop(ctx context.Context) error {
	var errs []error
	for _, d := range f.daemons {
		errs = append(errs, d.Stop(ctx))
	}
	return errors.Join(errs...)
}

// Shutdown lets bgpd and bfdd say goodbye to their peers, and then stops FRR.
func (f *FRR) Shutdown(ctx context.Context) error {
	for _, name := range []string{"bgpd", "bfdd"} {
		d, err := f.Daemon(name)
		if err != nil {
			return err
		}
		if err := stopGently(ctx, f.lab, d, name); err != nil {
			return err
		}
	}
	return f.Stop(ctx)
}

func (f *FRR) vtysh(ctx context.Context, args ...string) (string, error) {
	return f.lab.Exec(ctx, f.host, f.VtyshCommand(args...)...)
}

// VtyshCommand is the command line that runs FRR's shell on its host, for
// [lab.Lab.Command].
func (f *FRR) VtyshCommand(args ...string) []string {
	return append([]string{"vtysh", "--vty_socket", f.dir, "--config_dir", f.dir}, args...)
}

// makeRouter lets a host forward, and choose among equal paths by ports too.
func makeRouter(l *lab.Lab, host string) error {
	var errs []error
	for name, value := range map[string]string{
		"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1",
		"net.ipv4.fib_multipath_hash_policy": "1", "net.ipv6.fib_multipath_hash_policy": "1",
	} {
		errs = append(errs, l.SetSysctl(host, name, value))
	}
	return errors.Join(errs...)
}

// privateTmp is a command line that runs another with a /var/tmp of its own,
// where FRR's daemons leave a directory each.
func privateTmp(argv []string) []string {
	return append([]string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs tmpfs /var/tmp && exec "$@"`, "sh"}, argv...)
}

// giveTo makes a user the owner of a directory.
func giveTo(dir, name string) error {
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}

// stopGently sends SIGTERM and waits for the end.
func stopGently(ctx context.Context, l *lab.Lab, d *lab.Daemon, name string) error {
	if err := d.Signal(unix.SIGTERM); err != nil {
		return err
	}
	return l.WaitFor(ctx, lab.Wait{
		What: name + " to end", Timeout: 10 * time.Second, Logs: []string{d.Log()},
		Done: func(context.Context) (bool, string) {
			running, err := d.Running()
			return err == nil && !running, fmt.Sprint(err)
		},
	})
}
