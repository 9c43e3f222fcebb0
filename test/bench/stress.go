package bench

import (
	"context"
	"runtime"
	"time"
)

// stress is something that makes life hard for announcers. Start begins it and
// returns when it is in effect.
type stress struct {
	name  string
	start func(ctx context.Context, c *cluster) (stop func() error, err error)
}

func stresses() []stress {
	return []stress{
		{"no stress", func(context.Context, *cluster) (func() error, error) { return func() error { return nil }, nil }},
		{"all CPUs busy", func(_ context.Context, c *cluster) (func() error, error) { return c.Busy(busyProcesses()) }},
		{"few CPU shares", func(_ context.Context, c *cluster) (func() error, error) { return c.Crowd(busyProcesses()) }},
		{"10 % of frames lost", func(ctx context.Context, c *cluster) (func() error, error) { return c.Loss(ctx, 10) }},
		{"announcers stalled in turn", stallInTurn},
	}
}

const (
	stallFor   = 300 * time.Millisecond
	stallPause = time.Second
)

// busyProcesses is how many keep a node's CPUs busy: as many as there are CPUs,
// which all nodes share.
func busyProcesses() int { return max(2, runtime.NumCPU()) }

// stallInTurn stops one announcer after the other for a while.
func stallInTurn(ctx context.Context, c *cluster) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	nodes := c.Nodes()
	go func() {
		for i := 0; ; i++ {
			if err := c.Stall(nodes[i%len(nodes)], stallFor); err != nil {
				done <- err
				return
			}
			if pause(ctx, stallPause) != nil {
				done <- nil
				return
			}
		}
	}()
	return func() error { cancel(); return <-done }, nil
}
