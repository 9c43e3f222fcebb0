package bench

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

func failover() Benchmark {
	return Benchmark{
		Name:  "failover",
		About: "the owner of an address fails, while the client opens 100 connections a second to the address",
		Run:   runFailover,
	}
}

// fault is a way to fail, and how to undo it.
type fault struct {
	name   string
	goal   float64 // ms without an answer
	inject func(ctx context.Context, c *cluster, node string) error
	undo   func(ctx context.Context, c *cluster, node string) error
}

func faults() []fault {
	kill := func(sig unix.Signal) func(context.Context, *cluster, string) error {
		return func(ctx context.Context, c *cluster, node string) error {
			return c.KillProcess(node, announcerProgram, sig)
		}
	}
	renew := func(ctx context.Context, c *cluster, node string) error {
		announcers, err := c.announcers(ctx)
		if err != nil {
			return err
		}
		return c.renew(ctx, announcers[node])
	}
	return []fault{
		{"cable cut", 400,
			func(_ context.Context, c *cluster, node string) error { return c.CutCable(node) },
			func(_ context.Context, c *cluster, node string) error { return c.MendCable(node) }},
		{"power off", 400,
			func(ctx context.Context, c *cluster, node string) error { return c.PowerOff(ctx, node) },
			func(ctx context.Context, c *cluster, node string) error { return c.PowerOn(ctx, node) }},
		{"freeze", 0,
			func(ctx context.Context, c *cluster, node string) error { return c.Freeze(ctx, node) },
			func(_ context.Context, c *cluster, node string) error { return c.Thaw(node) }},
		{"announcer killed", 300, kill(unix.SIGKILL), renew},
		{"announcer told to stop", 0, kill(unix.SIGTERM), renew},
	}
}

func runFailover(ctx context.Context, e *Env) (Result, error) {
	result := Result{
		Notes: []string{
			fmt.Sprintf("The time without an answer is that of the client, who opens a connection each 10 ms and asks for a line; up to %v it counts as 0. The web server runs on nodes other than the one that fails, which alone is what moves.", gapAfter),
			fmt.Sprintf("Taken over is when the last of the owner's addresses has been claimed by another node, seen on the LAN by the client's kernel; %v means that it has not been until then.", takeoverTimeout),
			"When only the announcer fails, or all processes freeze, the node's kernel goes on forwarding, and a client that knows the way notices nothing. One that has to ask gets no answer until others have taken over.",
		},
		Plot: &Plot{Title: "Time without an answer when the owner of an address fails", Unit: "ms"},
	}
	for _, nodes := range e.Nodes {
		if err := e.failoversOf(ctx, nodes, &result); err != nil {
			result.Rows = append(result.Rows, missing(fmt.Sprintf("%d nodes", nodes), err))
		}
		if ctx.Err() != nil {
			return result, context.Cause(ctx)
		}
	}
	return result, nil
}

// failoversOf measures all faults in a cluster of so many nodes.
func (e *Env) failoversOf(ctx context.Context, nodes int, to *Result) (err error) {
	c, err := e.Cluster(ctx, nodes)
	if err != nil {
		return err
	}
	remove, err := c.namespace(ctx, "failover")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := c.deployWeb(ctx, "failover", ""); err != nil {
		return err
	}
	for _, n := range e.Addresses {
		addresses, err := c.announce(ctx, "failover", n)
		if err != nil {
			return err
		}
		for _, f := range faults() {
			name := fmt.Sprintf("%d nodes, %s, %s", nodes, plural(n, "address"), f.name)
			e.failovers(ctx, trial{c, f, addresses}, name, to)
		}
	}
	return nil
}

// failovers lets a fault happen several times. A trial in which the prober
// itself fell behind tells nothing, and is done again, up to as often again.
func (e *Env) failovers(ctx context.Context, t trial, name string, to *Result) {
	gap := Row{Name: name + ": without an answer", Unit: "ms"}
	taken := Row{Name: name + ": taken over", Unit: "ms"}
	failed := Row{Name: name + ": failed connections"}
	if t.fault.goal > 0 {
		gap.Goal = fmt.Sprintf("worst < %s ms", number(t.fault.goal))
	}
	again := 0
	for len(gap.Values) < e.Failovers {
		o, err := t.run(ctx)
		if err != nil {
			to.Rows = append(to.Rows, missing(name, err))
			break
		}
		e.say("%s: %v without an answer, taken over after %v, %d failed, prober late by %v", name, o.gap, o.taken, o.failed, o.late)
		if o.late > gapAfter && again < e.Failovers {
			again++
			continue
		}
		gap.Values = append(gap.Values, milliseconds(o.gap))
		taken.Values = append(taken.Values, milliseconds(o.taken))
		failed.Values = append(failed.Values, float64(o.failed))
	}
	if again > 0 {
		to.Notes = append(to.Notes, fmt.Sprintf("%s: %d trials were done again, because the prober itself fell behind by more than %v.", name, again, gapAfter))
	}
	if len(gap.Values) > 0 {
		to.Rows = append(to.Rows, gap, taken, failed)
	}
	to.Plot.Lines = append(to.Plot.Lines, PlotLine{Name: name, Values: gap.Values, Goal: t.fault.goal})
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ses", n, what)
}
