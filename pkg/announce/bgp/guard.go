package bgp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what a router may take of this node.
const (
	openTimeout  = 10 * time.Second // for its OPEN, then again for its KEEPALIVE
	writeTimeout = 90 * time.Second // to read what was sent, when there is no hold time
	closeTimeout = 500 * time.Millisecond

	bytesPerSecond  = 16 << 20
	bytesBurst      = 16 << 20
	bytesPerMessage = 256 // a message costs at least this much of the rate

	refreshBurst    = 10
	refreshInterval = 10 * time.Second

	// placeholderHoldTime is what the library believes in where there is none:
	// it reads 0 as its default, and can't send if the router says 0.
	placeholderHoldTime = 90 * time.Second

	// keepaliveSpacing bounds how often "the router is alive" is told: often
	// enough for the shortest hold time, three seconds.
	keepaliveSpacing = 100 * time.Millisecond
)

// traffic counts what passes a guard. Its fields are read while it runs.
type traffic struct {
	received  atomic.Uint64 // messages of the router
	discarded atomic.Uint64 // of these, UPDATEs and others that nobody needs
	updates   atomic.Uint64 // UPDATE messages sent
}

// guard joins the connection of the BGP library with the router's, message by
// message, until one of them ends. What the router sends reaches the library
// only as OPEN, KEEPALIVE, NOTIFICATION and ROUTE-REFRESH messages that the
// guard has written itself.
type guard struct {
	peer    Peer
	router  net.Conn
	library net.Conn
	traffic *traffic

	opened func(*open) // the router's OPEN has come; may be nil
	up     func()      // the session is established; may be nil

	in       inbound                      // receive's, until it has returned
	greeted  atomic.Bool                  // the library has accepted the router's OPEN
	answered atomic.Bool                  // the router has accepted the library's
	accepted atomic.Int32                 // how many of the two
	sent     atomic.Pointer[notification] // the NOTIFICATION that the router got from here
	torn     atomic.Bool                  // the router was left with part of a message
	stopping atomic.Bool
	quiet    atomic.Bool // no KEEPALIVEs go to the router but the first
	pulsing  sync.WaitGroup
}

// ending is why a session, or an attempt at one, is over.
type ending struct {
	cause  Cause
	reason string
}

func (e *ending) Error() string { return e.reason }

// farewell is the cause of a cancelled context that lets the router know that
// this node does not come back: a Cease (RFC 4486). Any other cause closes the
// connection without a word, which is what lets a router keep the routes.
type farewell struct{ ending }

// run returns when both connections are closed.
func (g *guard) run(ctx context.Context) *ending {
	g.in = inbound{peer: g.peer, refreshes: rate.NewLimiter(rate.Every(refreshInterval), refreshBurst)}
	sending, receiving := make(chan error, 1), make(chan error, 1)
	budget, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() { sending <- g.send() }()
	go func() { receiving <- g.receive(budget) }()

	var sendErr, receiveErr error
	select {
	case <-ctx.Done():
	case sendErr = <-sending:
		sending = nil
	case receiveErr = <-receiving:
		receiving = nil
		if g.libraryHasLastWord(receiveErr) {
			sending, sendErr = waitFor(sending, closeTimeout)
		}
	}
	cancel()
	g.halt(sending, receiving)
	switch {
	case ctx.Err() != nil:
		return g.leave(context.Cause(ctx))
	case receiveErr != nil && !g.libraryHasLastWord(receiveErr):
		var bad *protocolError
		if errors.As(receiveErr, &bad) {
			g.notify(bad.code, bad.subcode)
		}
		g.close()
		return g.routerEnded(receiveErr)
	}
	g.close()
	return g.libraryEnded(sendErr)
}

// libraryHasLastWord reports whether err means that the library has closed its
// connection, maybe after a NOTIFICATION that is still on its way.
func (g *guard) libraryHasLastWord(err error) bool {
	var failed *libraryError
	return errors.As(err, &failed)
}

// waitFor returns the channel itself when nothing came in time.
func waitFor(c chan error, limit time.Duration) (chan error, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-c:
		return nil, err
	case <-t.C:
		return c, nil
	}
}

// halt stops those of the two goroutines that still run. The router's
// connection stays open.
func (g *guard) halt(sending, receiving <-chan error) {
	g.stopping.Store(true)
	g.library.Close()
	g.router.SetDeadline(time.Now().Add(closeTimeout))
	if sending != nil {
		<-sending
	}
	if receiving != nil {
		g.router.SetReadDeadline(time.Now())
		<-receiving
	}
	g.pulsing.Wait()
}

