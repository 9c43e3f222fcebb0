package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

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
	owner, err := t.settle(ctx, claims)
	if err != nil {
		return o, err
	}
	moving := claims.unowned(t.addresses, func(c claim) bool { return c.node != owner })
	prober, stop, err := t.Probe(lab.Client, probe.Options{Target: netip.AddrPortFrom(t.addresses[0], 80), GapAfter: gapAfter})
	if err != nil {
		return o, err
	}
	if err := waitSteady(ctx, prober); err != nil {
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
	return o, errors.Join(err, stopErr, t.repair(ctx, owner))
}

// settle waits until nothing moves and the web server is not on the owner of
// the first address, and returns that owner.
func (t trial) settle(ctx context.Context, claims *claims) (owner string, err error) {
	if err := claims.waitOwned(ctx, t.addresses, time.Minute); err != nil {
		return "", err
	}
	for range 5 {
		owner = claims.owner(t.addresses[0]).node
		if err := errors.Join(t.deployWeb(ctx, "failover", owner), claims.waitStable(ctx, t.addresses)); err != nil {
			return "", err
		}
		if claims.owner(t.addresses[0]).node == owner {
			return owner, nil
		}
	}
	return "", fmt.Errorf("%v goes on moving, though nothing fails", t.addresses[0])
}

// waitSteady waits until the client gets its answers, and forgets what was
// before.
func waitSteady(ctx context.Context, p *probe.Prober) error {
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
			return fmt.Errorf("no steady answers before the fault: %v", r)
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
	if ctx.Err() != nil {
		return nil // the lab will be taken down as it is
	}
	if err := t.fault.undo(ctx, t.cluster, node); err != nil {
		return err
	}
	return t.waitAll(ctx)
}

// waitAll waits until everything runs.
func (c *cluster) waitAll(ctx context.Context) error {
	if err := c.WaitNodesReady(ctx, c.Nodes()...); err != nil {
		return err
	}
	if err := c.WaitRollout(ctx); err != nil {
		return err
	}
	return c.WaitMembers(ctx)
}
