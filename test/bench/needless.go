package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// stressedAddresses are under stress, in a cluster of three nodes.
const stressedAddresses = 50

func needless() Benchmark {
	return Benchmark{
		Name:  "needless",
		About: fmt.Sprintf("%d addresses under each stress for a time: how often one of them moves, though no node has failed", stressedAddresses),
		Run:   runNeedless,
	}
}

func runNeedless(ctx context.Context, e *Env) (result Result, err error) {
	c, err := e.Cluster(ctx, 3)
	if err != nil {
		return Result{}, err
	}
	remove, err := c.namespace(ctx, "stress")
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if err := c.deployWeb(ctx, "stress", ""); err != nil {
		return Result{}, err
	}
	addresses, err := c.announce(ctx, "stress", stressedAddresses)
	if err != nil {
		return Result{}, err
	}
	for _, s := range stresses() {
		row := Row{Name: fmt.Sprintf("%s for %v: changes of an owner", s.name, e.Stress), Goal: "0"}
		moves, err := e.stressed(ctx, c, s, addresses)
		if err != nil {
			row.Missing = err.Error()
		} else {
			e.say("%s: %d changes of an owner", s.name, moves)
			row.Values = Sample{float64(moves)}
		}
		result.Rows = append(result.Rows, row)
	}
	result.Notes = []string{
		"A change of an owner is seen by the client: another node than before says by ARP that it has the address. All addresses are asked for each second.",
		fmt.Sprintf("Busy: %d processes on each node that only count. Shares: the same, beside each announcer's pod in a cgroup of cpu.shares 1024, while the announcer has 102. Loss: one of ten frames that reach a node is dropped. Stalls: an announcer is stopped for %v, then all go on for %v, then the next is stopped.",
			busyProcesses(), stallFor, stallPause),
	}
	return result, nil
}

// stressed counts how often an owner changes under a stress.
func (e *Env) stressed(ctx context.Context, c *cluster, s stress, addresses []netip.Addr) (moves int, err error) {
	w, err := c.watchClaims(ctx)
	if err != nil {
		return 0, err
	}
	defer w.close()
	if err := w.waitOwned(ctx, addresses, time.Minute); err != nil {
		return 0, err
	}
	if err := w.waitStable(ctx, addresses); err != nil {
		return 0, err
	}
	before := w.moved()
	stop, err := s.start(ctx, c)
	if err != nil {
		return 0, err
	}
	for end := time.Now().Add(e.Stress); time.Now().Before(end) && err == nil; {
		err = errors.Join(w.ask(addresses), pause(ctx, time.Second))
	}
	return w.moved() - before, errors.Join(err, stop())
}

// waitStable waits until no address has moved for three seconds.
func (w *claims) waitStable(ctx context.Context, addresses []netip.Addr) error {
	const quiet = 3
	deadline := time.Now().Add(time.Minute)
	for calm, last := 0, -1; calm < quiet; calm++ {
		if err := errors.Join(w.ask(addresses), pause(ctx, time.Second)); err != nil {
			return err
		}
		if now := w.moved(); now != last {
			calm, last = -1, now
		}
		if time.Now().After(deadline) {
			return errors.New("addresses go on moving for a minute")
		}
	}
	return nil
}
