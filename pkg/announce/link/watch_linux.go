package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	gatherFor    = 20 * time.Millisecond
	quietAfter   = 100 * time.Millisecond // without an event, the next one is followed at once
	listEvery    = time.Minute            // whether or not anything was said
	retryAfter   = time.Second
	receiveBytes = 1 << 20
)

// Watcher tells of this node's links, in the network namespace it runs in.
type Watcher struct {
	log *slog.Logger
}

// New returns a watcher that does nothing until Run. The logger may be nil.
func New(log *slog.Logger) *Watcher {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{log: log}
}

// Run calls tell with a snapshot soon after it starts and whenever something
// changed, from one goroutine. It returns nil when ctx is done, and an error
// when the kernel can't be asked at all.
func (w *Watcher) Run(ctx context.Context, tell func(Snapshot)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	socket, err := subscribe()
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { w.listen(ctx, socket, changed) })
	return w.follow(ctx, changed, tell)
}

// follow lists at once and after each change.
func (w *Watcher) follow(ctx context.Context, changed <-chan struct{}, tell func(Snapshot)) error {
	var last Snapshot
	var told, gathering bool
	var event time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			now := time.Now()
			burst := now.Sub(event) < quietAfter
			event = now
			if burst {
				if !gathering {
					gathering = true
					timer.Reset(gatherFor)
				}
				continue
			}
		case <-timer.C:
		}
		gathering = false
		timer.Reset(listEvery)
		s, err := list()
		switch {
		case err != nil && !told && !errors.Is(err, netlink.ErrDumpInterrupted):
			return err
		case err != nil:
			w.log.Warn("links not listed, trying again", "err", err)
			timer.Reset(retryAfter)
		case !told || !reflect.DeepEqual(s, last):
			last, told = s, true
			tell(s)
		}
	}
}

func subscribe() (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to the kernel's links: %w", err)
	}
	if err := s.SetReceiveBufferSize(receiveBytes, false); err != nil {
		s.Close()
		return nil, fmt.Errorf("set the buffer for the kernel's links: %w", err)
	}
	return s, nil
}

// listen turns events into the one thing they mean. It owns the socket and
// replaces it when it fails.
func (w *Watcher) listen(ctx context.Context, s *nl.NetlinkSocket, changed chan<- struct{}) {
	for ctx.Err() == nil {
		err := receive(ctx, s, changed)
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("the kernel's link events ended, subscribing anew", "err", err)
		for s, err = subscribe(); err != nil; s, err = subscribe() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(retryAfter):
			}
		}
		dirty(changed)
	}
}

// receive reads until the socket fails or ctx is done, and closes it.
func receive(ctx context.Context, s *nl.NetlinkSocket, changed chan<- struct{}) error {
	done := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(done)
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-done:
		}
		s.Close()
	})
	for {
		messages, _, err := s.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			dirty(changed) // events were lost; the socket is as good as before
			continue
		case err != nil:
			return err
		}
		for _, m := range messages {
			if matters(m) {
				dirty(changed)
				break
			}
		}
	}
}

// matters leaves out what comes in numbers and never changes a snapshot: routes
// to pods, and the state of bridge ports.
func matters(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(m.Data) < 2 || m.Data[1] == 0 // the destination's prefix length
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return len(m.Data) < 1 || m.Data[0] != unix.AF_BRIDGE
	}
	return true
}

func dirty(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}
