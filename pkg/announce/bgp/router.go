package bgp

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/config"
)

// Peer is how to hold a session with one router. Two equal values are the same
// session.
type Peer struct {
	LocalASN, PeerASN uint32
	Address           netip.Addr
	Port              uint16
	SourceAddress     netip.Addr // the zero Addr: chosen by the kernel
	RouterID          netip.Addr // of this node, IPv4
	HoldTime          time.Duration
	KeepaliveTime     time.Duration // 0: a third of the hold time
	ConnectTime       time.Duration // first pause between two attempts; 0: one second
	Password          config.Secret // TCP MD5 key (RFC 2385); empty: none
	Multihop          bool          // the router may be more than one hop away (eBGP)

	// RestartTime is how long the router keeps the routes of this node while
	// the session is down without having been ended (RFC 4724); 0 does not
	// ask for it.
	RestartTime time.Duration

	// KeepOnNotification extends that to sessions that ended by an error or an
	// expired hold timer (RFC 8538). A dead node's routes then stay, too:
	// only with BFD.
	KeepOnNotification bool
}

// IBGP reports whether router and node are of one autonomous system.
func (p Peer) IBGP() bool { return p.LocalASN == p.PeerASN }

// maxPassword is the kernel's limit for a TCP MD5 key.
const maxPassword = 80

// Validate reports why no session could ever be held with these settings.
func (p Peer) Validate() error {
	switch {
	case p.LocalASN == 0 || p.PeerASN == 0:
		return fmt.Errorf("an autonomous system number is missing")
	case !p.Address.IsValid() || p.Port == 0:
		return fmt.Errorf("the router's address or port is missing")
	case !p.RouterID.Is4() || p.RouterID.IsUnspecified():
		return fmt.Errorf("router-id %q is not an IPv4 address", p.RouterID)
	case p.SourceAddress.IsValid() && p.SourceAddress.Is4() != p.Address.Is4():
		return fmt.Errorf("source-address %s and peer-address %s are not of one family", p.SourceAddress, p.Address)
	case p.HoldTime != 0 && (p.HoldTime < 3*time.Second || p.HoldTime > 65535*time.Second):
		return fmt.Errorf("hold-time %s is not 0 or from 3s to 65535s", p.HoldTime)
	case p.KeepaliveTime > p.HoldTime:
		return fmt.Errorf("keepalive-time %s is longer than hold-time %s", p.KeepaliveTime, p.HoldTime)
	case len(string(p.Password)) > maxPassword:
		return fmt.Errorf("the password is longer than the %d bytes the kernel takes", maxPassword)
	}
	return nil
}

// Route is what one prefix looks like to one router.
type Route = announce.BGPRoute

// Desired is what one router should see of this node.
type Desired struct {
	Peer   Peer
	Routes []Route // at most one for each prefix
}

// State is where the session with a router stands.
type State uint8

// The states of a session. Connecting and Opening are passed through in each
// attempt; Waiting is the pause after one that failed.
const (
	Waiting     State = iota // for the next attempt
	Connecting               // no answer to TCP yet
	Opening                  // TCP is up, the OPENs are on their way
	Established              // routes are exchanged
	Misconfigured
)

// String is the state in lower case.
func (s State) String() string {
	return [...]string{"waiting", "connecting", "opening", "established", "misconfigured"}[s]
}

// Cause is why an attempt or a session ended: the fixed set of values that
// metrics use.
type Cause string

// The causes. The first seven end an attempt to connect, the others may end
// an established session as well.
const (
	Refused          Cause = "refused"        // nothing listens on the router's port
	Unreachable      Cause = "unreachable"    // no route, or a router on the way said so
	NoAnswer         Cause = "no-answer"      // to TCP SYN
	BadSource        Cause = "source-address" // it is not on this node
	NoMD5            Cause = "md5"            // the kernel does not take the key
	ConnectFailed    Cause = "connect"        // anything else about connecting
	OpenTimeout      Cause = "open-timeout"   // TCP is up, but no OPEN or KEEPALIVE came
	OpenRefused      Cause = "open-refused"   // we do not accept the router's OPEN
	Notified         Cause = "notification"   // the router ended it
	HoldTimerExpired Cause = "hold-timer"
	ConnectionLost   Cause = "connection-lost"
	Malformed        Cause = "malformed" // the router broke the protocol
	Stalled          Cause = "stalled"   // the router stopped reading
	PathDown         Cause = "path-down" // Reset was called, as BFD does
	Reconfigured     Cause = "reconfigured"
	Removed          Cause = "removed"
	Stopped          Cause = "stopped"
	Internal         Cause = "internal" // the library let go of the session
)

// Status is what an operator wants to know of one router.
type Status struct {
	Peer  string
	State State
	Since time.Time // of State

	// Cause and Reason tell why the last attempt or session ended; they are
	// empty before the first one did. Reason is a sentence for people.
	Cause  Cause
	Reason string

	Retry    time.Time // next attempt, while Waiting
	Failures int       // attempts and short sessions in a row that failed

	// The following are known while Established.
	LocalAddress    netip.Addr
	RouterID        netip.Addr // of the router
	HoldTime        time.Duration
	IPv4, IPv6      bool // families that the router takes
	GracefulRestart bool // the router keeps our routes over a restart

	Routes int // routes of this node meant for the router
}
