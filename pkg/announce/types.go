package announce

import (
	"fmt"
	"net/netip"

	"github.com/herald-lb/herald/pkg/config"
)

// Snapshot is everything a decision depends on, at one moment. It is immutable
// once handed over.
type Snapshot struct {
	Self     string         // this node's name
	Config   *config.Config // the accepted configuration; nil when there is none yet
	Services []Service      // Services that are ours, sorted by Name
	Nodes    map[string]Node
	Members  map[string]Member // nodes whose announcer is alive, this one included
}

// Service is a LoadBalancer Service of ours as its status shows it.
type Service struct {
	Name       string // namespace/name
	UID        string
	Addresses  []netip.Addr
	Local      bool     // spec.externalTrafficPolicy is Local
	Ready      bool     // there is a ready endpoint on some node
	ReadyNodes []string // nodes with a ready endpoint, sorted
}

// Node is a Kubernetes Node.
type Node struct {
	Name               string
	Labels             map[string]string
	Addresses          []netip.Addr // status.addresses of type InternalIP
	Excluded           bool         // label node.kubernetes.io/exclude-from-external-load-balancers
	NetworkUnavailable bool         // condition NetworkUnavailable is True
	Unschedulable      bool         // spec.unschedulable: cordoned; or the machine is shutting down
}

// Member is a node whose announcer is alive, with what it says of itself.
type Member struct {
	Name     string
	Ready    bool // its view of the cluster is complete and it serves a configuration
	Draining bool // it is about to stop
	Links    []Link
}

// MAC is an IEEE 802 48-bit address.
type MAC [6]byte

// String returns the address as in 02:00:5e:10:00:01.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// MarshalText returns what String does.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Link is a network interface on which a node can answer for addresses.
type Link struct {
	Name               string
	Index              int // 0 for links of other nodes
	MAC                MAC
	LinkLocal          netip.Addr     // IPv6 link-local, without zone; the zero Addr when there is none
	Prefixes           []netip.Prefix // on-link prefixes of both families, masked
	Default4, Default6 bool           // the default route of the family leaves through it
}
