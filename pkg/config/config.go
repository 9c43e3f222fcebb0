package config

import (
	"net/netip"
	"time"

	"go4.org/netipx"
	"k8s.io/apimachinery/pkg/labels"
)

// Config is one accepted document. It is immutable: nobody writes to it after
// Parse returned it, so any number of goroutines may read it.
type Config struct {
	Pools       []Pool       // in document order
	Peers       []Peer       // in document order
	BFDProfiles []BFDProfile // in document order

	index []span // all ranges, sorted; nil when there are none, or Parse did not make this
}

// Protocol says how a pool's addresses are announced.
type Protocol string

// The protocols a pool may name.
const (
	Layer2 Protocol = "layer2"
	BGP    Protocol = "bgp"
)

// Pool is a named set of address ranges and what may be done with them
// (address-pools[] of the document).
type Pool struct {
	Name          string
	Protocol      Protocol
	Ranges        []netipx.IPRange // one per entry of addresses, in document order, each of one family
	AvoidBuggyIPs bool             // IPv4 addresses ending in .0 and .255 are not used
	AutoAssign    bool             // may serve Services that do not name a pool

	// Interfaces are the links a layer-2 pool answers on; empty means any
	// link that fits the address.
	Interfaces []string

	// Advertisements are how a BGP pool's addresses are advertised: at least
	// one for a BGP pool, none for a layer-2 pool.
	Advertisements []Advertisement
}

// Advertisement turns an address into one route (bgp-advertisements[]).
type Advertisement struct {
	AggregationLength   int               // 0 to 32, for IPv4
	AggregationLengthV6 int               // 0 to 128, for IPv6
	LocalPref           uint32            // sent to iBGP peers only
	Communities         []Community       // sorted, each once
	LargeCommunities    []LargeCommunity  // sorted, each once
	Peers               []string          // names of peers that get it; empty means all
	NodeSelectors       []labels.Selector // nodes that advertise it, any of them; empty means all
}

// Community is an RFC 1997 community, its two halves in one number.
type Community uint32

// LargeCommunity is an RFC 8092 large community.
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

// Peer is a BGP router to which nodes connect (peers[]).
type Peer struct {
	Name           string // unique; as given, or made from the address (see the package comment)
	MyASN, PeerASN uint32 // never 0
	Address        netip.Addr
	Port           uint16        // never 0
	SourceAddress  netip.Addr    // the zero Addr: chosen by the kernel
	RouterID       netip.Addr    // IPv4, or the zero Addr: derived from the node
	HoldTime       time.Duration // 0, or 3 s to 65535 s, whole seconds
	KeepaliveTime  time.Duration // 1 s to HoldTime, whole seconds; 0 when HoldTime is 0
	ConnectTime    time.Duration // 1 s to 65535 s: the first pause between two attempts to connect
	Password       Secret        // TCP MD5 key (RFC 2385), at most 80 bytes
	PasswordSecret string        // name of a Secret in Herald's namespace, key "password"
	EBGPMultihop   bool
	BFDProfile     string            // name of one of Config.BFDProfiles, or empty: no BFD
	NodeSelectors  []labels.Selector // nodes that connect, any of them; empty means all
}

// BFDProfile holds the parameters of BFD sessions (bfd-profiles[], RFC 5880).
type BFDProfile struct {
	Name             string
	ReceiveInterval  time.Duration // 10 ms to 60 s
	TransmitInterval time.Duration // 10 ms to 60 s
	DetectMultiplier uint8         // 2 to 255
	EchoInterval     time.Duration // 10 ms to 60 s; without effect
	EchoMode         bool          // always false: echo mode is refused
	PassiveMode      bool
	MinimumTTL       uint8 // 1 to 254, for multihop sessions
}
