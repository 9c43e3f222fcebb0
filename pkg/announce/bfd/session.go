package bfd

import (
	"fmt"
	"net/netip"
	"time"
)

// Ports of RFC 5881, section 4, and RFC 5883, section 5.
const (
	portSingleHop = 3784
	portMultihop  = 4784
)

// SessionConfig is one session. Two equal values are the same session.
type SessionConfig struct {
	Peer  netip.Addr
	Local netip.Addr // the zero Addr: the one from which the kernel reaches Peer

	// Multihop is for a peer that may be more than one hop away. MinimumTTL is
	// then the least that a packet of it may have left.
	Multihop   bool
	MinimumTTL uint8

	TransmitInterval, ReceiveInterval time.Duration // whole microseconds
	DetectMultiplier                  uint8

	Passive bool // wait for the other side to begin
}

// Validate reports why there can be no such session.
func (c SessionConfig) Validate() error {
	const longest = time.Duration(1<<32-1) * time.Microsecond
	switch {
	case !c.Peer.IsValid():
		return fmt.Errorf("no address of the other side")
	case c.Local.IsValid() && c.Local.Is4() != c.Peer.Is4():
		return fmt.Errorf("%s and %s are not of one family", c.Local, c.Peer)
	case c.DetectMultiplier == 0:
		return fmt.Errorf("the detect multiplier is 0")
	case c.TransmitInterval < time.Microsecond || c.TransmitInterval > longest || c.ReceiveInterval < time.Microsecond || c.ReceiveInterval > longest:
		return fmt.Errorf("intervals are from 1µs to %s", longest)
	}
	return nil
}

func (c SessionConfig) timing() timing {
	return timing{tx: c.TransmitInterval, rx: c.ReceiveInterval, multiplier: c.DetectMultiplier}
}

// identity is what a session can't change.
type identity struct {
	peer, local netip.Addr
	multihop    bool
}

func (c SessionConfig) identity() identity { return identity{c.Peer, c.Local, c.Multihop} }

// endpoint is what tells sessions apart on the wire.
type endpoint struct {
	peer, local netip.Addr
	multihop    bool
}

// Status is what an operator wants to know of a session.
type Status struct {
	Key   string
	State State
	Since time.Time

	// Reason says in words why the session is not Up, or why it last was not.
	Reason           string
	Diagnostic       Diagnostic // ours
	RemoteState      State
	RemoteDiagnostic Diagnostic

	Local     netip.Addr
	Interval  time.Duration // between two packets of ours
	Detection time.Duration // silence after which the path is down
	Flaps     uint64        // how often the session has left Up
}

// Lost reports whether the path was seen to work and does not any more: what
// uses it should be given up. It is false where the other side has ended the
// session, or says that it does not hear us: that side acts on its own.
func (s Status) Lost() bool {
	return s.State == Down && s.Diagnostic == TimeExpired && s.Flaps > 0
}

// session is a machine with its sockets. It is the Manager's goroutine's.
type session struct {
	keys     []string // who wants it, sorted, never empty
	config   SessionConfig
	endpoint endpoint
	terms    *terms // of the endpoint; nil before it is open
	machine  *machine
	link     link // nil: not open
	retry    time.Time
	problem  string // why it is not open, or can't send
	status   Status

	goodbye *goodbye // set: it is on its way out
}

// goodbye is the last packet, repeated for as long as the other side would
// wait for another.
type goodbye struct {
	packet Packet
	left   int
	every  time.Duration
	next   time.Time
}

// The AdminDown packets that end a session, and the time that they may take.
const (
	goodbyes       = 3
	longestGoodbye = 500 * time.Millisecond
)

func (s *session) leave(now time.Time) {
	every := time.Duration(0)
	left := 1
	if s.machine.state == Up {
		left = goodbyes
		every = min(time.Duration(s.config.DetectMultiplier)*s.machine.interval(), longestGoodbye) / goodbyes
	}
	s.goodbye = &goodbye{packet: s.machine.shutDown(now), left: left, every: every, next: now}
}

// deadline is when tick has something to do.
func (s *session) deadline() (time.Time, bool) {
	if s.goodbye != nil {
		return s.goodbye.next, true
	}
	at, ok := s.machine.deadline()
	if s.link == nil && (!ok || s.retry.Before(at)) {
		return s.retry, true
	}
	return at, ok
}

// reason puts the machine's state into words.
func (s *session) reason() string {
	m := s.machine
	switch {
	case s.problem != "":
		return s.problem
	case m.state == Up:
		return ""
	case m.diagnostic == TimeExpired:
		return fmt.Sprintf("nothing was heard from %s for %s", s.config.Peer, s.status.Detection)
	case m.diagnostic == NeighborDown && m.remoteState == AdminDown:
		return fmt.Sprintf("%s has shut the session down", s.config.Peer)
	case m.diagnostic == NeighborDown:
		return fmt.Sprintf("%s says that the session is down: %s", s.config.Peer, m.remoteDiagnostic)
	case m.your == 0 && s.terms != nil && s.terms.seen.Load() > 0:
		return fmt.Sprintf("packets of %s arrive with TTL %d, less than %d: they were sent from further away, or with less than 255 (minimum-ttl, where several hops are allowed)",
			s.config.Peer, s.terms.seen.Load(), s.terms.least)
	case m.your == 0:
		return fmt.Sprintf("%s has not been heard yet", s.config.Peer)
	}
	return fmt.Sprintf("%s does not hear this node", s.config.Peer)
}

// refresh brings the status up to date and reports whether it has changed in a
// way that matters to others.
func (s *session) refresh(now time.Time) bool {
	m, before := s.machine, s.status
	if m.state != before.State {
		s.status.Since = now
		if before.State == Up {
			s.status.Flaps++
		}
	}
	s.status.State, s.status.Diagnostic = m.state, m.diagnostic
	s.status.RemoteState, s.status.RemoteDiagnostic = m.remoteState, m.remoteDiagnostic
	s.status.Reason = s.reason()
	s.status.Local = s.endpoint.local
	s.status.Interval = m.interval()
	if m.remoteMultiplier > 0 {
		s.status.Detection = m.detection()
	}
	return s.status.State != before.State || s.status.RemoteState != before.RemoteState || s.status.Reason != before.Reason
}
