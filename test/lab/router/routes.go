package router

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/herald-lb/herald/test/lab"
)

// Neighbor is what FRR says of a neighbour.
type Neighbor struct {
	BgpState               string
	ConnectionsEstablished int
	LastResetDueTo         string
	RemoteAs               uint32
	RemoteRouterID         string
	BgpTimerHoldTimeMsecs  int
}

// Established reports whether the session is up.
func (n Neighbor) Established() bool { return n.BgpState == "Established" }

// Neighbors are FRR's neighbours by their addresses.
func (f *FRR) Neighbors(ctx context.Context) (map[string]Neighbor, error) {
	out := map[string]Neighbor{}
	return out, f.JSON(ctx, "show bgp neighbors json", &out)
}

// WaitNeighbors waits until each neighbour's session is up, and by BFD's word
// the path to each that is watched.
func (f *FRR) WaitNeighbors(ctx context.Context) error {
	return f.lab.WaitFor(ctx, lab.Wait{
		What: "the sessions with FRR", Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			neighbors, err := f.Neighbors(ctx)
			if err != nil {
				return false, err.Error()
			}
			for address, n := range neighbors {
				if !n.Established() {
					return false, address + " is " + n.BgpState
				}
			}
			var paths []struct{ Peer, Status string }
			if err := f.JSON(ctx, "show bfd peers json", &paths); err != nil {
				return false, err.Error()
			}
			for _, p := range paths {
				if p.Status != "up" {
					return false, "BFD with " + p.Peer + " is " + p.Status
				}
			}
			return true, ""
		},
	})
}

// NodeAt is the name of the node with an address, or the address if there is no
// such node.
func NodeAt(l *lab.Lab, address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	for _, node := range l.Nodes() {
		if has, err := l.NodeAddresses(node); err == nil && slices.Contains(has, a) {
			return node
		}
	}
	return address
}

// KernelNodes lists the nodes to which a host's kernel sends what is for an
// address.
func KernelNodes(ctx context.Context, l *lab.Lab, host string, a netip.Addr) ([]string, error) {
	family := "-4"
	if a.Is6() {
		family = "-6"
	}
	out, err := l.Exec(ctx, host, "ip", "-j", family, "route", "show", a.String())
	if err != nil {
		return nil, err
	}
	var routes []struct {
		Gateway  string
		Nexthops []struct{ Gateway string }
	}
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	var nodes []string
	for _, route := range routes {
		if route.Gateway != "" {
			nodes = append(nodes, NodeAt(l, route.Gateway))
		}
		for _, n := range route.Nexthops {
			nodes = append(nodes, NodeAt(l, n.Gateway))
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), nil
}

// WaitKernel waits until a host's kernel sends what is for an address to certain
// nodes and to no others.
func WaitKernel(ctx context.Context, l *lab.Lab, host string, a netip.Addr, nodes ...string) error {
	return l.WaitFor(ctx, lab.Wait{
		What: fmt.Sprintf("%s to send %v to %v", host, a, nodes), Timeout: time.Minute,
		Done: func(ctx context.Context) (bool, string) {
			got, err := KernelNodes(ctx, l, host, a)
			if err != nil {
				return false, err.Error()
			}
			return slices.Equal(got, nodes), fmt.Sprintf("it sends it to %v", got)
		},
	})
}
