package announce

import "fmt"

// Reason says why a node announces an address or why it does not.
type Reason uint8

// The reasons. Those about the address come before those about the node: where
// several hold, the first in this order is the one given.
const (
	Announced          Reason = iota // the node is the owner, or tells a router by BGP
	NoConfiguration                  // no configuration has been accepted yet
	NotInPool                        // no pool of the accepted configuration contains the address
	NoReadyEndpoint                  // no Service on the address has a ready endpoint anywhere
	NotAMember                       // the node's announcer is not alive
	NotReady                         // the node's announcer is alive but does not serve yet
	NodeUnknown                      // there is no Node of that name
	NodeExcluded                     // the Node is labelled out of external load balancers
	NetworkUnavailable               // the Node's network is not available
	NoPeer                           // no router of the node's is told of the pool's addresses, by the node-selectors and peers of peers and advertisements
	NoMatchingLink                   // no link of the node reaches the address
	NoLocalEndpoint                  // externalTrafficPolicy is Local and the node has no ready endpoint for a Service on the address
	MemberDraining                   // the node is about to stop and another one can take over
	NodeCordoned                     // the node is cordoned and another one tells routers of the address
	NotElected                       // the node could, but another one ranks higher
)

var reasonTexts = [...]string{
	Announced:          "Announced",
	NoConfiguration:    "NoConfiguration",
	NotInPool:          "NotInPool",
	NoReadyEndpoint:    "NoReadyEndpoint",
	NotAMember:         "NotAMember",
	NotReady:           "NotReady",
	NodeUnknown:        "NodeUnknown",
	NodeExcluded:       "NodeExcluded",
	NetworkUnavailable: "NetworkUnavailable",
	NoPeer:             "NoPeer",
	NoMatchingLink:     "NoMatchingLink",
	NoLocalEndpoint:    "NoLocalEndpoint",
	MemberDraining:     "MemberDraining",
	NodeCordoned:       "NodeCordoned",
	NotElected:         "NotElected",
}

// String gives the reason's name as in Go and in the documentation.
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return fmt.Sprintf("Reason(%d)", uint8(r))
}

// MarshalText writes the reason's name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
