// Bench measures Herald on this machine and writes the figures, beside those of
// what it is compared with, to a file in test/results.
//
//	go -C test run ./cmd/bench                    everything, about two and a half hours
//	go -C test run ./cmd/bench -quick             everything, a little of it
//	go -C test run ./cmd/bench -run 'burst|reply' some of it; see -list
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/herald-lb/herald/test/bench"
	"github.com/herald-lb/herald/test/bench/part"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == part.Word {
		os.Exit(part.Main(ctx, os.Args[2:]))
	}
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if o.list {
		for _, b := range o.chosen {
			fmt.Printf("%-10s %s\n", b.Name, b.About)
		}
		return
	}
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options is the command line.
type options struct {
	settings bench.Settings
	chosen   []bench.Benchmark
	out      string
	list     bool
	args     []string
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{args: args, settings: bench.Full()}
	// What -quick sets are defaults: other flags win, wherever they stand.
	for _, a := range args {
		if strings.TrimLeft(a, "-") == "quick" {
			o.settings = bench.Quick()
		}
	}
	s := &o.settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("run", "", "run the benchmarks whose names match the regular expression")
	flags.Bool("quick", false, "measure little, to see that it works; the other flags' defaults become smaller")
	flags.StringVar(&o.out, "out", "", "file to write to (default results/DATE.md)")
	flags.BoolVar(&o.list, "list", false, "list the benchmarks and end")
	flags.IntVar(&s.Runs, "runs", s.Runs, "how often to measure what is compared")
	flags.IntVar(&s.Services, "services", s.Services, "Services of a burst and of a restart")
	flags.IntVar(&s.Replies, "replies", s.Replies, "ARP and NDP replies to ask for in each run")
	flags.IntVar(&s.FloodRate, "flood", s.FloodRate, "frames a second of the flood")
	flags.Func("nodes", "sizes of cluster for failovers, such as 3,8", numbers(&s.Nodes))
	flags.Func("addresses", "numbers of addresses for failovers, such as 1,500", numbers(&s.Addresses))
	flags.IntVar(&s.Failovers, "failovers", s.Failovers, "failovers of each kind")
	flags.DurationVar(&s.Stress, "stress", s.Stress, "time under each stress")
	flags.DurationVar(&s.Idle, "idle", s.Idle, "time to watch idle programs for")
	flags.IntVar(&s.Routes, "routes", s.Routes, "addresses to announce by BGP")
	flags.IntVar(&s.Opens, "opens", s.Opens, "OPENs of hostile routers, and ten messages for each")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q: see -help", flags.Arg(0))
	}
	match, err := regexp.Compile(*pattern)
	if err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	for _, b := range bench.All() {
		if match.MatchString(b.Name) {
			o.chosen = append(o.chosen, b)
		}
	}
	if len(o.chosen) == 0 {
		return o, fmt.Errorf("-run %q matches no benchmark: see -list", *pattern)
	}
	if o.out == "" {
		o.out = filepath.Join("results", time.Now().Format(time.DateOnly)+".md")
	}
	return o, nil
}

// numbers parses a list of numbers, smallest first.
func numbers(to *[]int) func(string) error {
	return func(text string) error {
		*to = nil
		for part := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(part)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of anything", part)
			}
			*to = append(*to, n)
		}
		slices.Sort(*to)
		return nil
	}
}

// run measures, and writes the report after each benchmark, so that an
// interrupted run leaves what it has.
func run(ctx context.Context, o options) error {
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	report := bench.Report{
		Date: time.Now(), Settings: o.settings, Facts: bench.Facts(ctx),
		Command: strings.Join(append([]string{"go -C test run ./cmd/bench"}, o.args...), " "),
	}
	env := &bench.Env{Settings: o.settings, Progress: os.Stderr}
	var failed []error
	for _, b := range o.chosen {
		fmt.Fprintf(os.Stderr, "== %s: %s\n", b.Name, b.About)
		start := time.Now()
		result, err := b.Run(ctx, env)
		if ctx.Err() != nil {
			failed = append(failed, context.Cause(ctx))
			break
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", b.Name, err))
			result.Rows = append(result.Rows, bench.Row{Name: "all", Missing: err.Error()})
		}
		section := bench.Section{Benchmark: b.Name, About: b.About, Took: time.Since(start), Result: result}
		report.Sections = append(report.Sections, section)
		if err := write(&report, o.out); err != nil {
			failed = append(failed, err)
			break
		}
	}
	failed = append(failed, env.Close(context.WithoutCancel(ctx)))
	if len(report.Sections) > 0 {
		fmt.Fprintf(os.Stderr, "figures are in %s\n", o.out)
	}
	return errors.Join(failed...)
}

// write writes the report and the pictures that it shows.
func write(r *bench.Report, path string) error {
	for i := range r.Sections {
		s := &r.Sections[i]
		if s.Result.Plot == nil {
			continue
		}
		s.Picture = strings.TrimSuffix(filepath.Base(path), ".md") + "-" + s.Benchmark + ".svg"
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), s.Picture), s.Result.Plot.SVG(), 0o644); err != nil {
			return err
		}
	}
	now := *r
	now.Facts = append(now.Facts[:len(now.Facts):len(now.Facts)], bench.Fact{Name: "load when it ended", Value: bench.Load()})
	return os.WriteFile(path, now.Markdown(), 0o644)
}
