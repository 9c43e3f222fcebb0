package layer2

import (
	"net/netip"
	"slices"
	"time"

	"github.com/herald-lb/herald/pkg/announce"
)

// apply brings the engine in line with what is desired. Links come first, as
// addresses refer to them, and the table last but before any announcement:
// a client that hears one gets its answers.
func (e *engine) apply(now time.Time, d *Desired) {
	lost, found := e.applyMembers(d)
	e.applyLinks(now, d.Links)
	e.pools = d.Pools
	e.applyAddresses(now, d)
	for _, l := range e.links {
		if lost {
			l.announcer.hasten(now)
		}
		if found {
			l.announcer.again(now)
		}
		if len(e.world.down) == 0 {
			l.announcer.healed()
		}
		e.openPorts(now, l)
	}
	e.publish(d)
	e.groups.want(e.wantedGroups())
}

// applyMembers reports whether a node went out of sight or came back. The LAN
// may have been two since, with an owner and clients on either side.
func (e *engine) applyMembers(d *Desired) (lost, found bool) {
	down := make(map[string]struct{}, len(d.Down))
	for _, n := range d.Down {
		down[n] = struct{}{}
		if _, ok := e.world.down[n]; !ok {
			lost = true
		}
	}
	for n := range e.world.down {
		if _, ok := down[n]; !ok {
			found = true
		}
	}
	e.world.down = down
	e.witnesses = e.witnesses[:0]
	for _, w := range d.Witnesses {
		e.witnesses = append(e.witnesses, w.Unmap())
	}
	return lost, found
}

// applyLinks opens nothing yet; it drops what belongs to links that are gone.
func (e *engine) applyLinks(now time.Time, links []announce.Link) {
	present := make(map[int]struct{}, len(links))
	for _, nl := range links {
		present[nl.Index] = struct{}{}
		l := e.links[nl.Index]
		if l == nil {
			l = &link{announcer: newAnnouncer(e.s.cfg.Rand), ports: make(map[Family]*port), watches: make(map[Family]Wire)}
			if len(e.world.down) > 0 {
				l.announcer.hasten(now)
			}
			e.links[nl.Index] = l
		}
		moved := l.MAC != nl.MAC || l.LinkLocal != nl.LinkLocal
		l.Link = nl
		for _, p := range l.ports {
			p.link.Store(&nl)
		}
		if moved {
			l.announcer.restart(now)
		}
	}
	for i, l := range e.links {
		if _, ok := present[i]; !ok {
			e.closeLink(l)
			delete(e.links, i)
		}
	}
}

func (e *engine) applyAddresses(now time.Time, d *Desired) {
	for k, a := range e.addresses {
		if _, ok := d.Addresses[k]; !ok {
			e.drop(now, k, a)
		}
	}
	for k, want := range d.Addresses {
		a := e.addresses[k]
		if a == nil {
			a = &address{own: ownership{addr: k}, entry: &entry{}}
			e.addresses[k] = a
		}
		e.serveOn(now, a, linkSetOf(d.Links, want.Links))
		e.perform(now, a, a.own.elect(now, &e.world, want))
	}
}

// serveOn changes the links that serve an address, and announces it on those
// that are new or have been opened anew under their old index.
func (e *engine) serveOn(now time.Time, a *address, links []int) {
	if before := a.entry; !slices.Equal(before.links, links) {
		a.entry = &entry{links: links}
		a.entry.show(&a.own)
		for _, i := range before.links {
			if l := e.links[i]; l != nil && !slices.Contains(links, i) {
				l.announcer.stop(a.own.addr)
			}
		}
	}
	if a.own.state != owning || a.own.muted {
		return
	}
	for _, i := range links {
		if s := e.links[i].announcer; !s.announces(a.own.addr) {
			s.start(a.own.addr, now)
		}
	}
}

// drop stops answering for an address that has left the plan.
func (e *engine) drop(now time.Time, k netip.Addr, a *address) {
	if a.own.state.serves() {
		e.emit(Event{Kind: Released, Address: k})
	}
	a.entry.show(&ownership{})
	e.watcher.follow(k, false, now)
	for _, i := range a.entry.links {
		if l := e.links[i]; l != nil {
			l.announcer.stop(k)
		}
	}
	e.prober.forget(k)
	e.timers.remove(k)
	delete(e.addresses, k)
}

// publish makes the read loops judge by the new state.
func (e *engine) publish(d *Desired) {
	t := &table{
		self:      e.s.cfg.Self,
		addresses: make(map[netip.Addr]*entry, len(e.addresses)),
		pools:     e.pools,
		members:   d.Members,
		witnesses: make(map[netip.Addr]struct{}, len(e.witnesses)),
	}
	for k, a := range e.addresses {
		t.addresses[k] = a.entry
	}
	for _, w := range e.witnesses {
		t.witnesses[w] = struct{}{}
	}
	e.s.table.Store(t)
}

// wantedGroups returns the multicast groups by which clients ask for the
// addresses that are this node's or about to be.
func (e *engine) wantedGroups() map[int][]netip.Addr {
	groups := make(map[int][]netip.Addr, len(e.links))
	for i := range e.links {
		groups[i] = nil
	}
	for k, a := range e.addresses {
		if k.Is4() || !a.own.want.Mine && a.own.state == idle {
			continue
		}
		for _, i := range a.entry.links {
			groups[i] = append(groups[i], solicitedNode(k))
		}
	}
	return groups
}
