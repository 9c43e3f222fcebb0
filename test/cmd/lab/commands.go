package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/build"
)

// commands lists what the command can do, in the order in which help shows it.
func commands() []command {
	return []command{
		{"up", "[--nodes 3] …", "bring a lab up; up --help shows all flags", (*app).up},
		{"down", "", "take it down and leave nothing", (*app).down},
		{"status", "", "show the labs, or one lab's hosts and nodes", (*app).status},
		{"build", "", "build the cluster's programs, and say where they are", (*app).build},
		{"kubectl", "ARG…", "run kubectl with all rights", (*app).kubectl},
		{"load", "ARCHIVE", "give an image archive to every node", (*app).load},
		{"image", "[IMAGE]", "build this tree's Herald into an image, and say where its archive is", (*app).image},
		{"load-herald", "[IMAGE]", "build this tree's Herald and give it to every node", (*app).loadHerald},
		{"exec", "HOST COMMAND…", "run a command in a host's network", (*app).exec},
		{"node-exec", "NODE COMMAND…", "run a command inside a node: its network, files and processes", (*app).nodeExec},
		{"cut", "HOST", "pull its cable out of the switch", onHost(func(l *lab.Lab, _ context.Context, h string) error { return l.CutCable(h) })},
		{"mend", "HOST", "plug it in again", onHost(func(l *lab.Lab, _ context.Context, h string) error { return l.MendCable(h) })},
		{"lose", "HOST PERCENT", "lose frames from and to it, at random; 0 ends it", (*app).lose},
		{"poweroff", "NODE", "end everything on it at once", onHost((*lab.Lab).PowerOff)},
		{"poweron", "NODE", "boot it, and wait until it is Ready", onHost(powerOn)},
		{"freeze", "NODE|etcd", "stop its processes where they stand; a node's kernel goes on", onHost(freeze)},
		{"thaw", "NODE|etcd", "let them go on", onHost(thaw)},
		{"kill", "NODE PROGRAM [SIGNAL]", "send a signal (KILL) to a program, such as announcer or kubelet", (*app).kill},
		{"apiserver", "stop|start", "end the API server and the controllers, or start them again", (*app).apiserver},
	}
}

// parse parses a command's own flags, of which --name is always one.
func (a *app) parse(command string, args []string, define func(*pflag.FlagSet)) ([]string, error) {
	flags := pflag.NewFlagSet(command, pflag.ContinueOnError)
	flags.SetInterspersed(false)
	flags.SetOutput(a.stderr)
	flags.StringVar(&a.name, "name", a.name, "name of the lab")
	flags.Usage = func() { fmt.Fprintf(a.stdout, "Usage: lab %s [flags]\n%s", command, flags.FlagUsages()) }
	if define != nil {
		define(flags)
	}
	err := flags.Parse(args)
	return flags.Args(), err
}

// want parses a command that has only --name and a fixed number of arguments.
func (a *app) want(command, args string, given []string) ([]string, error) {
	rest, err := a.parse(command, given, nil)
	if err != nil {
		return nil, err
	}
	if n := len(strings.Fields(args)); len(rest) != n {
		return nil, fmt.Errorf("usage: lab [--name NAME] %s %s", command, args)
	}
	return rest, nil
}

func (a *app) open() (*lab.Lab, error) { return lab.Open(a.name, a.stderr) }

func (a *app) up(ctx context.Context, args []string) error {
	var o lab.Options
	var external, ipv6 bool
	rest, err := a.parse("up", args, func(f *pflag.FlagSet) {
		f.IntVar(&o.Nodes, "nodes", 3, "number of nodes")
		f.BoolVar(&external, "external-cloud-provider", false, "run the kubelets with --cloud-provider=external")
		f.BoolVar(&ipv6, "ipv6-only", false, "no IPv4 anywhere")
		f.BoolVar(&o.AuditLog, "audit-log", false, "let the API server write down every request")
		f.StringSliceVar(&o.Images, "image", nil, "image archives to give to the nodes")
	})
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("up takes no %q", rest[0])
	}
	if external {
		o.CloudProvider = lab.External
	}
	if ipv6 {
		o.Addressing = lab.IPv6Only
	}
	o.Name, o.Progress = a.name, a.stdout
	l, err := lab.Up(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Keep(); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "lab %q is up. Try: lab --name %s kubectl get nodes -o wide\n", a.name, a.name)
	return nil
}

func (a *app) down(ctx context.Context, args []string) error {
	if _, err := a.want("down", "", args); err != nil {
		return err
	}
	return lab.Down(ctx, a.name)
}

