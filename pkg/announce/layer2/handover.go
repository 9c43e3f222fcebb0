package layer2

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"go4.org/netipx"
)

// watcher knows the traffic of the addresses that this node is about to hand
// over. The loops that read traffic tell it, the engine asks.
type watcher struct {
	changed bool // the wires are to be seen to

	mu        sync.Mutex // guards addresses
	addresses map[netip.Addr]*traffic
}

func newWatcher() *watcher { return &watcher{addresses: make(map[netip.Addr]*traffic)} }

// follow begins or ends to watch a.
func (w *watcher) follow(a netip.Addr, watch bool, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, watched := w.addresses[a]
	switch {
	case watch && !watched:
		w.addresses[a] = &traffic{since: now, connections: make(map[connection]progress)}
		w.changed = true
	case watched && !watch:
		delete(w.addresses, a)
		w.changed = w.changed || len(w.addresses) == 0
	}
}

// saw takes in a packet.
func (w *watcher) saw(now time.Time, p ipPacket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.addresses[p.to]; t != nil {
		t.saw(now, p)
	}
}

// rest returns when the traffic of a rests; see traffic. It is the past of an
// address that isn't watched.
func (w *watcher) rest(a netip.Addr, now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.addresses[a]; t != nil {
		return t.rest(now)
	}
	return time.Time{}
}

// watched returns the addresses of a family.
func (w *watcher) watched(f Family) []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	var watched []netip.Addr
	for a := range w.addresses {
		if FamilyOf(a) == f {
			watched = append(watched, a)
		}
	}
	return watched
}

// watch opens, widens and closes the wires for the traffic of addresses that are
// handed over. They aren't narrowed, as a hand-over takes a fraction of a second.
// What can't be watched is handed over as if it rested.
func (e *engine) watch() {
	if !e.watcher.changed {
		return
	}
	e.watcher.changed = false
	for _, f := range []Family{IPv4, IPv6} {
		watched := e.watcher.watched(f)
		for _, l := range e.links {
			var served []netipx.IPRange
			for _, a := range watched {
				if slices.Contains(e.addresses[a].entry.links, l.Index) {
					served = append(served, only(a))
				}
			}
			if err := e.watchLink(l, f, rangesOf(served)); err != nil {
				e.s.cfg.Metrics.errors.WithLabelValues(l.Name, f.String(), "open").Inc()
				e.s.cfg.Log.Warn("traffic can't be watched: addresses move without regard to connections", "link", l.Name, "family", f, "err", err)
			}
		}
	}
}

func (e *engine) watchLink(l *link, f Family, ranges []Range) error {
	w := l.watches[f]
	switch {
	case len(ranges) == 0 && w != nil:
		e.closeWatch(l, f)
	case len(ranges) > 0 && w != nil:
		return w.SetRanges(ranges)
	case len(ranges) > 0:
		w, err := e.s.cfg.Opener.OpenTraffic(l.Link, f, ranges)
		if err != nil {
			return err
		}
		l.watches[f] = w
		failed := e.s.cfg.Metrics.errors.WithLabelValues(l.Name, f.String(), "read")
		e.readers.Go(func() {
			readFrames(w, e.done, failed, func(frame []byte) {
				if p, ok := parsePacket(frame); ok {
					e.watcher.saw(time.Now(), p)
				}
			})
		})
	}
	return nil
}

// closeWatch doesn't wait for the end: the kernel takes milliseconds to forget a
// packet socket, in which claims would go unheard.
func (e *engine) closeWatch(l *link, f Family) {
	w, name := l.watches[f], l.Name
	delete(l.watches, f)
	e.readers.Go(func() {
		if err := w.Close(); err != nil {
			e.s.cfg.Log.Warn("socket not closed", "link", name, "err", err)
		}
	})
}
