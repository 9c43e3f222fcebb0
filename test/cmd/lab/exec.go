package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/herald-lb/herald/test/lab"
)

func (a *app) kubectl(ctx context.Context, args []string) error {
	l, err := a.open()
	if err != nil {
		return err
	}
	cmd, err := l.Command(ctx, lab.ControlPlane, l.KubectlCommand(args...)...)
	if err != nil {
		return err
	}
	return a.foreground(cmd)
}

func (a *app) exec(ctx context.Context, args []string) error {
	args, err := a.hostAndCommand("exec", args)
	if err != nil {
		return err
	}
	l, err := a.open()
	if err != nil {
		return err
	}
	cmd, err := l.Command(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	return a.foreground(cmd)
}

func (a *app) nodeExec(ctx context.Context, args []string) error {
	args, err := a.hostAndCommand("node-exec", args)
	if err != nil {
		return err
	}
	l, err := a.open()
	if err != nil {
		return err
	}
	cmd, err := l.NodeCommand(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	return a.foreground(cmd)
}

func (a *app) hostAndCommand(command string, args []string) ([]string, error) {
	args, err := a.parse(command, args, nil)
	if err == nil && len(args) < 2 {
		err = fmt.Errorf("usage: lab [--name NAME] %s HOST COMMAND…", command)
	}
	return args, err
}

// foreground runs a command as if it had been typed.
func (a *app) foreground(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.stdout, a.stderr
	return cmd.Run()
}
