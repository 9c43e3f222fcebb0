package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/herald-lb/herald/test/lab"
	"github.com/herald-lb/herald/test/lab/probe"
	"github.com/herald-lb/herald/test/lab/router"
)

func bgpFailover() Benchmark {
	return Benchmark{
		Name:  "bgp-failover",
		About: "one of three nodes that lead to an address fails, while a client behind the router opens 100 connections a second, which the router spreads over the nodes",
		Run:   runBGPFailover,
	}
}

// detection is how a router and a node notice that the other is gone.
type detection struct {
	name     string
	settings string // of the peer
	frr      string // further lines of the router's configuration
	losses   []loss
}

// withdrawnAfter is how long after routers use it no more a route of a node that
// drains has been withdrawn: the node waits for two seconds.
const withdrawnAfter = 3 * time.Second

// loss is a way to lose a node.
type loss struct {
	fault
	untilGoal  string        // for the time until no connection fails any more
	failedGoal string        // for the number of connections that fail
	stays      time.Duration // how long it is watched if the routes stay
	returns    bool          // it is undone, and all routes are back, while the client still asks
}

func detections() []detection {
	power := loss{stays: 15 * time.Second, fault: fault{
		name:   "power off",
		inject: func(ctx context.Context, c *cluster, node string) error { return c.PowerOff(ctx, node) },
		undo:   func(ctx context.Context, c *cluster, node string) error { return c.PowerOn(ctx, node) },
	}}
	killed := loss{stays: 4 * time.Second, fault: fault{
		name: "announcer killed",
		inject: func(_ context.Context, c *cluster, node string) error {
			return c.KillProcess(node, announcerProgram, unix.SIGKILL)
		},
		undo: func(ctx context.Context, c *cluster, node string) error {
			announcers, err := c.announcers(ctx)
			if err != nil {
				return err
			}
			return c.renew(ctx, announcers[node])
		},
	}}
	cordon := func(word string) func(context.Context, *cluster, string) error {
		return func(ctx context.Context, c *cluster, node string) error {
			_, err := c.Kubectl(ctx, word, node)
			return err
		}
	}
	drain := loss{failedGoal: "0", stays: 15 * time.Second, returns: true, fault: fault{name: "drain and return", inject: cordon("cordon"), undo: cordon("uncordon")}}
	fast := power
	fast.untilGoal = "worst < 250 ms"
	return []detection{
		{"hold-time 3 s", ", hold-time: 3s", "", []loss{power, killed, drain}},
		{"BFD 50 ms × 3", ", bfd-profile: fast", "router bgp 64513\n neighbor nodes bfd 3 50 50\n", []loss{fast, killed, drain}},
	}
}

func runBGPFailover(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	r, stop, err := c.startRouter(ctx)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	at, err := c.Address(lab.Router, lab.LAN4.Addr())
	if err != nil {
		return Result{}, err
	}
	for i, d := range detections() {
		if err := errors.Join(r.frr.Configure(ctx, d.frr), c.Configure(ctx, routedDocument(peer("frr", at, d.settings)), nil)); err != nil {
			return result, err
		}
		if i == 0 {
			remove, err := r.serve(ctx, victim(c))
			if err != nil {
				return result, err
			}
			defer func() { err = errors.Join(err, remove()) }()
		}
		for _, l := range d.losses {
			e.losses(ctx, r, l, d.name+", "+l.name, &result)
		}
		if ctx.Err() != nil {
			return result, context.Cause(ctx)
		}
	}
	result.Notes = append(result.Notes,
		"The router runs FRR, and its kernel chooses one of three equal ways by addresses and ports, so that a third of the connections goes by the node that fails. The web server runs on the other two.",
		"Until no connection fails is from the fault until the last connection was tried that got no answer within 900 ms: a third of those tried meanwhile fail, and the client is never without an answer for long.",
		"Route gone is when the router's kernel has no way by the node any more. When an announcer is killed the router sees its connection end, before BFD could tell, and keeps the routes by graceful restart; the node goes on forwarding.",
		"A drain is kubectl cordon, after which the router first uses the node's routes no more and then loses them, and kubectl uncordon, until it has them again.")
	return result, nil
}

