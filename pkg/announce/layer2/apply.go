package layer2

import (
	"fmt"
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
	e.applyAddresses(now, d)
	e.desired = d
	for _, l := range e.links {
		l.announcer.healing = len(e.world.down) > 0
		if lost {
			l.announcer.hasten(now)
		}
		if found {
			l.announcer.again(now)
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
			l = &link{announcer: newAnnouncer(e.s.cfg.Rand), ports: make(map[Family]*port)}
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
		a.entry.answers.Store(before.answers.Load())
		for _, i := range before.links {
			if l := e.links[i]; l != nil && !slices.Contains(links, i) {
				l.announcer.stop(a.own.addr)
			}
		}
	}
	if a.own.state != owning {
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
	fx := effects{announce: stopAnnouncing}
	if a.own.state.answers() {
		fx.events = []Event{{Kind: Released, Address: k}}
	}
	a.own = ownership{addr: k}
	a.entry.links = slices.DeleteFunc(slices.Clone(a.entry.links), func(i int) bool { return e.links[i] == nil })
	e.perform(now, a, fx)
	delete(e.addresses, k)
}

// openPorts opens what the addresses on l need and closes what they don't.
func (e *engine) openPorts(now time.Time, l *link) {
	l.reopenAt = time.Time{}
	for _, f := range []Family{IPv4, IPv6} {
		ranges := rangesOf(e.relevant(l.Index, f))
		p := l.ports[f]
		switch {
		case len(ranges) == 0 && p != nil:
			e.closePort(l, p)
		case len(ranges) == 0:
		case p != nil:
			if err := p.narrow(ranges); err != nil {
				e.failed(now, l, f, "filter", err)
			}
		default:
			if err := e.openPort(l, f, ranges); err != nil {
				e.failed(now, l, f, "open", err)
			}
		}
	}
}

func (e *engine) failed(now time.Time, l *link, f Family, operation string, err error) {
	e.s.cfg.Metrics.errors.WithLabelValues(l.Name, f.String(), operation).Inc()
	e.s.cfg.Log.Error(fmt.Sprintf("%s socket can't be set up, trying again", f), "link", l.Name, "err", err)
	l.reopenAt = now.Add(reopenAfter)
}

// relevant returns the addresses of a family whose frames matter on a link.
func (e *engine) relevant(index int, f Family) []netip.Addr {
	var relevant []netip.Addr
	for k, a := range e.addresses {
		if FamilyOf(k) == f && slices.Contains(a.entry.links, index) {
			relevant = append(relevant, k)
		}
	}
	if len(relevant) == 0 {
		return nil
	}
	for _, w := range e.witnesses {
		if FamilyOf(w) == f {
			relevant = append(relevant, w)
		}
	}
	return relevant
}

func (e *engine) openPort(l *link, f Family, ranges []Range) error {
	w, err := e.s.cfg.Opener.Open(l.Link, f, ranges)
	if err != nil {
		return err
	}
	p := &port{
		family: f, wire: w, ranges: ranges,
		table: &e.s.table, seen: e.seen, guard: newGuard(),
		metrics: e.s.cfg.Metrics, count: e.s.cfg.Metrics.port(l.Name, f),
	}
	current := l.Link
	p.link.Store(&current)
	l.ports[f] = p
	e.readers.Go(func() { p.serve(e.ctx) })
	return nil
}

func (e *engine) closePort(l *link, p *port) {
	if err := p.wire.Close(); err != nil {
		e.s.cfg.Log.Warn("socket not closed", "link", l.Name, "err", err)
	}
	delete(l.ports, p.family)
}

func (e *engine) closeLink(l *link) {
	for _, p := range l.ports {
		e.closePort(l, p)
	}
}

// publish makes the read loops judge by the new state.
func (e *engine) publish(d *Desired) {
	t := &table{
		self:      e.s.cfg.Self,
		addresses: make(map[netip.Addr]*entry, len(e.addresses)),
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
