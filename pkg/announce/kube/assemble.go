package kube

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/herald-lb/herald/pkg/announce"
)

// merge puts what the slices of each Service say together.
func merge(slicesByName map[string]endpoints) map[string]endpoints {
	merged := make(map[string]endpoints, len(slicesByName))
	for _, s := range slicesByName {
		m, ok := merged[s.service]
		if !ok {
			merged[s.service] = s
			continue
		}
		merged[s.service] = endpoints{
			service: s.service,
			ready:   union(m.ready, s.ready),
			serving: union(m.serving, s.serving),
		}
	}
	return merged
}

func union(a, b places) places {
	return places{any: a.any || b.any, nodes: slices.Concat(a.nodes, b.nodes)}
}

// live returns where the endpoints are that get traffic: the ready ones, or
// those that still serve while they terminate if no other is left.
func (e endpoints) live() places {
	if e.ready.any {
		return e.ready
	}
	return e.serving
}

// assembleServices returns the Services that are ours, sorted by name.
func assembleServices(services map[string]service, classless bool, merged map[string]endpoints) []announce.Service {
	out := make([]announce.Service, 0, len(services))
	for name, s := range services {
		if s.classless && !classless {
			continue
		}
		live := merged[name].live()
		nodes := slices.Clone(live.nodes)
		slices.Sort(nodes)
		out = append(out, announce.Service{
			Name: name, UID: s.uid, Addresses: s.addresses, Local: s.local,
			Ready: live.any, ReadyNodes: slices.Compact(nodes),
		})
	}
	slices.SortFunc(out, func(a, b announce.Service) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// assembleAnnouncers returns the addresses of the announcers by node. One whose
// Pod has no address yet will have its node's, since it is on the host network.
// A node may have two Pods for a moment, while one replaces the other.
func assembleAnnouncers(pods map[string]announcer, nodes map[string]announce.Node) map[string][]netip.Addr {
	out := make(map[string][]netip.Addr, len(pods))
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		p := pods[name]
		addresses := p.addresses
		if len(addresses) == 0 {
			addresses = nodes[p.node].Addresses
		}
		for _, a := range addresses {
			if !slices.Contains(out[p.node], a) {
				out[p.node] = append(out[p.node], a)
			}
		}
	}
	return out
}