func (a *app) status(ctx context.Context, args []string) error {
	if _, err := a.want("status", "", args); err != nil {
		return err
	}
	names, err := lab.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		l, err := lab.Open(name, a.stderr)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.stdout, "lab %q: files in %s\n", name, l.Dir())
		for _, h := range l.Status(ctx) {
			fmt.Fprintf(a.stdout, "  %-12s %-32s %s\n", h.Name, h.Addresses, h.State)
		}
	}
	if len(names) == 0 {
		fmt.Fprintln(a.stdout, "there is no lab: bring one up with `lab up`")
	}
	return nil
}

func (a *app) build(ctx context.Context, args []string) error {
	if _, err := a.want("build", "", args); err != nil {
		return err
	}
	b, err := build.New(a.stderr)
	if err != nil {
		return err
	}
	bin, err := b.Programs(ctx)
	if err == nil {
		fmt.Fprintln(a.stdout, bin)
	}
	return err
}

func (a *app) image(ctx context.Context, args []string) error {
	archive, err := a.herald(ctx, "image", args)
	if err == nil {
		fmt.Fprintln(a.stdout, archive)
	}
	return err
}

// herald builds the image of the name given, and returns its archive.
func (a *app) herald(ctx context.Context, command string, args []string) (string, error) {
	args, err := a.parse(command, args, nil)
	if err != nil {
		return "", err
	}
	name := build.HeraldImage
	if len(args) > 0 {
		name = args[0]
	}
	b, err := build.New(a.stderr)
	if err != nil {
		return "", err
	}
	return b.Herald(ctx, name)
}

func (a *app) load(ctx context.Context, args []string) error {
	args, err := a.want("load", "ARCHIVE", args)
	if err != nil {
		return err
	}
	l, err := a.open()
	if err != nil {
		return err
	}
	return l.Load(ctx, args[0])
}

func (a *app) loadHerald(ctx context.Context, args []string) error {
	l, err := a.open()
	if err != nil {
		return err
	}
	archive, err := a.herald(ctx, "load-herald", args)
	if err != nil {
		return err
	}
	return l.Load(ctx, archive)
}

func (a *app) kill(_ context.Context, args []string) error {
	args, err := a.parse("kill", args, nil)
	if err != nil {
		return err
	}
	if len(args) == 2 {
		args = append(args, "KILL")
	}
	if len(args) != 3 {
		return errors.New("usage: lab [--name NAME] kill NODE PROGRAM [SIGNAL]")
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(args[2]), "SIG"))
	if sig == 0 {
		return fmt.Errorf("no signal %q", args[2])
	}
	l, err := a.open()
	if err != nil {
		return err
	}
	return l.KillProcess(args[0], args[1], sig)
}

func (a *app) lose(ctx context.Context, args []string) error {
	args, err := a.want("lose", "HOST PERCENT", args)
	if err != nil {
		return err
	}
	percent, err := strconv.Atoi(args[1])
	if err != nil {
		return fmt.Errorf("%q is no number of percent", args[1])
	}
	l, err := a.open()
	if err != nil {
		return err
	}
	return l.LoseFrames(ctx, args[0], percent)
}

func (a *app) apiserver(ctx context.Context, args []string) error {
	args, err := a.want("apiserver", "stop|start", args)
	if err != nil {
		return err
	}
	l, err := a.open()
	if err != nil {
		return err
	}
	switch args[0] {
	case "stop":
		return l.StopAPIServer(ctx)
	case "start":
		return l.StartAPIServer(ctx)
	}
	return fmt.Errorf("apiserver %s: want stop or start", args[0])
}

// onHost is a command that does one thing to one host.
func onHost(f func(*lab.Lab, context.Context, string) error) func(*app, context.Context, []string) error {
	return func(a *app, ctx context.Context, args []string) error {
		args, err := a.parse("", args, nil)
		if err != nil {
			return err
		}
		if len(args) != 1 {
			return errors.New("want one host: see `lab help`")
		}
		l, err := a.open()
		if err != nil {
			return err
		}
		return f(l, ctx, args[0])
	}
}

func powerOn(l *lab.Lab, ctx context.Context, node string) error {
	if err := l.PowerOn(ctx, node); err != nil {
		return err
	}
	return l.WaitNodesReady(ctx, node)
}

func freeze(l *lab.Lab, ctx context.Context, what string) error {
	if what == "etcd" {
		return l.FreezeEtcd(ctx)
	}
	return l.Freeze(ctx, what)
}

func thaw(l *lab.Lab, _ context.Context, what string) error {
	if what == "etcd" {
		return l.ThawEtcd()
	}
	return l.Thaw(what)
}
