// Announcer runs on every node. It makes the network send the traffic of
// LoadBalancer Services' addresses to healthy nodes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
)

// version is set by the linker.
var version = "v0.1.0"

// gcPercent trades a little of the processor for memory, of which every node of
// the cluster pays: the heap is a few megabytes.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program: its result is the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := newOptions(os.Getenv)
	flags := pflag.NewFlagSet("announcer", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.SetOutput(stdout)
	o.addFlags(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, pflag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "announcer:", err)
		return 2
	}
	if o.showVersion {
		fmt.Fprintln(stdout, "announcer", version)
		return 0
	}
	if err := o.complete(); err != nil {
		fmt.Fprintln(stderr, "announcer can't start:")
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := o.logger(stderr)
	klog.SetSlogLogger(log.With("from", "client-go"))
	log.Info("announcer", "version", version, "node", o.nodeName, "address", o.hostIP)
	if err := serve(ctx, o, log); err != nil {
		log.Error("the announcer stops", "err", err)
		return 1
	}
	return 0
}