// victim is the node that fails.
func victim(c *cluster) string { return c.Nodes()[len(c.Nodes())-1] }

// rerouted is what came of a loss.
type rerouted struct {
	until  time.Duration // the last connection that failed was tried
	gap    time.Duration // longest without an answer
	gone   time.Duration // until the router's kernel had no way by the node; 0 if it kept it
	failed int
	late   time.Duration // of the prober itself
}

// losses loses the node several times. As with failovers, a trial in which the
// prober itself fell behind is done again, up to as often again.
func (e *Env) losses(ctx context.Context, r *routed, l loss, name string, to *Result) {
	until := Row{Name: name + ": until no connection fails", Unit: "ms", Goal: l.untilGoal}
	gap := Row{Name: name + ": longest without an answer", Unit: "ms"}
	gone := Row{Name: name + ": route gone", Unit: "ms"}
	failed := Row{Name: name + ": failed connections", Goal: l.failedGoal}
	again := 0
	for len(until.Values) < e.Failovers {
		o, err := r.lose(ctx, l)
		if err != nil {
			to.Rows = append(to.Rows, missing(name, err))
			break
		}
		e.say("%s: connections failed for %v, %v without an answer, route gone after %v, %d failed, prober late by %v", name, o.until, o.gap, o.gone, o.failed, o.late)
		if o.late > gapAfter && again < e.Failovers {
			again++
			continue
		}
		until.Values = append(until.Values, milliseconds(o.until))
		gap.Values = append(gap.Values, milliseconds(o.gap))
		failed.Values = append(failed.Values, float64(o.failed))
		if o.gone > 0 {
			gone.Values = append(gone.Values, milliseconds(o.gone))
		}
	}
	if again > 0 {
		to.Notes = append(to.Notes, fmt.Sprintf("%s: %d trials were done again, because the prober itself fell behind by more than %v.", name, again, gapAfter))
	}
	for _, row := range []Row{until, gap, gone, failed} {
		if len(row.Values) > 0 {
			to.Rows = append(to.Rows, row)
		}
	}
}

// lose loses the node once, and undoes it.
func (r *routed) lose(ctx context.Context, l loss) (o rerouted, err error) {
	if err := r.waitRoutes(ctx); err != nil {
		return o, err
	}
	prober, stop, err := r.Probe(far, probe.Options{Target: netip.AddrPortFrom(r.address, 80), GapAfter: gapAfter})
	if err != nil {
		return o, err
	}
	if err := waitSteady(ctx, prober); err != nil {
		_, stopErr := stop()
		return o, errors.Join(err, stopErr)
	}
	start := time.Now()
	err = l.inject(ctx, r.cluster, victim(r.cluster))
	if err == nil {
		o.gone, err = r.waitGone(ctx, start, l.stays)
	}
	if l.returns {
		err = errors.Join(err, pause(ctx, withdrawnAfter), l.undo(ctx, r.cluster, victim(r.cluster)), router.WaitKernel(ctx, r.Lab, lab.Router, r.address, r.Nodes()...))
	}
	err = errors.Join(err, pause(ctx, failedAfter))
	report, stopErr := stop()
	o.gap, o.failed, o.late = report.Worst(), len(report.Failures), report.Late
	for _, f := range report.Failures {
		o.until = max(o.until, f.At.Sub(start))
	}
	if !l.returns && ctx.Err() == nil {
		err = errors.Join(err, l.undo(ctx, r.cluster, victim(r.cluster)))
	}
	return o, errors.Join(err, stopErr)
}

// waitGone waits until the router's kernel has no way by the node that fails. It
// returns when that was, or 0 if the way is still there after a time.
func (r *routed) waitGone(ctx context.Context, start time.Time, limit time.Duration) (time.Duration, error) {
	for time.Since(start) < limit {
		ways, err := router.KernelNodes(ctx, r.Lab, lab.Router, r.address)
		if err != nil {
			return 0, err
		}
		if !slices.Contains(ways, victim(r.cluster)) {
			return time.Since(start), nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
