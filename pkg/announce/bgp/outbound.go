package bgp

import (
	"bufio"
	"time"
)

// send copies the library's messages to the router. The router always gets
// whole messages, so that a NOTIFICATION can follow any of them.
func (g *guard) send() error {
	r := bufio.NewReaderSize(g.library, 64<<10)
	w := bufio.NewWriterSize(routerWriter{g}, 64<<10)
	for {
		msg, err := readMessage(r)
		if err != nil {
			return err
		}
		if messageType(msg) == typeKeepalive && g.quiet.Load() && g.greeted.Load() {
			continue
		}
		if msg, err = g.outgoing(msg); err != nil {
			return err
		}
		if w.Available() < len(msg) {
			if err := w.Flush(); err != nil {
				return err
			}
		}
		w.Write(msg) // fits: it can't fail
		if messageType(msg) == typeUpdate && r.Buffered() > 0 {
			continue // the library has written more: one packet for all of it
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if messageType(msg) == typeKeepalive && g.sent.Load() == nil {
			g.greet(&g.greeted)
		}
	}
}

// outgoing notes what the library sends, and puts its OPEN right.
func (g *guard) outgoing(msg []byte) ([]byte, error) {
	switch messageType(msg) {
	case typeOpen:
		return g.ownOpen(messageBody(msg))
	case typeUpdate:
		g.traffic.updates.Add(1)
	case typeNotification:
		n, err := decodeNotification(messageBody(msg))
		if err != nil {
			return nil, err
		}
		g.sent.Store(&n)
	}
	return msg, nil
}

// sendError is a failed write to the router.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// routerWriter writes to the router with a deadline for each write.
type routerWriter struct{ *guard }

func (w routerWriter) Write(b []byte) (int, error) {
	w.router.SetWriteDeadline(time.Now().Add(w.writeTimeout()))
	if w.stopping.Load() { // after the line above: halt does the two in the other order
		w.router.SetWriteDeadline(time.Now().Add(closeTimeout))
	}
	n, err := w.router.Write(b)
	if err != nil {
		w.torn.Store(true)
		return n, &sendError{err}
	}
	return n, nil
}

func (g *guard) writeTimeout() time.Duration {
	if g.peer.HoldTime > 0 {
		return g.peer.HoldTime
	}
	return writeTimeout
}

// ownOpen rewrites the library's OPEN: the router-id is the peer's, and a hold
// time of 0 is put in. The restart flags say what is true of this node
// at the start of each session: the session is new, and the kernel has gone on
// forwarding (the library would first wait for the router's End-of-RIB).
func (g *guard) ownOpen(body []byte) ([]byte, error) {
	o, err := decodeOpen(body)
	if err != nil {
		return nil, err
	}
	o.routerID = g.peer.RouterID.As4()
	if g.peer.HoldTime == 0 {
		o.holdTime = 0
	}
	if r := &o.restart; r.offered {
		r.flags |= restartState
		r.forward4, r.forward6 = r.ipv4, r.ipv6
	}
	return o.encode(), nil
}
