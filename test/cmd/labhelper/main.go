// Labhelper is what a lab runs on its own behalf, since a Go program can't
// change the namespaces of all its threads:
//
//	labhelper run NAMESPACE CGROUP -- COMMAND ARG…   become COMMAND in a host
//	labhelper boot DIR      start the node whose directory it is; print its pid
//	labhelper init DIR      be the first process of a node
//	labhelper guard LAB PID START   take LAB down when process PID is gone
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/internal/cgroup"
	"github.com/herald-lb/herald/test/internal/netns"
	"github.com/herald-lb/herald/test/internal/node"
	"github.com/herald-lb/herald/test/internal/rig"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "labhelper:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 4 && args[0] == "run" && args[3] == "--":
		return become(args[1], args[2], args[4:])
	case len(args) == 2 && args[0] == "boot":
		spec, err := node.Load(args[1])
		if err != nil {
			return err
		}
		pid, err := node.Boot(spec)
		if err != nil {
			return err
		}
		fmt.Println(pid)
		return nil
	case len(args) == 2 && args[0] == "init":
		spec, err := node.Load(args[1])
		if err != nil {
			return err
		}
		return node.Init(spec)
	case len(args) == 4 && args[0] == "guard":
		pid, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return rig.Guard(context.Background(), args[1], pid, args[3])
	}
	return errors.New("this is a lab's own program; see `lab help`")
}

// become replaces this process by a command in a host's namespace and cgroup.
func become(namespace, group string, argv []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	// Exec keeps the namespace of the thread that calls it.
	runtime.LockOSThread()
	if err := (cgroup.Group{{Path: group}}).Join(); err != nil {
		return err
	}
	if err := netns.Enter(namespace); err != nil {
		return err
	}
	return unix.Exec(path, argv, os.Environ())
}