// leave ends a session from this side: with a Cease for a farewell, and
// silently otherwise.
func (g *guard) leave(why error) *ending {
	var bye *farewell
	if errors.As(why, &bye) {
		if g.peer.KeepOnNotification && g.in.restart.flags&restartNotification != 0 {
			// Only a hard reset says that the routes are to go (RFC 8538, section 3).
			g.notify(errCease, ceaseHardReset, errCease, ceaseDeconfigured)
		} else {
			g.notify(errCease, ceaseDeconfigured)
		}
		g.close()
		return &bye.ending
	}
	g.close()
	var end *ending
	if errors.As(why, &end) {
		return end
	}
	return &ending{Stopped, "the announcer of this node is stopping"}
}

// notify sends a NOTIFICATION of the guard's own.
func (g *guard) notify(body ...byte) {
	if g.torn.Load() {
		return
	}
	g.router.SetWriteDeadline(time.Now().Add(closeTimeout))
	if _, err := g.router.Write(message(typeNotification, body...)); err == nil {
		g.sent.Store(&notification{code: body[0], subcode: body[1]})
	}
}

// close ends the router's connection. After a NOTIFICATION it waits for the
// router to close first: data that was not read would turn our close into a
// reset, which may overtake the message.
func (g *guard) close() {
	defer g.router.Close()
	if g.sent.Load() == nil {
		return
	}
	if c, ok := g.router.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
	g.router.SetReadDeadline(time.Now().Add(closeTimeout))
	io.CopyN(io.Discard, g.router, bytesBurst)
}

// receive hands the router's messages to the library.
func (g *guard) receive(ctx context.Context) error {
	r := bufio.NewReaderSize(g.router, 64<<10)
	budget := rate.NewLimiter(bytesPerSecond, bytesBurst)
	g.router.SetReadDeadline(time.Now().Add(openTimeout))
	for {
		msg, err := readMessage(r)
		if err != nil {
			return err
		}
		g.traffic.received.Add(1)
		if err := budget.WaitN(ctx, max(len(msg), bytesPerMessage)); err != nil {
			return err
		}
		before := g.in.step
		out, err := g.in.next(msg, time.Now())
		if err != nil {
			return err
		}
		if out == nil {
			g.traffic.discarded.Add(1)
			continue
		}
		if err := g.tell(out); err != nil {
			return err
		}
		if g.in.farewell != nil {
			return g.in.farewell
		}
		if before != g.in.step {
			g.advance(ctx)
		}
	}
}

// tell writes one message to the library. Two goroutines may do so at a time.
func (g *guard) tell(msg []byte) error {
	g.library.SetWriteDeadline(time.Now().Add(openTimeout))
	if _, err := g.library.Write(msg); err != nil {
		return &libraryError{err}
	}
	return nil
}

// libraryError is a failed write to the library, which closes a connection
// that it has no more use for.
type libraryError struct{ err error }

func (e *libraryError) Error() string { return e.err.Error() }

// advance follows the session from OPEN to KEEPALIVE to established.
func (g *guard) advance(ctx context.Context) {
	switch g.in.step {
	case stepKeepalive:
		g.router.SetReadDeadline(time.Now().Add(openTimeout))
		g.quiet.Store(g.in.noHoldTime())
		if g.opened != nil {
			g.opened(g.in.open)
		}
	case stepUp:
		g.router.SetReadDeadline(time.Time{})
		g.greet(&g.answered)
		if g.in.noHoldTime() {
			g.pulsing.Go(func() { g.pulse(ctx) })
		}
	}
}

// pulse tells the library that the router is alive, which does not say so
// itself without a hold time.
func (g *guard) pulse(ctx context.Context) {
	t := time.NewTicker(placeholderHoldTime / 3)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if g.tell(message(typeKeepalive)) != nil {
				return // send and receive notice as well
			}
		}
	}
}

// greet notes one of the two KEEPALIVEs that accept an OPEN. With both, the
// session is established.
func (g *guard) greet(half *atomic.Bool) {
	if !half.CompareAndSwap(false, true) {
		return
	}
	if g.accepted.Add(1) == 2 && g.up != nil {
		g.up()
	}
}

// localAddress is the node's address in the session.
func localAddress(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}
