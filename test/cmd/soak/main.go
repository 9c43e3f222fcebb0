// Soak wears Herald down on a cluster of this machine: load, faults at random,
// and a client for each address. It ends with a report, and with an error if
// something did not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/herald-lb/herald/test/soak"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
	if err := soak.Run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (soak.Settings, error) {
	s := soak.Settings{Out: os.Stdout}
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&s.For, "for", time.Hour, "how long")
	flags.Uint64Var(&s.Seed, "seed", rand.Uint64N(1_000_000), "what happens and when follows from it")
	flags.IntVar(&s.Nodes, "nodes", 3, "nodes of the cluster, at least 3")
	flags.IntVar(&s.Services, "services", 4, "dual-stack Services, at most 12")
	flags.IntVar(&s.Rate, "rate", 20, "connections a second to each address")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unknown argument %q: see -help", flags.Arg(0))
	}
	const most = 12
	if s.For <= 0 || s.Nodes < 3 || s.Services < 1 || s.Services > most || s.Rate < 1 {
		return s, errors.New("want a time, 3 nodes or more, 1 to 12 services and a rate: see -help")
	}
	return s, nil
}
