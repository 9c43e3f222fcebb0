package bfd

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// State is the state of a session, as it stands in packets (RFC 5880,
// section 4.1).
type State uint8

// The states.
const (
	AdminDown State = iota // held down by an administrator
	Down
	Init // the other side is heard
	Up
)

// String is the name that RFC 5880 uses.
func (s State) String() string {
	if s > Up {
		return fmt.Sprintf("State(%d)", uint8(s))
	}
	return [...]string{"AdminDown", "Down", "Init", "Up"}[s]
}

// Diagnostic is why a session last left Up (RFC 5880, section 4.1).
type Diagnostic uint8

// The diagnostics that occur here.
const (
	NoDiagnostic        Diagnostic = 0
	TimeExpired         Diagnostic = 1 // nothing was heard for the detection time
	NeighborDown        Diagnostic = 3 // the neighbor said that the session is down
	PathDown            Diagnostic = 5
	AdministrativelyOff Diagnostic = 7
)

// String says what the diagnostic means.
func (d Diagnostic) String() string {
	names := [...]string{
		"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
		"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return fmt.Sprintf("diagnostic %d", uint8(d))
}

// Packet is a BFD control packet without authentication.
type Packet struct {
	Diagnostic    Diagnostic
	State         State
	Poll, Final   bool
	ControlPlane  bool // C: the sender's BFD does not share the fate of its control plane
	Demand        bool
	Multiplier    uint8
	My, Your      uint32        // discriminators
	DesiredTx     time.Duration // whole microseconds
	RequiredRx    time.Duration
	RequiredEcho  time.Duration
	authenticated bool
	multipoint    bool
}

const (
	packetLen = 24
	version   = 1
)

// Bits of a packet's second byte.
const (
	bitPoll = 1 << (5 - iota)
	bitFinal
	bitControlPlane
	bitAuthentication
	bitDemand
	bitMultipoint
)

// Append appends the packet to b.
func (p Packet) Append(b []byte) []byte {
	flags := byte(p.State) << 6
	for _, f := range []struct {
		set bool
		bit byte
	}{{p.Poll, bitPoll}, {p.Final, bitFinal}, {p.ControlPlane, bitControlPlane}, {p.Demand, bitDemand}} {
		if f.set {
			flags |= f.bit
		}
	}
	b = append(b, version<<5|byte(p.Diagnostic)&0x1f, flags, p.Multiplier, packetLen)
	b = binary.BigEndian.AppendUint32(b, p.My)
	b = binary.BigEndian.AppendUint32(b, p.Your)
	b = binary.BigEndian.AppendUint32(b, micros(p.DesiredTx))
	b = binary.BigEndian.AppendUint32(b, micros(p.RequiredRx))
	return binary.BigEndian.AppendUint32(b, micros(p.RequiredEcho))
}

func micros(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), math.MaxUint32))
}

// Reject is why a packet was not taken: the fixed set of values that metrics
// use.
type Reject string

// The reasons, in the order in which RFC 5880 section 6.8.6 has them, and
// those of the transport (RFC 5881 section 5, RFC 5883 section 5).
const (
	RejectVersion       Reject = "version"
	RejectLength        Reject = "length"
	RejectMultiplier    Reject = "multiplier" // zero
	RejectMultipoint    Reject = "multipoint"
	RejectDiscriminator Reject = "discriminator" // zero, or not ours
	RejectState         Reject = "state"         // a packet without our discriminator, from a session past Down
	RejectAuth          Reject = "authentication"
	RejectTTL           Reject = "ttl"    // it may have come from further away
	RejectSource        Reject = "source" // no session with that address
	RejectRate          Reject = "rate"   // more than the node is willing to look at
)

// ParsePacket reads a packet, and makes those checks of RFC 5880 section 6.8.6
// that need no session. The second value is empty if it passes.
func ParsePacket(b []byte) (Packet, Reject) {
	if len(b) < packetLen {
		return Packet{}, RejectLength
	}
	p := Packet{
		Diagnostic:    Diagnostic(b[0] & 0x1f),
		State:         State(b[1] >> 6),
		Poll:          b[1]&bitPoll != 0,
		Final:         b[1]&bitFinal != 0,
		ControlPlane:  b[1]&bitControlPlane != 0,
		Demand:        b[1]&bitDemand != 0,
		Multiplier:    b[2],
		My:            binary.BigEndian.Uint32(b[4:]),
		Your:          binary.BigEndian.Uint32(b[8:]),
		DesiredTx:     duration(b[12:]),
		RequiredRx:    duration(b[16:]),
		RequiredEcho:  duration(b[20:]),
		authenticated: b[1]&bitAuthentication != 0,
		multipoint:    b[1]&bitMultipoint != 0,
	}
	length := int(b[3])
	switch {
	case b[0]>>5 != version:
		return p, RejectVersion
	case length < packetLen || length > len(b) || p.authenticated && length < packetLen+2:
		return p, RejectLength
	case p.Multiplier == 0:
		return p, RejectMultiplier
	case p.multipoint:
		return p, RejectMultipoint
	case p.My == 0:
		return p, RejectDiscriminator
	case p.Your == 0 && p.State > Down:
		return p, RejectState
	case p.authenticated:
		return p, RejectAuth
	}
	return p, ""
}

func duration(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Microsecond
}
