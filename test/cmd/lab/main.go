// Lab brings up real Kubernetes clusters on this machine, in network
// namespaces, and breaks them in the ways that clusters break. See "lab help".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	err := a.run(ctx, args)
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode() // the command that was run has said why
	case errors.Is(err, pflag.ErrHelp):
		return 0
	}
	fmt.Fprintln(stderr, "lab:", err)
	if ctx.Err() != nil {
		return 130 // as a shell says of a program that Ctrl-C ended
	}
	return 1
}

// app is one run of the command.
type app struct {
	stdout, stderr io.Writer
	name           string // of the lab
}

// command is one word of the command line.
type command struct {
	name, args, help string
	// run gets what follows the word and the flags before it.
	run func(a *app, ctx context.Context, args []string) error
}

func (a *app) run(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("lab", pflag.ContinueOnError)
	flags.SetInterspersed(false)
	flags.SetOutput(a.stderr)
	flags.Usage = func() { fmt.Fprint(a.stdout, usage()) }
	flags.StringVar(&a.name, "name", "lab", "name of the lab")
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	if len(args) == 0 || args[0] == "help" {
		fmt.Fprint(a.stdout, usage())
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(a, ctx, args[1:])
		}
	}
	return fmt.Errorf("no command %q: see `lab help`", args[0])
}

func usage() string {
	var b strings.Builder
	b.WriteString("Real Kubernetes clusters on this machine, in network namespaces, for trying Herald.\n\nUsage: lab [--name NAME] COMMAND\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-34s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
	b.WriteString(`
HOST is a node (n1, n2 …), client, router, cp (the control plane), or lan (the switch).
--name says which lab; without it, the lab is "lab". For kubectl it goes before the command.
`)
	return b.String()
}
