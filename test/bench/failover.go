package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
)

// Times of a failover.
const (
	// gapAfter is what counts as a time without an answer: three connections in
	// a row.
	gapAfter = 30 * time.Millisecond
	// takeoverTimeout is how long is waited for others to take over.
	takeoverTimeout = 15 * time.Second
	// failedAfter is how long a connection may take to fail.
	failedAfter = 1500 * time.Millisecond
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
			fmt.Sprintf("The time without an answer is that of the client, who opens a connection each 10 ms and asks for a line; up to %v it counts as none. The web server runs on nodes other than the one that fails, which alone is what moves.", gapAfter),
			fmt.Sprintf("Taken over is when the last of the owner's addresses has been claimed by another node, seen on the LAN by the client's kernel; %v means that it has not been until then.", takeoverTimeout),
			"A frozen node's kernel forwards what it gets and answers no ARP: established clients don't notice, so what counts is when others take over.",
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
			name := fmt.Sprintf("%d nodes, %d addresses, %s", nodes, n, f.name)
			e.failovers(ctx, trial{c, f, addresses}, name, to)
		}
	}
	return nil
}

// failovers lets a fault happen several times.
func (e *Env) failovers(ctx context.Context, t trial, name string, to *Result) {
	gap := Row{Name: name + ": without an answer", Unit: "ms"}
	taken := Row{Name: name + ": taken over", Unit: "ms"}
	failed := Row{Name: name + ": failed connections"}
	if t.fault.goal > 0 {
		gap.Goal = fmt.Sprintf("worst < %s ms", number(t.fault.goal))
	}
	for range e.Failovers {
		o, err := t.run(ctx)
		if err != nil {
			to.Rows = append(to.Rows, missing(name, err))
			break
		}
		e.say("%s: %v without an answer, taken over after %v, %d failed, prober late by %v", name, o.gap, o.taken, o.failed, o.late)
		gap.Values = append(gap.Values, milliseconds(o.gap))
		taken.Values = append(taken.Values, milliseconds(o.taken))
		failed.Values = append(failed.Values, float64(o.failed))
	}
	to.Rows = append(to.Rows, gap, taken, failed)
	to.Plot.Lines = append(to.Plot.Lines, PlotLine{Name: name, Values: gap.Values, Goal: t.fault.goal})
}

// trial is a fault to try, on some addresses; the client probes the first.
type trial struct {
	*cluster
	fault     fault
	addresses []netip.Addr
}

// outcome is what came of a trial.
type outcome struct {
	gap    time.Duration // longest without an answer
	taken  time.Duration // until all addresses of the node had another owner
	failed int           // connections
	late   time.Duration // of the prober itself
}

// run lets the fault happen once, and undoes it.
func (t trial) run(ctx context.Context) (o outcome, err error) {
	claims, err := t.watchClaims(ctx)
	if err != nil {
		return o, err
	}
	defer claims.close()
	if err := claims.waitOwned(ctx, t.addresses, time.Minute); err != nil {
		return o, err
	}
	owner := claims.owner(t.addresses[0]).node
	if err := t.deployWeb(ctx, "failover", owner); err != nil {
		return o, err
	}
	if err := claims.waitStable(ctx, t.addresses); err != nil {
		return o, err
	}
	if now := claims.owner(t.addresses[0]).node; now != owner {
		return o, fmt.Errorf("%v moved from %s to %s by itself", t.addresses[0], owner, now)
	}
	moving := claims.unowned(t.addresses, func(c claim) bool { return c.node != owner })
	prober, stop, err := t.Probe(lab.Client, probe.Options{Target: netip.AddrPortFrom(t.addresses[0], 80), GapAfter: gapAfter})
	if err != nil {
		return o, err
	}
	if err := t.waitSteady(ctx, prober); err != nil {
		_, stopErr := stop()
		return o, errors.Join(err, stopErr)
	}
	start := time.Now()
	err = t.fault.inject(ctx, t.cluster, owner)
	if err == nil {
		o.taken, err = claims.takenFrom(ctx, owner, moving, start)
	}
	err = errors.Join(err, pause(ctx, failedAfter))
	report, stopErr := stop()
	o.gap, o.failed, o.late = report.Worst(), len(report.Failures), report.Late
	return o, errors.Join(err, stopErr, t.repair(context.WithoutCancel(ctx), owner))
}

// waitSteady waits until the client gets its answers, and forgets what was
// before.
func (t trial) waitSteady(ctx context.Context, p *probe.Prober) error {
	const answers = 100
	for deadline := time.Now().Add(20 * time.Second); ; {
		p.Reset()
		if err := pause(ctx, 1200*time.Millisecond); err != nil {
			return err
		}
		r := p.Report()
		if r.Answered >= answers && len(r.Failures) == 0 && len(r.Gaps) == 0 {
			p.Reset()
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%v does not answer steadily before the fault: %v", t.addresses[0], r)
		}
	}
}

// takenFrom waits until other nodes have claimed all addresses, and returns when
// the last was, counted from start.
func (w *claims) takenFrom(ctx context.Context, owner string, addresses []netip.Addr, start time.Time) (time.Duration, error) {
	elsewhere := func(c claim) bool { return c.node != owner && c.at.After(start) }
	for time.Since(start) < takeoverTimeout {
		if len(w.unowned(addresses, elsewhere)) == 0 {
			var last time.Duration
			for _, a := range addresses {
				last = max(last, w.owner(a).at.Sub(start))
			}
			return last, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return takeoverTimeout, nil
}

// repair undoes the fault and waits until everything runs again.
func (t trial) repair(ctx context.Context, node string) error {
	if err := t.fault.undo(ctx, t.cluster, node); err != nil {
		return err
	}
	if err := t.WaitNodesReady(ctx, t.Nodes()...); err != nil {
		return err
	}
	return t.WaitRollout(ctx)
}
