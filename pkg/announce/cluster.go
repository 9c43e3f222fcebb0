package announce

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/config"
)

// Cluster is what the API server shows of everything a node needs to know, at
// one moment. It is immutable once handed over.
type Cluster struct {
	Freshness Freshness

	Config     *config.Config // the accepted configuration; nil when there is none yet
	Hash       [32]byte       // SHA-256 of its document; zero when there is none
	Generation int64          // counts accepted documents
	// ConfigProblem says why this node goes on with another configuration than
	// the one accepted last; "" when it does not.
	ConfigProblem string

	// Passwords are those in the Secrets that Config names, by the Secret's
	// name. One that is not there has not been read yet.
	Passwords map[string]Password

	Services []Service // Services that are ours, sorted by Name
	Nodes    map[string]Node
	// Announcers has the addresses of the announcers that should be running,
	// by node. It is where members look for each other.
	Announcers map[string][]netip.Addr
}

// Service returns the Service of a name (namespace/name).
func (c *Cluster) Service(name string) (*Service, bool) {
	i, ok := slices.BinarySearchFunc(c.Services, name, func(s Service, name string) int { return cmp.Compare(s.Name, name) })
	if !ok {
		return nil, false
	}
	return &c.Services[i], true
}

// Freshness says how far a Cluster can be relied on.
type Freshness uint8

const (
	// Incomplete: some kinds of objects have not been read yet. Nothing may be
	// decided from it.
	Incomplete Freshness = iota
	// Saved: what the node kept from an earlier run, since the API server has
	// not answered yet.
	Saved
	// Live: all kinds of objects have been read from the API server. It stays
	// so while the API server is away; what was seen last goes on being true.
	Live
)

// String returns "incomplete", "saved" or "live".
func (f Freshness) String() string {
	switch f {
	case Incomplete:
		return "incomplete"
	case Saved:
		return "saved"
	case Live:
		return "live"
	}
	return "unknown"
}
