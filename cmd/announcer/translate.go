package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/herald-lb/herald/pkg/announce"
	"github.com/herald-lb/herald/pkg/announce/agent"
	"github.com/herald-lb/herald/pkg/announce/layer2"
	"github.com/herald-lb/herald/pkg/announce/member"
)

// peers returns one address of each other node's announcer, of the family by
// which this node is a member.
func peers(announcers map[string][]netip.Addr, self string, host netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, node := range slices.Sorted(maps.Keys(announcers)) {
		i := slices.IndexFunc(announcers[node], func(a netip.Addr) bool { return a.Is4() == host.Is4() })
		if node != self && i >= 0 {
			out = append(out, announcers[node][i])
		}
	}
	return out
}

// translateView says in the agent's words what the membership shows.
func translateView(v member.View) agent.Members {
	out := agent.Members{All: make(map[string]agent.Member, len(v.Members)), Others: v.Known, Isolated: v.Isolated}
	for name, s := range v.Members {
		out.All[name] = agent.Member{
			Member:  announce.Member{Name: name, Ready: s.Ready, Draining: s.Draining, Links: s.Links},
			Address: s.Addr, ConfigHash: s.ConfigHash, Alive: s.Alive, Down: s.Down.String(),
			NeedsWitness: s.NeedsWitness, Since: s.Since,
		}
	}
	return out
}

// layer2Adapter lets the agent speak to the layer-2 speaker, and adds the
// gateways, which no decision depends on.
type layer2Adapter struct {
	speaker *layer2.Speaker

	mu       sync.Mutex // guards the fields below
	desired  *agent.Desired
	gateways []netip.Addr
}

// Apply passes on what is desired.
func (l *layer2Adapter) Apply(d agent.Desired) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.desired = &d
	l.speaker.Apply(translateDesired(d, l.gateways))
}

// Owned returns the addresses that this node answers for.
func (l *layer2Adapter) Owned() []netip.Addr { return l.speaker.Owned() }

func (l *layer2Adapter) setGateways(gateways []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(l.gateways, gateways) {
		return
	}
	l.gateways = gateways
	if l.desired != nil {
		l.speaker.Apply(translateDesired(*l.desired, gateways))
	}
}

// translateDesired says in the speaker's words what the agent wants. Gateways
// and the other nodes are who must answer before a node believes that it is
// not itself that is cut off.
func translateDesired(d agent.Desired, gateways []netip.Addr) layer2.Desired {
	out := layer2.Desired{
		Addresses: make(map[netip.Addr]layer2.Address, len(d.Addresses)),
		Pools:     d.Pools,
		Members:   map[announce.MAC]string{},
		Witnesses: slices.Clone(gateways),
		Links:     d.Links,
	}
	for _, name := range slices.Sorted(maps.Keys(d.Members)) {
		m := d.Members[name]
		if !m.Alive {
			out.Down = append(out.Down, name)
		}
		for _, l := range m.Links {
			out.Members[l.MAC] = name
		}
		if name != d.Self && m.Address.IsValid() {
			out.Witnesses = append(out.Witnesses, m.Address)
		}
	}
	for _, l := range d.Links {
		out.Members[l.MAC] = d.Self
	}
	for _, a := range d.Addresses {
		out.Addresses[a.Addr] = layer2.Address{
			Links: a.Links, Mine: a.Mine(), Owner: a.Owner, Lead: a.Lead, Order: a.Order,
			Previous: layer2.Predecessor(a.Predecessor), NeedsWitness: a.NeedsWitness,
			Unserved: a.Reason == announce.NoLocalEndpoint || a.Reason == announce.NetworkUnavailable,
		}
	}
	return out
}

// observation says what an event of the speaker means to the agent, and to the
// users of the Services on the address.
func observation(e layer2.Event) agent.Observation {
	o := agent.Observation{Addr: e.Address, Took: e.Kind == layer2.TookOver}
	mac := net.HardwareAddr(e.MAC[:])
	stranger := fmt.Sprintf("%s on link %s, which is no node of this cluster", mac, e.Link)
	if e.ProxyARP() {
		stranger = fmt.Sprintf("%s on link %s, a router that answers for others (proxy ARP)", mac, e.Link)
	}
	switch {
	case e.Kind == layer2.Held && e.MAC == announce.MAC{}:
		o.Reason = "NotAnnounced"
		o.Message = fmt.Sprintf("%s is not announced by its elected node: no neighbour answers it, so it may be cut off itself", e.Address)
	case e.Kind == layer2.Held && e.Node == "":
		o.Reason = "AddressInUse"
		o.Message = fmt.Sprintf("%s is used by %s; it is not announced until it is free", e.Address, stranger)
	case e.Kind == layer2.Conflict:
		o.Reason = "AddressConflict"
		o.Message = fmt.Sprintf("%s is also used by %s; clients may reach either", e.Address, stranger)
	}
	return o
}
