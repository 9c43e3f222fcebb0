package bgp

import (
	"errors"
	"fmt"
	"io"
)

// libraryEnded explains why the library's side is over.
func (g *guard) libraryEnded(err error) *ending {
	var failed *sendError
	if errors.As(err, &failed) {
		if isTimeout(err) {
			return &ending{Stalled, fmt.Sprintf("the router has not read what was sent for %s", g.writeTimeout())}
		}
		return &ending{ConnectionLost, "the connection broke: " + rootCause(err)}
	}
	n := g.sent.Load()
	switch {
	case n == nil:
		return &ending{Internal, "the session was given up without a reason"}
	case n.code == 4:
		return &ending{HoldTimerExpired, "hold timer expired: nothing was heard from the router"}
	case n.code == errOpen && n.subcode == 2 && g.in.open != nil:
		return &ending{OpenRefused, fmt.Sprintf("the router says that its ASN is %d, peer-asn says %d", g.in.open.ASN(), g.peer.PeerASN)}
	case n.code == errOpen:
		return &ending{OpenRefused, "the router's OPEN was refused: " + n.String()}
	}
	return &ending{Malformed, "the session was ended from here: " + n.String()}
}

// routerEnded explains why the router's side is over.
func (g *guard) routerEnded(err error) *ending {
	var bad *protocolError
	var bye *routerFarewell
	switch {
	case errors.As(err, &bye):
		reason := "the router ended the session: " + bye.String()
		if hint := bye.hint(); hint != "" {
			reason += "; " + hint
		}
		return &ending{Notified, reason}
	case errors.As(err, &bad):
		return &ending{Malformed, "the router broke the protocol: " + bad.problem}
	case isTimeout(err) && g.in.step == stepOpen:
		return &ending{OpenTimeout, fmt.Sprintf("the router accepted the connection, but sent no OPEN for %s", openTimeout)}
	case isTimeout(err):
		return &ending{OpenTimeout, fmt.Sprintf("the router sent an OPEN, but no KEEPALIVE for %s", openTimeout)}
	case g.in.step == stepOpen && (err == io.EOF || isReset(err)):
		return &ending{ConnectionLost, "the router closed the connection before its OPEN: it is not ready, or not configured to accept this node"}
	case err == io.EOF || isReset(err):
		return &ending{ConnectionLost, "the router closed the connection"}
	}
	return &ending{ConnectionLost, "the connection broke: " + rootCause(err)}
}
