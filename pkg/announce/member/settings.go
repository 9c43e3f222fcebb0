package member

import (
	"time"

	"github.com/hashicorp/memberlist"
)

// sizeClass is what depends on the number of nodes. memberlist reads it only
// at the start; a wrong class costs a second of the slow detection, and now and
// then the haste of a piece of news.
type sizeClass struct {
	nodes          int // up to this many
	suspicionMult  int
	retransmitMult int
	gossip         time.Duration
	gossipNodes    int
	pushPull       time.Duration
}

// classFor returns the class of a cluster. memberlist is set to be calm: its
// detection time is its tolerance of stalls, and speed is the fast path's.
//
// Each member passes a piece of news on to retransmitMult x ceil(log10(n+1))
// others that it picks at random, and none of the n-1 picks a given member with
// a probability of about e to the minus that many. Twelve and more leave less
// than one piece of news in a thousand to the next push and pull, which may be
// seconds away. memberlist's usual 4 do so too often: in a cluster of eight 3 of
// 100 took 1.5 to 7.4 s.
func classFor(nodes int) sizeClass {
	classes := [...]sizeClass{
		{10, 6, 12, 20 * time.Millisecond, 3, 10 * time.Second},
		{100, 5, 6, 20 * time.Millisecond, 3, 15 * time.Second},
		{300, 4, 5, 50 * time.Millisecond, 4, 30 * time.Second},
	}
	for _, c := range classes {
		if nodes <= c.nodes {
			return c
		}
	}
	return sizeClass{nodes, 3, 5, 50 * time.Millisecond, 4, 30 * time.Second}
}

const (
	tcpTimeout      = 2 * time.Second // the library's 10 s would hold up the rejoining
	gossipToDead    = 30 * time.Second
	reclaimNameFrom = time.Second // a restarted node may come back on another address
)

// gossipConfig is the configuration of memberlist. Encryption, the label and
// the limits are the transport's.
func gossipConfig(name string, nodes int, t *transport) *memberlist.Config {
	class := classFor(nodes)
	c := memberlist.DefaultLANConfig()
	c.Name = name
	c.Transport = t
	c.BindPort = int(t.local.Port())
	c.AdvertisePort = int(t.local.Port())
	c.ProbeInterval = 250 * time.Millisecond
	c.ProbeTimeout = 120 * time.Millisecond
	c.SuspicionMult = class.suspicionMult
	c.SuspicionMaxTimeoutMult = 2
	c.IndirectChecks = 3
	c.AwarenessMaxMultiplier = 8
	c.RetransmitMult = class.retransmitMult
	c.GossipInterval = class.gossip
	c.GossipNodes = class.gossipNodes
	c.PushPullInterval = class.pushPull
	c.GossipToTheDeadTime = gossipToDead
	c.DeadNodeReclaimTime = reclaimNameFrom
	c.TCPTimeout = tcpTimeout
	c.EnableCompression = false // costs garbage and gains nothing on packets this small
	c.UDPBufferSize = 1400
	return c
}
