package bench

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// flooder is the host that floods the LAN.
const flooder = "flooder"

// startFlood sends frames from a host of its own, over and over. stop ends it
// and returns how many a second it was.
func (c *cluster) startFlood(ctx context.Context, frames [][]byte, rate int) (stop func() float64, err error) {
	if !c.flooding {
		if err := c.AddHost(flooder); err != nil {
			return nil, err
		}
		c.flooding = true
	}
	s, err := c.openRaw(flooder, unix.ETH_P_LOOPBACK, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan float64)
	go func() {
		defer s.close()
		sent <- flood(ctx, s, frames, rate)
	}()
	return func() float64 {
		cancel()
		return <-sent
	}, nil
}

// flood sends what is due each millisecond until ctx ends. It returns how many
// frames a second were sent.
func flood(ctx context.Context, s *rawSocket, frames [][]byte, rate int) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start, sent := time.Now(), 0
	for ctx.Err() == nil {
		<-tick.C
		due := int(time.Since(start).Seconds() * float64(rate))
		// What could not be sent in time is not made up for in one go.
		for burst := 0; sent < due && burst < rate/100; burst++ {
			if s.send(frames[sent%len(frames)]) != nil {
				break // the queue is full
			}
			sent++
		}
	}
	return float64(sent) / time.Since(start).Seconds()
}
