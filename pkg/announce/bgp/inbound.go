package bgp

import (
	"fmt"
	"time"

	"golang.org/x/time/rate"
)

// step is how far a session has come, seen from the router's messages.
type step uint8

const (
	stepOpen      step = iota // the router has not sent its OPEN
	stepKeepalive             // nor answered ours
	stepUp
)

// inbound decides, message by message, what the library gets to see of a
// router. It does no I/O.
type inbound struct {
	peer      Peer
	refreshes *rate.Limiter

	step     step
	open     *open   // the router's, from stepKeepalive on
	restart  restart // of that OPEN
	farewell *routerFarewell
	alive    time.Time // when the library last got a KEEPALIVE
}

// routerFarewell is a NOTIFICATION from the router.
type routerFarewell struct{ notification }

func (f *routerFarewell) Error() string { return f.String() }

// next takes a whole message and returns the one to hand on: nil when there is
// nothing to tell. After an error, or once farewell is set, the session is
// over. The message may be overwritten after the call.
func (in *inbound) next(msg []byte, now time.Time) ([]byte, error) {
	typ, body := messageType(msg), messageBody(msg)
	switch typ {
	case typeOpen:
		return in.takeOpen(body)
	case typeNotification:
		n, err := decodeNotification(body)
		if err != nil {
			return nil, err
		}
		in.farewell = &routerFarewell{n}
		return message(typeNotification, body[0], body[1]), nil
	case typeKeepalive:
		if len(body) != 0 {
			return nil, &protocolError{errHeader, 2, fmt.Sprintf("a KEEPALIVE of %d bytes", len(msg))}
		}
		return in.takeKeepalive(now)
	case typeUpdate, typeRouteRefresh:
		if in.step != stepUp {
			return nil, in.outOfOrder(typ)
		}
		if typ == typeRouteRefresh {
			return in.takeRefresh(body, now)
		}
		return in.takeUpdate(body, now), nil
	}
	return nil, &protocolError{errHeader, 3, fmt.Sprintf("a message of type %d", typ)}
}

func (in *inbound) outOfOrder(typ byte) error {
	names := [...]string{typeOpen: "an OPEN", typeUpdate: "an UPDATE", typeKeepalive: "a KEEPALIVE", typeRouteRefresh: "a ROUTE-REFRESH"}
	return &protocolError{errFSM, byte(in.step) + 1, names[typ] + " out of turn"}
}

func (in *inbound) takeOpen(body []byte) ([]byte, error) {
	if in.step != stepOpen {
		return nil, in.outOfOrder(typeOpen)
	}
	o, err := decodeOpen(body)
	if err != nil {
		return nil, err
	}
	if in.peer.IBGP() && o.RouterID() == in.peer.RouterID { // the library does not know ours
		return nil, &protocolError{errOpen, 3, fmt.Sprintf("its BGP identifier %s is this node's router-id", o.RouterID())}
	}
	in.step, in.open, in.restart = stepKeepalive, o, o.restart
	told := *o
	if in.noHoldTime() {
		told.holdTime = uint16(placeholderHoldTime / time.Second)
	}
	return told.encode(), nil
}

// noHoldTime reports whether one of the two sides has asked for none: then
// neither sends KEEPALIVEs (RFC 4271, section 4.2). The library can't do
// without, so that the guard keeps both ends content.
func (in *inbound) noHoldTime() bool {
	return in.peer.HoldTime == 0 || in.open != nil && in.open.holdTime == 0
}

func (in *inbound) takeKeepalive(now time.Time) ([]byte, error) {
	switch in.step {
	case stepOpen:
		return nil, in.outOfOrder(typeKeepalive)
	case stepKeepalive:
		in.step = stepUp
		in.alive = now
		return message(typeKeepalive), nil
	}
	return in.sign(now), nil
}

// sign is a KEEPALIVE: the router has sent something.
func (in *inbound) sign(now time.Time) []byte {
	if now.Sub(in.alive) < keepaliveSpacing {
		return nil
	}
	in.alive = now
	return message(typeKeepalive)
}

// takeUpdate lets End-of-RIB markers pass (RFC 4724, section 2). All other
// UPDATEs would only teach us routes.
func (in *inbound) takeUpdate(body []byte, now time.Time) []byte {
	switch string(body) {
	case "\x00\x00\x00\x00":
		return message(typeUpdate, 0, 0, 0, 0)
	case "\x00\x00\x00\x06\x80\x0f\x03\x00\x02\x01", "\x00\x00\x00\x07\x90\x0f\x00\x03\x00\x02\x01":
		return message(typeUpdate, 0, 0, 0, 6, 0x80, 15, 3, 0, afiIPv6, safiUnicast)
	}
	return in.sign(now)
}

// takeRefresh passes a request for the routes of a family. Each costs as much
// as a new session does, so that a router does not get many.
func (in *inbound) takeRefresh(body []byte, now time.Time) ([]byte, error) {
	if len(body) != 4 {
		return nil, &protocolError{errHeader, 2, fmt.Sprintf("a ROUTE-REFRESH of %d bytes", headerLen+len(body))}
	}
	var is4, is6 bool
	setFamily(body[:2], body[3], &is4, &is6)
	plain := body[2] == 0 // other values: RFC 7313, which was not offered
	if !plain || !(is4 && in.open.ipv4 || is6 && in.open.ipv6) {
		return in.sign(now), nil
	}
	if !in.refreshes.AllowN(now, 1) {
		return nil, &protocolError{errCease, ceaseOutOfMemory, fmt.Sprintf("more than %d ROUTE-REFRESHes in %s", refreshBurst, refreshInterval)}
	}
	return message(typeRouteRefresh, body[0], body[1], 0, body[3]), nil
}
