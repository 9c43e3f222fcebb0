package layer2

import (
	"net/netip"
	"slices"
	"time"

	"go4.org/netipx"

	"github.com/herald-lb/herald/pkg/announce"
)

const (
	minReopen    = 100 * time.Millisecond
	maxReopen    = 10 * time.Second
	maxWitnesses = 4 // asked on one link
	witnessGap   = 10 * time.Millisecond
)

// link is one link that serves addresses.
type link struct {
	announce.Link
	announcer *announcer
	ports     map[Family]*port
	watches   map[Family]Wire // of the traffic of addresses that are handed over
	witnessed time.Time       // when a witness last answered
	asked     time.Time       // when the witnesses were last asked

	reopenAt   time.Time // zero: every port that is needed is open
	reopenWait time.Duration
}

// openPorts opens what the addresses on l need and closes what they don't.
func (e *engine) openPorts(now time.Time, l *link) {
	var failed bool
	for _, f := range []Family{IPv4, IPv6} {
		ranges := rangesOf(e.relevant(l.Index, f))
		var err error
		switch p := l.ports[f]; {
		case len(ranges) > 0 && p == nil:
			err = e.openPort(l, f, ranges)
		case len(ranges) > 0:
			err = p.narrow(ranges)
		case p != nil:
			e.closePort(l, p)
		}
		if err != nil {
			failed = true
			e.s.cfg.Metrics.errors.WithLabelValues(l.Name, f.String(), "open").Inc()
			e.s.cfg.Log.Error("link can't be served yet, trying again", "link", l.Name, "family", f, "err", err)
		}
	}
	l.reopenAt = time.Time{}
	if !failed {
		l.reopenWait = 0
		return
	}
	l.reopenWait = min(max(2*l.reopenWait, minReopen), maxReopen)
	l.reopenAt = now.Add(l.reopenWait)
}

// relevant returns the addresses of a family whose frames matter on a link:
// none on one that serves none.
func (e *engine) relevant(index int, f Family) []netipx.IPRange {
	var relevant []netipx.IPRange
	for k, a := range e.addresses {
		if FamilyOf(k) == f && slices.Contains(a.entry.links, index) {
			relevant = append(relevant, only(k))
		}
	}
	if len(relevant) == 0 {
		return nil
	}
	for _, w := range e.witnesses {
		if FamilyOf(w) == f {
			relevant = append(relevant, only(w))
		}
	}
	for _, r := range e.pools {
		if FamilyOf(r.From()) == f {
			relevant = append(relevant, r)
		}
	}
	return relevant
}

// only is the range of one address.
func only(a netip.Addr) netipx.IPRange { return netipx.IPRangeFrom(a, a) }

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
	e.readers.Go(func() { p.serve(e.done) })
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
	for f := range l.watches {
		e.closeWatch(l, f)
	}
}

// askWitnesses asks a few witnesses on each link of a, at most every 10 ms.
func (e *engine) askWitnesses(now time.Time, a *address) {
	for _, i := range a.entry.links {
		l := e.links[i]
		if now.Sub(l.asked) < witnessGap {
			continue
		}
		l.asked = now
		asked := 0
		for _, w := range e.witnesses {
			onLink := slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Contains(w) })
			if p := l.ports[FamilyOf(w)]; onLink && p != nil && asked < maxWitnesses {
				p.probe(w)
				asked++
			}
		}
	}
}

// witnessed returns when a witness last answered on a link of a.
func (e *engine) witnessed(a *address) time.Time {
	var last time.Time
	for _, i := range a.entry.links {
		last = later(last, e.links[i].witnessed)
	}
	return last
}
